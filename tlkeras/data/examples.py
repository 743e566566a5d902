"""The output of every source: examples with labels, one label map, and issues found while listing."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.data.array_values import array_values, as_array, length
from tlkeras.data.cells import clean, is_missing
from tlkeras.data.label_maps import complete, ordered
from tlkeras.data.split_names import TRAIN
from tlkeras.data.target import DEFAULT as KIND
from tlkeras.data.target import KINDS, Target
from tlkeras.data.values import Request, Values
from tlkeras.errors import DataError, is_obeyed, near


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One issue with the data.

    Args:
        kind: short name, as counted in `data_audit.json`.
        path: the file, folder or example.
        reason: the issue, in words.
        action: `"skipped"`, `"kept"`, `"ignored"` or `"reported"` (about the source as a whole). Nothing is ever deleted.
    """

    kind: str
    path: str
    reason: str
    action: str


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image, text or sequence with its target: a file, an array, or the text itself.

    Args:
        id: stable name: the path below the source, or name/number.
        label: what is to be predicted for it: the name of a class, or another value; see `Target`.
        path: of the file.
        content: an encoded image, where the source holds the bytes itself.
        array: uint8 (height, width) or (height, width, channels); float32 (time, features) for sequences.
        text: the text.
        split: `train`, `val` or `test` if the source defines splits.
        group: what it belongs to, such as a patient; examples of a group are never in two splits. None: to nothing else.
    """

    id: str
    label: Any
    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)
    array: np.ndarray | None = field(default=None, repr=False)
    text: str | None = None
    split: str | None = None
    group: str | None = None


SHOWN = 10  # labels in the text of a dataset


@dataclass(frozen=True, kw_only=True, repr=False)
class Dataset:
    """Examples from one source.

    Args:
        name: name of the source, for messages.
        examples: in a fixed order.
        target: what is to be predicted, with the label map; the index of a label is its class id.
        notes: issues found while listing.
        source: the `--data` value they were read from; None for examples that a Python call passed.
    """

    name: str
    examples: tuple[Example, ...]
    target: Target
    notes: tuple[Issue, ...] = ()
    source: str | None = None

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.labels[:SHOWN])) + (", …" if len(self.labels) > SHOWN else "")
        splits = Counter(example.split for example in self.examples if example.split)
        parts = "".join(f", {split}={count:,}" for split, count in sorted(splits.items()))
        return (
            f"Dataset({self.name!r}, {len(self.examples):,} examples{parts}, {len(self.labels)} labels: {shown}, {len(self.notes)} notes)"
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The label map."""
        return self.target.labels

    @property
    def has_splits(self) -> bool:
        """Whether the source itself defines held-out examples."""
        return any(example.split for example in self.examples)


CLASS = Target(kind=KIND, labels=())


def make_dataset(
    name: str, examples: Iterable[Example], *, notes: Sequence[Issue] = (), target: Target | None = None, draft: Target = CLASS
) -> Dataset:
    """Makes a dataset and its label map.

    Args:
        target: a target from training; labels outside it are errors, labels without examples keep their place.
            Without it, the labels in the order of `label_maps.ordered`, of which there must be 2 or more.
        draft: without a target, what is to be predicted, without label maps.

    Raises:
        DataError: no examples, nothing to learn, held-out examples only, or labels that a given map lacks.
    """
    examples = _named(examples, target or draft, name)
    if not examples:
        raise DataError(f"{name} contains no examples; expected images or texts in one folder per class, or a table of them")
    values = [example.label for example in examples]
    completed = target or complete(name, draft, values)
    splits = {example.split for example in examples}
    if target is None and not splits & {None, TRAIN}:
        raise DataError(f"{name} contains only {' and '.join(sorted(filter(None, splits)))} examples; expected a train split to learn from")
    entries = {entry for value in set(values) for entry in target.tally(value)} if target else set()
    strange = ordered(entries - set(completed.labels))
    if strange:
        raise DataError(
            f"{name} has {len(strange)} labels that the model does not know; the first is {strange[0]!r}; {near(strange[0], completed.labels)}"
        )
    canonical = map(completed.canonical, values)
    arranged = (one if one.label == value else replace(one, label=value) for one, value in zip(examples, canonical, strict=True))
    return Dataset(name=name, examples=tuple(arranged), target=completed, notes=tuple(notes))


