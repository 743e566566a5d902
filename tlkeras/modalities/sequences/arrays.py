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

    Raises:
        DataError: when a sequence has other features.
    """
    for one in dataset.examples:
        if one.array is None or one.array.ndim != 2 or one.array.shape[1] != features:
            got = None if one.array is None else one.array.shape
            raise DataError(f"{one.id} has the shape {got}; the model accepts (time, {features})")
    places = {label: index for index, label in enumerate(dataset.labels)}
    arrays = [np.asarray(one.array, "float32") for one in dataset.examples]
    return Store(
        inputs=np.stack([fitted(one, time) for one in arrays]),
        y=np.array([places[one.label] for one in dataset.examples], "int32"),
        examples=dataset.examples,
        sha256=tuple(hashlib.sha256(np.ascontiguousarray(one).tobytes()).hexdigest() for one in arrays),
        dhash=np.zeros(len(arrays), "uint64"),
        labels=dataset.labels,
        skipped=tuple(note for note in dataset.notes if note.action == "skipped"),
        notes=tuple(note for note in dataset.notes if note.action != "skipped"),
        noun="sequence",
    )
