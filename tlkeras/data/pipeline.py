"""Batches for training: whole batches gathered by index, in an order fixed by (seed, epoch)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tlkeras.data.mixing import NUMBERS, Mixing
from tlkeras.errors import DataError

Arrays = np.ndarray | Sequence[np.ndarray]


class Augmentation(Protocol):
    """Random changes of training inputs, fixed by (seed, epoch, example) and by nothing else."""

    @property
    def width(self) -> int:
        """How many random numbers travel with each example."""

    def draws(self, count: int, seed: int, epoch: int) -> np.ndarray:
        """Returns float32 (count, width): row i belongs to example i, whatever batch it comes in."""

    def __call__(self, inputs: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Returns a batch of inputs (n, …) changed by the numbers (n, width), in TensorFlow."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which parts of every batch are made here, where several devices or machines compute one batch together.

    Args:
        parts: in how many parts a batch is divided.
        first, count: the parts that this process makes, one after the other.
    """

    parts: int
    first: int
    count: int

    def positions(self, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns, for each part, which rows of a batch of `size` it has, and whether they count, bool.

        No part is empty, because convolutions and BatchNorm break on nothing: a batch of fewer rows than parts is filled up
        with rows that are there already and do not count.
        """
        rows = np.arange(max(size, self.parts))
        parts = np.array_split(rows, self.parts)[self.first : self.first + self.count]
        return [(part % size, part < size) for part in parts]


WHOLE = Share(parts=1, first=0, count=1)


def batches(
    x: Arrays,
    y: np.ndarray,
    *,
    batch_size: int,
    shuffle: bool,
    seed: int,
    augment: Augmentation | None = None,
    class_weights: Mapping[int, float] | None = None,
    first_epoch: int = 0,
    lengths: np.ndarray | None = None,
    free: Sequence[bool] = (),
    share: Share | None = None,
    views: int = 1,
    mixing: Mixing | None = None,
) -> tf.data.Dataset:
    """Returns a dataset of (x, y) or (x, y, weights) batches; each pass over it is one epoch.

    Order and augmentation of pass number e depend on (seed, e) alone, so two processes see the same. Memory-mapped
    arrays are read batch by batch; nothing that is given is changed. Inputs keep their type, unless they are augmented: the model casts
    them, on the device that computes, so that for images a quarter of the bytes travel.

    Args:
        x: one array, or several of equal length, (n, …): images uint8, token ids int32 or float features.
        y: int (n,), or whatever else the loss accepts, (n, …).
        batch_size: examples per batch; the last one may be smaller.
        shuffle: whether the order changes from pass to pass.
        seed: of order and augmentation.
        augment: random changes of the first array; None for none.
        class_weights: class id -> weight of its examples.
        first_epoch: number of the first pass, for training that goes on where it was stopped.
        lengths: int (n,): how far along their second axis examples go. Batches are then made of examples of similar length,
            and the arrays in `free` are cut to the longest of each batch.
        free: for each array, whether its second axis is that of `lengths`; all of them when empty.
        share: gives the parts of each batch that this process computes, as (x, y, rows): `rows` has, for each row, `weight` (0 where
            it does not count), `row` (its place in the whole batch) and `size` (rows of that batch). Pass follows pass without end.
        views: how many rows the arrays have for each example, n rows apart; pass number e reads view e modulo `views`.
        mixing: makes probabilities of the targets, and mixes examples; None for neither.

    Raises:
        DataError: when arrays and labels differ in length, or a class has no weight.
    """
    arrays: tuple[Any, ...] = tuple(x) if isinstance(x, (list, tuple)) else (x,)
    plan = _Batches(
        arrays=arrays,
        cuts=tuple(lengths is not None and is_free for is_free in (free or [True] * len(arrays))),
        y=y,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        augment=augment,
        weights=None if class_weights is None else _example_weights(class_weights, y),
        lengths=lengths,
        share=share,
        views=views,
        mixing=mixing,
    )
    passes = count(first_epoch)
    data = tf.data.Dataset.from_generator(lambda: plan.of_pass(next(passes)), output_signature=plan.signature).map(plan.finish).prefetch(2)
    return data.apply(tf.data.experimental.assert_cardinality(math.ceil(len(y) / batch_size))) if share is None else _endless(data)


def _endless(data: tf.data.Dataset) -> tf.data.Dataset:
    """Returns pass after pass: workers that count steps need not ask each other where a pass ends."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False  # there is nothing in a generator to optimise
    return data.repeat().with_options(options)


@dataclass(frozen=True, kw_only=True)
class _Batches:
    """What `batches` receives, and how one batch is made of it.

    Args:
        cuts: for each array, whether it is cut to the longest example of a batch.
        weights: float (n,), of each example.
        The others: see `batches`.
    """

    arrays: tuple[Any, ...]
    cuts: tuple[bool, ...]
    y: np.ndarray
    batch_size: int
    shuffle: bool
    seed: int
    augment: Augmentation | None
    weights: np.ndarray | None
    lengths: np.ndarray | None
    share: Share | None
    views: int
    mixing: Mixing | None

    def __post_init__(self) -> None:
        counts = {len(array) for array in self.arrays}
        if counts != {self.views * len(self.y)}:
            sizes = ", ".join(map(str, counts))
            raise DataError(f"there are {len(self.y)} labels for arrays of {sizes} examples; expected the same number")

    def of_pass(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Yields inputs, numbers for the augmentation, targets, (weight, row, size) of each row, and numbers for the mixing, batch by batch.

        Where examples are mixed, their partners stand behind them in the inputs and the numbers for the augmentation.
        """
        count = len(self.y)
        order, starts = self._order(epoch)
        numbers = self.augment.draws(count, self.seed, epoch) if self.augment else np.zeros((count, 0), "float32")
        view = epoch % self.views * count  # the first row of this pass's view
        mixes = self.mixing is not None and self.mixing.mixes
        mixed = self.mixing.partners(count, self.seed, epoch, self.arrays[0].shape[1:]) if self.mixing and mixes else None
        for start in starts:
            index = order[start : start + self.batch_size]
            end = None if self.lengths is None else int(self.lengths[index].max())
            for rows, counted in (self.share or WHOLE).positions(len(index)):
                part = index[rows]
                read = part if mixed is None else np.concatenate([part, mixed[0][part]])
                inputs = tuple(
                    np.asarray(array[view + read])[:, :end] if cut else np.asarray(array[view + read])
                    for array, cut in zip(self.arrays, self.cuts, strict=True)
                )
                y, weight, mixture = self._targets(part, mixed)
                weight = counted.astype("float32") * weight
                yield inputs, numbers[read], y, (weight, rows.astype("int32"), np.full(len(part), len(index), "int32")), mixture

    def _targets(self, part: np.ndarray, mixed: tuple[np.ndarray, ...] | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns targets and weights of some examples, and the numbers by which they are mixed."""
        ones = np.ones(len(self.y), "float32") if self.weights is None else self.weights
        if self.mixing is None:
            return self.y[part].astype(target_dtype(self.y)), ones[part], np.zeros((len(part), 0), "float32")
        y = self.mixing.targets(self.y[part])
        if mixed is None:
            return y, ones[part], np.zeros((len(part), 0), "float32")
        partners, shares, numbers = (values[part] for values in mixed)
        y += (self.mixing.targets(self.y[partners]) - y) * shares[:, None]
        return y, ones[part] + (ones[partners] - ones[part]) * shares, numbers

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the order of the examples in a pass, and where in it each batch begins."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.y)) if self.shuffle else np.arange(len(self.y))
        starts = np.arange(0, len(self.y), self.batch_size)
        if self.lengths is None:
            return order, starts
        return by_length(order, self.lengths, self.batch_size), rng.permutation(starts) if self.shuffle else starts

    @property
    def signature(self) -> tuple[Any, ...]:
        """Shapes and types of what `of_pass` yields."""
        return (
            tuple(
                tf.TensorSpec((None, None if cut else array.shape[1], *array.shape[2:])[: len(array.shape)], tf.as_dtype(array.dtype))
                for array, cut in zip(self.arrays, self.cuts, strict=True)
            ),
            tf.TensorSpec((None, self.augment.width if self.augment else 0), tf.float32),
            tf.TensorSpec((None, *self.y.shape[1:]), tf.as_dtype(target_dtype(self.y)))
            if self.mixing is None
            else tf.TensorSpec((None, self.mixing.width), tf.float32),
            tuple(tf.TensorSpec((None,), dtype) for dtype in (tf.float32, tf.int32, tf.int32)),
            tf.TensorSpec((None, NUMBERS if self.mixing and self.mixing.mixes else 0), tf.float32),
        )

    def finish(
        self, inputs: tuple[tf.Tensor, ...], numbers: tf.Tensor, y: tf.Tensor, rows: tuple[tf.Tensor, ...], mixture: tf.Tensor
    ) -> tuple[Any, ...]:
        """Augments and mixes the inputs, and returns what the model is fitted with."""
        if self.augment:
            inputs = (self.augment(inputs[0], numbers),)
        if self.mixing and self.mixing.mixes:
            count = tf.shape(y)[0]
            inputs = tuple(self.mixing(values[:count], values[count:], mixture) for values in inputs)
        x = inputs[0] if len(inputs) == 1 else inputs
        if self.share is not None:
            return x, y, dict(zip(("weight", "row", "size"), rows, strict=True))
        return (x, y) if self.weights is None else (x, y, rows[0])


def target_dtype(y: np.ndarray) -> str:
    """Returns the type in which targets reach the loss: class ids as int32, everything else as float32."""
    return "int32" if y.dtype.kind in "iu" else "float32"


WINDOW = 50  # batches among which examples are sorted by length: near enough in length, far enough in order


def by_length(order: np.ndarray, lengths: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns an order in which the examples of a batch are of similar length: sorted within windows of 50 batches."""
    window = WINDOW * batch_size
    parts = [order[start : start + window] for start in range(0, len(order), window)]
    return np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts]) if parts else order


def _example_weights(class_weights: Mapping[int, float], y: np.ndarray) -> np.ndarray:
    """Returns float32 (n,): the weight of each example; of several columns of targets, the first is the class."""
    y = y if y.ndim == 1 else y[:, 0].astype(int)
    missing = sorted(set(np.unique(y).tolist()) - set(class_weights))
    if missing:
        raise DataError(
            f"class_weights has no weight for class id {missing[0]}; expected one for each of {np.unique(y).tolist()}, "
            f"received {sorted(class_weights, key=str)}"
        )
    return np.array([class_weights[int(label)] for label in y], "float32")
