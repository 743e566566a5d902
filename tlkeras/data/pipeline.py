"""Batches for training: whole batches gathered by index, in an order fixed by (seed, epoch)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import tensorflow as tf

from tlkeras.data import augment as augmentation

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
        class_weights: class -> weight of its examples.
    """
    arrays: list[Any] = list(x) if isinstance(x, (list, tuple)) else [x]
    weights = None if class_weights is None else np.array([class_weights[int(label)] for label in y], "float32")
    passes = count()
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
