"""Batches for training: whole batches gathered by index, in an order fixed by (seed, epoch)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import tensorflow as tf

from tlkeras.data import augment as augmentation
from tlkeras.errors import DataError

Arrays = np.ndarray | Sequence[np.ndarray]


def batches(
    x: Arrays,
    y: np.ndarray,
    *,
    batch_size: int,
    shuffle: bool,
    seed: int,
    augment: str = "none",
    class_weights: Mapping[int, float] | None = None,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Returns a dataset of (x, y) or (x, y, weights) batches; each pass over it is one epoch.

    Order and augmentation of pass number e depend on (seed, e) alone, so two processes see the same. Memory-mapped
    arrays are read batch by batch; nothing that is given is changed.

    Args:
        x: one array, or several of equal length: pictures uint8 (n, size, size, 3) or float features.
        y: int (n,).
        batch_size: examples per batch; the last one may be smaller.
        shuffle: whether the order changes from pass to pass.
        seed: of order and augmentation.
        augment: name in `AUGMENTS`, for pictures.
        class_weights: class id -> weight of its examples.
        first_epoch: number of the first pass, for training that goes on where it was stopped.

    Raises:
        DataError: when arrays and labels differ in length, or a class has no weight.
    """
    arrays: list[Any] = list(x) if isinstance(x, (list, tuple)) else [x]
    lengths = [len(array) for array in arrays]
    if set(lengths) != {len(y)}:
        raise DataError(f"there are {len(y)} labels for arrays of {', '.join(map(str, lengths))} examples; expected as many")
    weights = None if class_weights is None else _example_weights(class_weights, y)
    passes = count(first_epoch)
    augments = augment != "none"

    def produce() -> Iterator[tuple[Any, ...]]:
        epoch = next(passes)
        order = np.random.default_rng((seed, epoch)).permutation(len(y)) if shuffle else np.arange(len(y))
        numbers = augmentation.draws(len(y), seed, epoch) if augments else np.zeros((len(y), 0), "float32")
        for start in range(0, len(y), batch_size):
            index = order[start : start + batch_size]
            given = tuple(np.asarray(array[index]) for array in arrays)
            yield given, numbers[index], y[index].astype("int32"), np.ones(len(index), "float32") if weights is None else weights[index]

    signature = (
        tuple(tf.TensorSpec((None, *array.shape[1:]), tf.as_dtype(array.dtype)) for array in arrays),
        tf.TensorSpec((None, numbers_width(augments)), tf.float32),
        tf.TensorSpec((None,), tf.int32),
        tf.TensorSpec((None,), tf.float32),
    )

    def finish(given: tuple[tf.Tensor, ...], numbers: tf.Tensor, labels: tf.Tensor, weight: tf.Tensor) -> tuple[Any, ...]:
        given = tuple(tf.cast(one, tf.float32) for one in given)
        if augments:
            given = (augmentation.augment(given[0], numbers, augment),)
        features = given[0] if len(given) == 1 else given
        return (features, labels) if weights is None else (features, labels, weight)

    data = tf.data.Dataset.from_generator(produce, output_signature=signature)
    data = data.map(finish).prefetch(2)
    return data.apply(tf.data.experimental.assert_cardinality(math.ceil(len(y) / batch_size)))


def numbers_width(augments: bool) -> int:
    """Returns how many random numbers travel with each example."""
    return augmentation.DRAWS if augments else 0


def _example_weights(class_weights: Mapping[int, float], y: np.ndarray) -> np.ndarray:
    """Returns float32 (n,): the weight of each example."""
    missing = sorted(set(np.unique(y).tolist()) - set(class_weights))
    if missing:
        raise DataError(
            f"class_weights has no weight for class id {missing[0]}; expected one for each of {np.unique(y).tolist()}, "
            f"received {sorted(class_weights, key=str)}"
        )
    return np.array([class_weights[int(label)] for label in y], "float32")
