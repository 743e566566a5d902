"""Sequences of numbers: how they are described, and made equally long."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from tlkeras.data.examples import Dataset
from tlkeras.data.store import Store
from tlkeras.errors import DataError

LONGEST = 512  # steps; recurrent layers are unrolled, and more make graphs that take minutes to build


def described(dataset: Dataset, time: int | None) -> dict[str, Any]:
    """Returns what a network of sequences must know: `time`, `features`, and `mean` and `std` of each feature.

    Args:
        dataset: sequences float32 (time, features), of any length.
        time: number of steps of the network's input; the longest sequence, at most 512, when None.
    """
    arrays = [one.array for one in dataset.examples if one.split in (None, "train") and one.array is not None]
    steps = np.concatenate(arrays)
    std = steps.std(axis=0)
    longest = max(len(one) for one in arrays)
    return {
        "time": min(time or longest, LONGEST),
        "features": int(steps.shape[1]),
        "mean": [float(one) for one in steps.mean(axis=0)],
        "std": [float(one) if one > 0 else 1.0 for one in std],  # a feature that never changes
    }


def fitted(array: np.ndarray, time: int) -> np.ndarray:
    """Returns the last `time` steps, with zeros before a shorter sequence: so the last step is the last one of all."""
    array = array[-time:]
    return np.pad(array, ((time - len(array), 0), (0, 0)))


def materialise(dataset: Dataset, *, time: int, features: int) -> Store:
    """Makes every sequence equally long.

    Args:
        dataset: what a source gave.
        time: steps of each sequence.
        features: numbers of each step.

    Raises:
        DataError: when a sequence has other features.
    """
    for example in dataset.examples:
        if example.array is None or example.array.ndim != 2 or example.array.shape[1] != features:
            shape = None if example.array is None else example.array.shape
            raise DataError(f"{example.id} has the shape {shape}; the model accepts (time, {features})")
    arrays = [np.asarray(example.array, "float32") for example in dataset.examples]
    return Store(
        inputs=np.stack([fitted(array, time) for array in arrays]),
        examples=dataset.examples,
        sha256=tuple(hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for array in arrays),
        dhash=np.zeros(len(arrays), "uint64"),
        target=dataset.target,
        skipped=tuple(note for note in dataset.notes if note.action == "skipped"),
        notes=tuple(note for note in dataset.notes if note.action != "skipped"),
        noun="sequence",
    )
