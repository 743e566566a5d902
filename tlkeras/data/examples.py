"""The output of every source: examples with labels, one label map, and issues found while listing."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.data.cells import ADVICE, check_classes, clean, is_missing, label_texts
from tlkeras.data.split_names import TRAIN
from tlkeras.data.target import DEFAULT as KIND
from tlkeras.data.target import Target
from tlkeras.errors import DataError, near


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
    """

    id: str
    label: Any
    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)
    array: np.ndarray | None = field(default=None, repr=False)
    text: str | None = None
    split: str | None = None


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


def make_dataset(
    name: str,
    examples: Iterable[Example],
    *,
    notes: Sequence[Issue] = (),
    labels: Sequence[str] | None = None,
    target: Target | None = None,
) -> Dataset:
    """Makes a dataset and its label map.

    Args:
        labels: a label map from training; labels outside it are errors, labels without examples keep their place.
            Without it, the labels in the order of `ordered`, of which there must be 2 or more.

    Raises:
        DataError: no examples, one class only, held-out examples only, or labels that a given map lacks.
    """
    labels = target.labels if target else labels
    examples = tuple(_named(example) for example in examples)
    classes = ordered({example.label for example in examples})
    if not examples:
        raise DataError(f"{name} contains no examples; expected images or texts in one folder per class, or a table of them")
    if labels is None and len(classes) < 2:
        raise DataError(f"{name} has only one class ({classes[0]!r}); expected two or more")
    splits = {example.split for example in examples}
    if labels is None and not splits & {None, TRAIN}:
        raise DataError(f"{name} contains only {' and '.join(sorted(filter(None, splits)))} examples; expected a train split to learn from")
    strange = [label for label in classes if labels is not None and label not in labels]
    if strange:
        raise DataError(
            f"{name} has {len(strange)} labels that the model does not know; the first is {strange[0]!r}; {near(strange[0], labels or ())}"
        )
    return Dataset(name=name, examples=examples, target=Target(kind=KIND, labels=tuple(labels or classes)), notes=tuple(notes))


NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def ordered(labels: Iterable[str]) -> list[str]:
    """Returns labels in the order of their class ids: numerical where all are numbers, lexicographic otherwise.

    Example:
        >>> ordered({"10", "2", "1"}), ordered({"10", "2", "b"})
        (['1', '2', '10'], ['10', '2', 'b'])
    """
    names = sorted(labels)
    return sorted(names, key=float) if all(NUMBER.fullmatch(name) for name in names) else names


def _named(example: Example) -> Example:
    """One way to write each label: macOS stores folder names decomposed, other systems composed (Unicode NFC)."""
    label = unicodedata.normalize("NFC", example.label)
    if not label.strip() or not label.isprintable():
        raise DataError(
            f"the label {label!r} of {example.id!r} is blank or has characters that cannot be printed; rename it (labels are stored one per line)"
        )
    return example if label == example.label else replace(example, label=label)


def losses(name: str, what: str, totals: Mapping[str | None, int], lost: Mapping[str | None, int]) -> list[Issue]:
    """Returns a note of how many examples of each class are left out: a fault that hits one class more than others biases the model.

    Args:
        name: the source.
        what: what messages call the examples, such as `"rows"`.
        totals: label -> examples that there are; None: those of unknown class.
        lost: label -> examples that are left out.
    """
    if not sum(lost.values()):
        return []
    known = sorted(((label, count) for label, count in lost.items() if label is not None and count), key=lambda pair: -pair[1])
    parts = [f"{label!r} {count:,} of {totals[label]:,}" for label, count in known]
    parts += [f"{lost[None]:,} of unknown class"] if lost.get(None) else []
    reason = f"{sum(lost.values()):,} of {sum(totals.values()):,} {what} are skipped: {', '.join(parts)}"
    return [Issue(kind="lost-examples", path=name, reason=reason, action="reported")]


# === Arrays ===


def from_arrays(x: Any, y: Any, *, labels: Sequence[str] | None = None, name: str = "arrays") -> Dataset:
    """Makes a dataset of images or texts in memory.

    Args:
        x: images, uint8 (n, height, width) or (n, height, width, channels), 0 to 255; other than 1, 3 or 4 (RGBA) channels go with
            `channels`. Or n texts: a list, an array or a pandas Series.
        y: n labels of any type that can be printed, or indices into `labels` if that is given. Missing ones (None, NaN) are reported.
        labels: the label map.
        name: of the dataset.

    Raises:
        DataError: when shapes, lengths or types do not fit, or y is not one label for each example.

    Example:
        >>> from_arrays(np.zeros((2, 8, 8), "uint8"), ["cat", "dog"]).labels
        ('cat', 'dog')
        >>> from_arrays(["so good", "so bad"], ["pos", "neg"])
        Dataset('arrays', 2 examples, 2 labels: 'neg', 'pos', 0 notes)
    """
    examples, notes = array_examples(x, y, labels=labels, name=name)
    return make_dataset(name, examples, notes=notes, labels=labels)


