"""Examples in the form that a model accepts: an array, or a memory-mapped file when large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tlkeras.data.examples import Example, Issue

Progress = Callable[[int, int], None]
EncodeTargets = Callable[[Sequence[Example], Sequence[str]], np.ndarray]  # examples, label map -> one row for each example


@dataclass(frozen=True, kw_only=True)
class Store:
    """Examples in the form that a model accepts, in the order of the source.

    Args:
        inputs: (n, …), an array or a memory map.
        y: what to predict for each; see `class_ids`.
        examples: those that could be read.
        sha256: of the content of each.
        dhash: uint64 (n,), perceptual hashes; zeros where there are none.
        alike: what near-duplicates have in common, where a text says it; else empty.
        lengths: int (n,), the length of each input; None where all are of one length.
        noun: what one example is called in messages.
        labels: the label map.
        skipped: examples that could not be read.
        notes: issues from listing and from reading.
    """

    inputs: np.ndarray
    y: np.ndarray
    examples: tuple[Example, ...]
    sha256: tuple[str, ...]
    dhash: np.ndarray
    labels: tuple[str, ...]
    skipped: tuple[Issue, ...]
    notes: tuple[Issue, ...]
    alike: tuple[str, ...] = ()
    lengths: np.ndarray | None = None
    noun: str = "example"

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Rows:
    """Some rows of an array that is too large to copy; reads from it only what is asked for."""

    whole: np.ndarray
    index: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.whole.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.whole.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        return np.asarray(self.whole[self.index[which]])


def rows(inputs: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Returns the inputs at `index`: a copy from memory, a view that reads on demand from a memory map."""
    return Rows(inputs, index) if isinstance(inputs, np.memmap) else inputs[index]  # type: ignore[return-value]


def class_ids(examples: Sequence[Example], labels: Sequence[str]) -> np.ndarray:
    """Returns the class of each example, int32 (n,): the index of its label."""
    ids = {label: index for index, label in enumerate(labels)}
    return np.array([ids[example.label] for example in examples], "int32")