def _named(examples: Iterable[Example], target: Target, name: str) -> tuple[Example, ...]:
    """One way to write each label: macOS stores folder names decomposed, other systems composed (Unicode NFC)."""
    known: dict[Any, Any] = {}  # each value is looked at once, however many examples have it
    named = []
    for example in examples:
        if not target.accepts(example.label):
            expected = f"a value such as {target.some_value!r}" if target.labels else f"{KINDS.get(target.kind).noun}"
            raise DataError(f"{name} has the label {example.label!r} for {example.id!r}; expected {expected}, as the model predicts")
        if example.label not in known:
            known[example.label] = _renamed(example, target)
        renamed = known[example.label]
        named.append(example if renamed == example.label else replace(example, label=renamed))
    return tuple(named)


def _renamed(example: Example, target: Target) -> Any:
    """Returns the label of an example as it is stored.

    Raises:
        DataError: for one that cannot be printed on a line.
    """
    renamed = target.renamed(example.label, lambda label: unicodedata.normalize("NFC", label))
    for label in target.tally(renamed):
        if not label.strip() or any(map(is_obeyed, label)):
            raise DataError(
                f"the label {label!r} of {example.id!r} is blank or has characters that cannot be printed; rename it (labels are stored one per line)"
            )
    return renamed


def losses(name: str, what: str, totals: Mapping[Any, int], lost: Mapping[Any, int], target: Target = CLASS) -> list[Issue]:
    """Returns a note of how many examples of each class are left out: a fault that hits one class more than others biases the model.

    Args:
        name: the source.
        what: what messages call the examples, such as `"rows"`.
        totals: value -> examples that there are; None: those of unknown class.
        lost: value -> examples that are left out.
        target: that the values are of.
    """
    if not sum(lost.values()):
        return []
    counts, left_out = tallied(totals, target), tallied(lost, target)
    known = sorted(((label, count) for label, count in left_out.items() if count), key=lambda pair: -pair[1])
    parts = [f"{label!r} {count:,} of {counts[label]:,}" for label, count in known]
    parts += [f"{lost[None]:,} of unknown class"] if lost.get(None) else []
    reason = f"{sum(lost.values()):,} of {sum(totals.values()):,} {what} are skipped" + (f": {', '.join(parts)}" if parts else "")
    return [Issue(kind="lost-examples", path=name, reason=reason, action="reported")]


def tallied(counts: Mapping[Any, int], target: Target) -> Counter[str]:
    """Returns the examples of each entry of a label map, from those of each value; None, a missing value, counts for none."""
    entries: Counter[str] = Counter()
    for value, count in counts.items():
        for entry in () if value is None else target.tally(value):
            entries[entry] += count
    return entries


# === Arrays ===


