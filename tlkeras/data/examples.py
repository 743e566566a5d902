"""What every source gives: examples with labels, one label map, and what was noticed while listing."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.errors import DataError, near


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One thing that is odd about the data.

    Args:
        kind: short name, as counted in `data_audit.json`.
        path: which file, folder or example.
        reason: what is odd.
        action: `"skipped"`, `"kept"` or `"ignored"` (never deleted).
    """

    kind: str
    path: str
    reason: str
    action: str


@dataclass(frozen=True, kw_only=True)
class Example:
    """One picture, text or sequence with its label: a file, an array, or the text itself.

    Args:
        id: stable name: the path below the source, or name/number.
        label: name of the class.
        path: of the file.
        array: uint8 (height, width) or (height, width, channels); float32 (time, features) for sequences.
        text: the text.
        split: `train`, `val` or `test` where the source itself says so.
    """

    id: str
    label: str
    path: Path | None = None
    array: np.ndarray | None = None
    text: str | None = None
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Examples from one source.

    Args:
        name: the source, for people.
        examples: in a fixed order.
        labels: the label map; the index of a label is its class id.
        notes: what was noticed while listing.
        source: the `--data` value they were read from; None for examples that a Python call passed.
    """

    name: str
    examples: tuple[Example, ...]
    labels: tuple[str, ...]
    notes: tuple[Issue, ...] = ()
    source: str | None = None

    @property
    def has_splits(self) -> bool:
        """Whether the source says itself which examples are held out."""
        return any(example.split for example in self.examples)

    @property
    def modality(self) -> str:
        """`"text"`, `"sequence"` or `"image"`."""
        first = self.examples[0]
        if first.text is not None:
            return "text"
        return "sequence" if first.array is not None and first.array.dtype.kind == "f" else "image"


def make_dataset(
    name: str,
    examples: Iterable[Example],
    *,
    notes: Sequence[Issue] = (),
    labels: Sequence[str] | None = None,
) -> Dataset:
    """Makes a dataset and its label map.

    Args:
        labels: a label map from training; labels outside it are errors, labels without examples keep their place.
            Without it, the labels in lexicographic order, of which there must be 2 or more.

    Raises:
        DataError: no examples, one class only, or labels that a given map lacks.
    """
    examples = tuple(_named(example) for example in examples)
    found = sorted({example.label for example in examples})
    if not examples:
        raise DataError(f"{name} holds no examples; expected pictures or texts, a folder for each class, or a table of them")
    if labels is None and len(found) < 2:
        raise DataError(f"{name} has one class only ({found[0]!r}); expected two or more, one folder for each")
    strange = [label for label in found if labels is not None and label not in labels]
    if strange:
        raise DataError(
            f"{name} has {len(strange)} labels that the model does not know, the first is {strange[0]!r}; {near(strange[0], labels or ())}"
        )
    return Dataset(name=name, examples=examples, labels=tuple(labels or found), notes=tuple(notes))


def _named(example: Example) -> Example:
    """One way to write each label: macOS stores folder names decomposed, other systems composed (Unicode NFC)."""
    label = unicodedata.normalize("NFC", example.label)
    if not label.strip() or not label.isprintable():
        raise DataError(
            f"the label {label!r} of {example.id!r} is blank or has characters that cannot be printed; rename it (labels are stored one per line)"
        )
    return example if label == example.label else replace(example, label=label)


def from_arrays(x: np.ndarray, y: Sequence[object] | np.ndarray, *, labels: Sequence[str] | None = None, name: str = "arrays") -> Dataset:
    """Makes a dataset of pictures in memory.

    Args:
        x: uint8 (n, height, width) or (n, height, width, channels), 0 to 255; other than 1, 3 or 4 (RGBA) channels go with `channels`.
        y: n labels, of any type with a text; or indices into `labels` where that is given.
        labels: the label map.

    Raises:
        DataError: when shapes, lengths or types do not fit.

    Example:
        >>> from_arrays(np.zeros((2, 8, 8), "uint8"), ["cat", "dog"]).labels
        ('cat', 'dog')
    """
    x = np.asarray(x)
    if x.dtype.kind == "f" and x.size and 0 <= x.min() and x.max() <= 1:
        raise DataError(f"x is {x.dtype} from {x.min():g} to {x.max():g}; expected uint8 0-255: pass (x * 255).round().astype('uint8')")
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        raise DataError(
            f"x is {x.dtype} of shape {x.shape}; expected uint8 0-255 of shape (n, height, width) or (n, height, width, channels)"
        )
    if len(x) != len(y):
        raise DataError(f"x has {len(x)} pictures and y has {len(y)} labels; expected as many")
    texts = [_text(one, labels) for one in y]
    return make_dataset(name, (Example(id=f"{name}/{i}", label=text, array=x[i]) for i, text in enumerate(texts)), labels=labels)


def _text(value: Any, labels: Sequence[str] | None) -> str:
    """Returns the label of a value: its text, or the one it points at."""
    if labels is None or isinstance(value, str):
        return str(value)
    index = int(value)
    if index != value or not 0 <= index < len(labels):
        raise DataError(f"y has the label {value}; expected 0 to {len(labels) - 1}, the places of the {len(labels)} labels, or their names")
    return str(labels[index])
