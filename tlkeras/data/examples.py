"""What every source gives: examples with labels, one label map, and what was noticed while listing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """One picture with its label: a file, or an array uint8 (height, width) or (height, width, channels)."""

    id: str
    label: str
    path: Path | None = None
    array: np.ndarray | None = None
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Examples from one source.

    Args:
        name: the source, for people.
        examples: in a fixed order.
        labels: the label map; the index of a label is its class id.
        notes: what was noticed while listing.
    """

    name: str
    examples: tuple[Example, ...]
    labels: tuple[str, ...]
    notes: tuple[Issue, ...] = ()

    @property
    def has_splits(self) -> bool:
        """Whether the source says itself which examples are held out."""
        return any(example.split for example in self.examples)


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
    examples = tuple(examples)
    found = sorted({example.label for example in examples})
    if not examples:
        raise DataError(f"{name} holds no pictures; expected a folder for each class with pictures in it")
    if labels is None and len(found) < 2:
        raise DataError(f"{name} has one class only ({found[0]!r}); expected two or more, one folder for each")
    strange = [label for label in found if labels is not None and label not in labels]
    if strange:
        raise DataError(
            f"{name} has {len(strange)} labels that the model does not know, the first is {strange[0]!r}; {near(strange[0], labels or ())}"
        )
    return Dataset(name=name, examples=examples, labels=tuple(labels or found), notes=tuple(notes))


def from_arrays(x: np.ndarray, y: Sequence[object] | np.ndarray, *, labels: Sequence[str] | None = None, name: str = "arrays") -> Dataset:
    """Makes a dataset of pictures in memory.

    Args:
        x: uint8 (n, height, width) or (n, height, width, channels), 0 to 255.
        y: n labels, of any type with a text; or indices into `labels` where that is given.
        labels: the label map.

    Raises:
        DataError: when shapes, lengths or types do not fit.

    Example:
        >>> from_arrays(np.zeros((2, 8, 8), "uint8"), ["cat", "dog"]).labels
        ('cat', 'dog')
    """
    x = np.asarray(x)
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[-1] not in (1, 3, 4)):
        raise DataError(
            f"x is {x.dtype} of shape {x.shape}; expected uint8 0-255 of shape (n, height, width) or (n, height, width, 1, 3 or 4)"
        )
    if len(x) != len(y):
        raise DataError(f"x has {len(x)} pictures and y has {len(y)} labels; expected as many")
    texts = [str(labels[int(str(one))]) if labels is not None and not isinstance(one, str) else str(one) for one in y]
    return make_dataset(name, (Example(id=f"{name}/{i}", label=text, array=x[i]) for i, text in enumerate(texts)), labels=labels)