def array_examples(
    x: Any, y: Any, *, name: str, labels: Sequence[str] | None = None, splits: Sequence[str | None] | None = None
) -> tuple[list[Example], list[Issue]]:
    """Returns the examples of arrays of images or texts, and what was left out; see `from_arrays`."""
    x = _array("x", x)
    if len(x) != _length(y):
        raise DataError(f"x has {len(x)} examples and y has {_length(y)} labels; expected the same number")
    is_text = x.ndim == 1 and (
        x.dtype.kind == "U" or x.dtype.kind == "O" and all(isinstance(entry, str) or is_missing(entry) for entry in x)
    )
    if not is_text:
        _check_images(x)
    texts, notes = array_labels(y, name, labels)
    examples = []
    for i, text in enumerate(texts):
        if text is None:
            continue
        if is_text and (is_missing(x[i]) and not isinstance(x[i], str) or not str(x[i]).strip()):
            notes.append(Issue(kind="empty-text", path=f"{name}/{i}", reason="no text", action="skipped"))
            continue
        content: dict[str, Any] = {"text": clean(str(x[i]))} if is_text else {"array": x[i]}
        examples.append(Example(id=f"{name}/{i}", label=text, split=splits[i] if splits else None, **content))
    return examples, notes


def array_labels(y: Any, name: str, labels: Sequence[str] | None) -> tuple[list[str | None], list[Issue]]:
    """Returns the label of each entry of y, None where it is missing, and an issue for each of these.

    Raises:
        DataError: when y is not one label for each example.
    """
    y = _array("y", y)
    if y.ndim == 2 and y.shape[1] == 1:  # as Keras' data sets have it
        y = y[:, 0]
    if y.ndim != 1:
        one_hot = y.ndim == 2 and y.dtype.kind in "buif" and bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())
        advice = "it is one-hot: pass y.argmax(axis=1)" if one_hot else ADVICE
        raise DataError(f"y has the shape {y.shape}; expected (n,), one label for each example: {advice}")
    where = [f"{name}/{i}" for i in range(len(y))]
    values = [value if is_missing(value) else _label(value, labels) for value in y.tolist()]
    texts = label_texts(values, where=where, known=labels or ())
    check_classes("y", texts, labels)
    missing = [
        Issue(kind="bad-row", path=path, reason="without a label", action="skipped")
        for path, text in zip(where, texts, strict=True)
        if text is None
    ]
    return texts, missing


def _length(values: Any) -> int:
    try:
        return len(values)
    except TypeError:
        raise DataError(f"y is a {type(values).__name__}; expected n labels") from None


def _array(name: str, values: Any) -> np.ndarray:
    """Returns an array of a list, an array, or a pandas Series or DataFrame of one column; pandas is not needed for it."""
    array = values.to_numpy() if hasattr(values, "to_numpy") else values
    if isinstance(array, (list, tuple)) and any(isinstance(entry, str) or is_missing(entry) for entry in array):
        array = np.array(array, dtype=object)  # so that None and NaN beside texts stay what they are
    try:
        array = np.asarray(array)
    except ValueError as error:  # rows of different lengths
        what = "one label for each example" if name == "y" else "images of one size, or texts"
        raise DataError(f"{name} is a list of elements of different shapes ({str(error)[:80]}); expected {what}") from error
    if array.ndim == 0:
        raise DataError(f"{name} is a {type(values).__name__}; expected an array or a list with one entry for each example")
    return array[:, 0] if name == "x" and array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "OU" else array


def _check_images(x: np.ndarray) -> None:
    if x.dtype.kind == "f" and x.size and 0 <= x.min() and x.max() <= 1:
        raise DataError(f"x is {x.dtype} from {x.min():g} to {x.max():g}; expected uint8 0-255: pass (x * 255).round().astype('uint8')")
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        raise DataError(
            f"x is {x.dtype} of shape {x.shape}; expected uint8 0-255 of shape (n, height, width) or (n, height, width, channels), or n texts"
        )


def _label(value: Any, labels: Sequence[str] | None) -> Any:
    """Returns a label, or the one that an index points at."""
    if labels is None or isinstance(value, str):
        return value
    index = int(value)
    if index != value or not 0 <= index < len(labels):
        raise DataError(
            f"y has the label {value}; expected 0 to {len(labels) - 1}, the indices of the {len(labels)} labels, or their names"
        )
    return str(labels[index])