def from_arrays(
    x: Any,
    y: Any,
    *,
    labels: Sequence[str] | None = None,
    name: str = "arrays",
    kind: str | None = None,
    target: Target | None = None,
    groups: Sequence[Any] | None = None,
) -> Dataset:
    """Makes a dataset of images or texts in memory.

    Args:
        x: images, uint8 (n, height, width) or (n, height, width, channels), 0 to 255; other than 1, 3 or 4 (RGBA) channels go with
            `channels`. Or n texts: a list, an array or a pandas Series.
        y: what is to be predicted. Missing values (None, NaN) are reported.
            One label each: n labels of any type that can be printed, or indices into `labels` if that is given.
            Several labels each: n lists or sets of labels, or 0 and 1, (n, labels).
            Numbers: floats (n,) or (n, numbers).
            Several targets: a dict of their names and arrays, or a pandas DataFrame.
        labels: the label map, or the names of the numbers.
        name: of the dataset.
        kind: what y is, where that is not clear: `"class"`, `"labels"`, `"numbers"` or `"several"`.
        target: what a trained model predicts, whose kind and labels are adhered to.
        groups: what each example belongs to, such as a patient; examples of a group are never in two splits.

    Raises:
        DataError: when shapes, lengths or types do not fit, or y leaves open what is meant.

    Example:
        >>> from_arrays(np.zeros((2, 8, 8), "uint8"), ["cat", "dog"]).labels
        ('cat', 'dog')
        >>> from_arrays(["so good", "so bad"], ["pos", "neg"])
        Dataset('arrays', 2 examples, 2 labels: 'neg', 'pos', 0 notes)
        >>> from_arrays(["red dress", "blue shirt"], [["red", "dress"], ["blue", "shirt"]]).examples[0].label
        ('dress', 'red')
        >>> from_arrays(["red", "grey"], [[1, 0], [0, 0]], labels=["red", "blue"], kind="labels").examples[1].label
        ()
        >>> from_arrays(["hot", "cold"], [31, 4], kind="numbers").examples[0].label
        (31.0,)
        >>> from_arrays(["so good", "so bad"], {"mood": ["pos", "neg"], "stars": [4.5, 1.0]}).target.columns
        ('mood', 'stars')
    """
    request = Request(kind=kind, target=target, labels=None if labels is None else tuple(labels))
    examples, notes, draft = array_examples(x, y, name=name, request=request, groups=groups)
    known = target if target or labels is None else replace(draft, labels=tuple(labels))
    return make_dataset(name, examples, notes=notes, target=known, draft=draft)


def array_examples(
    x: Any,
    y: Any,
    *,
    name: str,
    request: Request,
    splits: Sequence[str | None] | None = None,
    groups: Sequence[Any] | None = None,
) -> tuple[list[Example], list[Issue], Target]:
    """Returns the examples of arrays of images or texts, what was left out, and what is to be predicted; see `from_arrays`."""
    x = as_array("x", x)
    if len(x) != length(y):
        raise DataError(f"x has {len(x)} examples and y has {length(y)} labels; expected the same number")
    groups = None if groups is None else list(groups)
    if groups is not None and len(groups) != len(x):
        raise DataError(f"x has {len(x)} examples and groups has {len(groups)}; expected the same number")
    is_text = x.ndim == 1 and (
        x.dtype.kind == "U" or x.dtype.kind == "O" and all(isinstance(entry, str) or is_missing(entry) for entry in x)
    )
    if not is_text:
        _check_images(x)
    read = array_values(y, name, request)
    notes = unlabelled(read, [f"{name}/{i}" for i in range(len(x))])
    examples = []
    for i, value in enumerate(read.values):
        if value is None:
            continue
        if is_text and (is_missing(x[i]) and not isinstance(x[i], str) or not str(x[i]).strip()):
            notes.append(Issue(kind="empty-text", path=f"{name}/{i}", reason="no text", action="skipped"))
            continue
        content: dict[str, Any] = {"text": clean(str(x[i]))} if is_text else {"array": x[i]}
        group = None if groups is None or is_missing(groups[i]) else str(groups[i])
        examples.append(Example(id=f"{name}/{i}", label=value, split=splits[i] if splits else None, group=group, **content))
    return examples, notes, read.draft


def unlabelled(read: Values, where: Sequence[str]) -> list[Issue]:
    """Returns an issue for each missing value."""
    return [
        Issue(kind="bad-row", path=path, reason="without a label", action="skipped")
        for path, value in zip(where, read.values, strict=True)
        if value is None
    ]


def _check_images(x: np.ndarray) -> None:
    if x.dtype.kind == "f" and x.size and 0 <= x.min() and x.max() <= 1:
        raise DataError(f"x is {x.dtype} from {x.min():g} to {x.max():g}; expected uint8 0-255: pass (x * 255).round().astype('uint8')")
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        raise DataError(
            f"x is {x.dtype} of shape {x.shape}; expected uint8 0-255 of shape (n, height, width) or (n, height, width, channels), or n texts"
        )
