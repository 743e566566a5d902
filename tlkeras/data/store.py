"""Examples in the form that a model accepts: an array, or a memory-mapped file when large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tlkeras.data.examples import Example, Issue
from tlkeras.data.split import Splits, split
from tlkeras.data.target import Target

Progress = Callable[[int, int], None]
COPIED = 256 * 1024**2  # bytes of inputs up to which the parts of a split are copies


@dataclass(frozen=True, kw_only=True)
class Store:
    """Examples in the form that a model accepts, in the order of the source.

    Args:
        inputs: (n, …), an array or a memory map.
        examples: those that could be read.
        sha256: of the content of each.
        dhash: uint64 (n,), perceptual hashes; zeros where there are none.
        alike: what near-duplicates have in common, where a text says it; else empty.
        lengths: int (n,), the length of each input; None where all are of one length.
        noun: what one example is called in messages.
        target: what is to be predicted for them.
        skipped: examples that could not be read.
        notes: issues from listing and from reading.
    """

    inputs: np.ndarray
    examples: tuple[Example, ...]
    sha256: tuple[str, ...]
    dhash: np.ndarray
    target: Target
    skipped: tuple[Issue, ...]
    notes: tuple[Issue, ...]
    alike: tuple[str, ...] = ()
    lengths: np.ndarray | None = None
    noun: str = "example"

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def labels(self) -> tuple[str, ...]:
        """The label map."""
        return self.target.labels

    @property
    def values(self) -> list[Any]:
        """What is to be predicted for each example, as the source says it; see `Target`."""
        return [example.label for example in self.examples]

    @cached_property
    def strata(self) -> np.ndarray:
        """What splits are stratified by, int (n,) or uint8 (n, labels); see `Target.strata`."""
        return self.target.strata(self.values)

    @property
    def group_of(self) -> list[str | None]:
        """The group that each example belongs to; see `Example.group`."""
        return [example.group for example in self.examples]

    def split(self, *, val_split: float | None = None, test_split: float | None = None, seed: int = 0) -> Splits:
        """Splits the examples; see `tlkeras.data.split.split`."""
        of_source = [example.split for example in self.examples]
        return split(self.sha256, self.strata, of_source, val_split=val_split, test_split=test_split, seed=seed, groups=self.group_of)

    @property
    def groups(self) -> np.ndarray:
        """Int (n,): a number for each example, the same for those of the same strata."""
        return self.strata if self.strata.ndim == 1 else np.unique(self.strata, axis=0, return_inverse=True)[1].reshape(-1)


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
    """Returns the inputs at `index`: a copy of few; of many, or from a memory map, a view that reads on demand."""
    small = not isinstance(inputs, np.memmap) and inputs.nbytes <= COPIED
    return inputs[index] if small else Rows(inputs, index)  # type: ignore[return-value]
