"""Sequences of numbers: how they are described, and made equally long."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlkeras.data.examples import Dataset
from tlkeras.data.store import Store
from tlkeras.errors import DataError

LONGEST = 512  # steps; recurrent layers are unrolled, and more make graphs that take minutes to build
# Of a million numbers from a normal distribution the largest is 4.9 standard deviations from the mean, of a Laplace distribution 9.8. A feature
# that goes further is one that hardly ever changes, and new data go further still: on MNIST's border columns 228 standard deviations.
FURTHEST = 8.0  # scaled distance from the mean that no feature exceeds in training
RARE = 0.01  # share of the sequences in which a feature changes, below which its own scale is that of a few examples
SAMPLED = 100_000  # steps that the usual value of a feature is found among


def described(dataset: Dataset, time: int | None) -> dict[str, Any]:
    """Returns what a network of sequences must know: `time`, `features`, and `mean` and `std` of each feature.

    `std` is what a network divides by: the standard deviation where a feature varies, and more where it hardly does; see `scales`.

    Args:
        dataset: sequences float32 (time, features), of any length.
        time: number of steps of the network's input; the longest sequence, at most 512, when None.
    """
    arrays = [one.array for one in dataset.examples if one.split in (None, "train") and one.array is not None]
    steps = np.concatenate(arrays)
    longest = max(len(one) for one in arrays)
    return {
        "time": min(time or longest, LONGEST),
        "features": int(steps.shape[1]),
        "mean": [float(one) for one in steps.mean(axis=0)],
        "std": [float(one) for one in scales(arrays, steps)],
    }


def scales(arrays: Sequence[np.ndarray], steps: np.ndarray) -> np.ndarray:
    """Returns by what each feature is divided, so that a feature which hardly changes in training does not explode on new data.

    This is its standard deviation, but at least an eighth of its largest distance from the mean. A feature that changes in less than
    one sequence in a hundred, or never, says nothing about its own scale: it has at least the pooled standard deviation of all features.
    Features that vary are scaled by themselves alone, so that their units do not matter.

    Args:
        arrays: sequences float32 (time, features).
        steps: all of their steps, (n, features).
    """
    std = steps.std(axis=0, dtype="float64")
    furthest = np.abs(steps - steps.mean(axis=0)).max(axis=0)
    usual = np.median(steps[:: max(1, len(steps) // SAMPLED)], axis=0)
    changes = np.mean([(array != usual).any(axis=0) for array in arrays], axis=0)
    pooled = np.sqrt(np.square(std).mean()) or 1.0
    scale = np.maximum(std, furthest / FURTHEST)
    # Rounding of the mean of a constant leaves a deviation of it, which is no change.
    still = np.ptp(steps, axis=0) == 0
    return np.where(still, pooled, np.where(changes < RARE, np.maximum(scale, pooled), scale))


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
