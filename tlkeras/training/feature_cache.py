"""Split a functional model at its freeze boundary: what cannot change is computed once per example."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tlkeras.distribution.strategies import ONE_DEVICE, Distribution

MEMORY_LIMIT = 2 * 1024**3  # bytes of features kept in memory; larger ones go to a memory-mapped file
Progress = Callable[[int, int], None]
Forward = Callable[[np.ndarray], list[np.ndarray]]


class Sliceable(Protocol):
    """An array, a memory map, or images that are made when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class Split:
    """A model cut in two; `suffix(prefix(x))` is the model.

    Args:
        prefix: model input -> cut tensors, fixed as long as the flags stay; None when nothing below is fixed.
        suffix: cut tensors -> model output; shares its layers with the model.
    """

    prefix: keras.Model | None
    suffix: keras.Model


def split(model: keras.Model) -> Split:
    """Cuts a functional model below its lowest live layer.

    A layer is live when its flag says trainable and it has weights to train or draws random numbers
    (the head's dropout). Frozen dropout inside the backbone is run as in inference: a fixed function.

    Args:
        model: functional, with its flags set (`freezing.apply`).
    """
    cut, weights_below = _cut(model)
    if not weights_below:
        return Split(prefix=None, suffix=model)
    return Split(prefix=keras.Model(model.inputs, cut, name="prefix"), suffix=keras.Model(cut, model.outputs[0], name="suffix"))


def _cut(model: keras.Model) -> tuple[list[keras.KerasTensor], bool]:
    """Returns the tensors that cross the boundary, and whether any weights lie below it."""
    moving: set[int] = set()
    cut: dict[int, keras.KerasTensor] = {}
    weights_below = False
    # Nodes of this model only: a layer that is shared with another model has that one's nodes too.
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            inputs = [] if node.is_input else node.input_tensors
            if is_live(node.operation) or any(id(tensor) in moving for tensor in inputs):
                moving.update(id(tensor) for tensor in node.outputs)
                cut.update({id(tensor): tensor for tensor in inputs if id(tensor) not in moving})
            elif getattr(node.operation, "weights", None):
                weights_below = True
    return list(cut.values()), weights_below


def is_live(operation: keras.Operation) -> bool:
    """Whether training changes what this layer computes."""
    if not isinstance(operation, keras.Layer):
        return False
    if any(v.trainable for v in operation.trainable_variables):
        return True
    inner = list(operation._flatten_layers())
    return any(layer.trainable and getattr(layer, "seed_generator", None) is not None for layer in inner)


def compute(
    prefix: keras.Model,
    images: Sliceable,
    forward: Forward | None = None,
    *,
    batch_size: int = 32,
    folder: Path | None = None,
    progress: Progress | None = None,
    lengths: np.ndarray | None = None,
    distribution: Distribution = ONE_DEVICE,
) -> list[np.ndarray]:
    """Runs the prefix once per example: each worker on its part of them, each device on its part of that.

    Args:
        prefix: model of one input.
        images: (n, size, size, 3), uint8 or float, or (n, tokens, …) int32; anything with a length that can be sliced.
        forward: `constant_function(prefix)`, where several arrays are run.
        batch_size: examples per step.
        folder: where features larger than `MEMORY_LIMIT` are memory-mapped; a temporary folder when None.
        progress: called with (examples done, examples in all).
        lengths: int (n,): how many tokens each example has; batches are then made of examples of similar length, and cut.
        distribution: where the work runs.

    Returns:
        One array (n, …) for each cut tensor; where a tensor has a free axis, it is as long as the longest example.
    """
    forward = forward or constant_function(prefix)
    (entry,) = prefix.inputs
    own = distribution.rows(len(images))
    count = own.stop - own.start
    stores = allocate(prefix, images, lengths, folder, count=count)
    order = None if lengths is None else np.argsort(lengths[own], kind="stable")

    def run(start: int, device: str | None) -> int:
        if order is None:
            rows: slice | np.ndarray = slice(start, min(start + batch_size, count))
            batch = np.asarray(images[slice(own.start + start, own.start + rows.stop)], dtype=entry.dtype)  # type: ignore[union-attr]
            batch = _filled(batch, batch_size)
        else:
            rows = order[start : start + batch_size]
            index = own.start + rows
            batch = np.asarray(images[index], dtype=entry.dtype)[:, : int(lengths[index].max())]  # type: ignore[index]
        size = min(batch_size, count - start)
        with tf.device(device):
            values = forward(batch)
        for store, tensor, value in zip(stores, prefix.outputs, values, strict=True):
            value = value[:size]
            if None in tensor.shape[1:2]:
                store[rows, : value.shape[1]] = value
            else:
                store[rows] = value
        return min(start + batch_size, count)

    for done in _on_devices(run, range(0, count, batch_size), distribution.devices):
        if progress:
            progress(round(done * len(images) / max(count, 1)), len(images))
    if distribution.workers == 1:
        return stores
    whole = allocate(prefix, images, lengths, folder)
    return [distribution.together(store, len(images), into) for store, into in zip(stores, whole, strict=True)]


def _filled(batch: np.ndarray, size: int) -> np.ndarray:
    """Repeats the last example up to the size of a batch: kernels may round otherwise in smaller ones, by the number of examples."""
    return batch if len(batch) == size else np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])


def _on_devices(run: Callable[[int, str | None], int], starts: Sequence[int], devices: Sequence[str | None]) -> Iterator[int]:
    """Runs one batch after the other, as many at a time as there are devices; yields what each returns, in order."""
    if len(devices) == 1:
        yield from (run(start, devices[0]) for start in starts)
        return
    with ThreadPoolExecutor(len(devices)) as pool:
        yield from pool.map(run, starts, itertools.cycle(devices))


def constant_function(model: keras.Model) -> Forward:
    """Returns the model's inference as a function of one array, with its weights as constants.

    TensorFlow then folds BatchNorm into the convolutions: EfficientNet-Lite0 runs 1.35 times as fast as by
    `predict_on_batch`. Later changes of the weights are not seen.
    """
    (entry,) = model.inputs
    traced = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec(entry.shape, entry.dtype)], autograph=False)
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function())
    return lambda batch: [np.asarray(_stored(value)) for value in frozen(tf.constant(batch))]


def _stored(value: tf.Tensor) -> tf.Tensor:
    """Half precision is stored as float32; masks and numbers as they are."""
    return tf.cast(value, tf.float32) if value.dtype.is_floating else value


def allocate(
    prefix: keras.Model, images: Sliceable, lengths: np.ndarray | None, folder: Path | None, *, count: int | None = None
) -> list[np.ndarray]:
    """Returns one array of zeros for each cut tensor, in memory or, where they are large, in memory-mapped files.

    Args:
        prefix: whose outputs are the cut tensors.
        images, lengths, folder: as in `compute`.
        count: examples; those of `images` when None.
    """
    longest: int = images.shape[1] if lengths is not None else 0  # type: ignore[attr-defined]
    count = len(images) if count is None else count
    shapes = [(count, *(longest if side is None else side for side in tensor.shape[1:])) for tensor in prefix.outputs]
    kinds = ["float32" if "float" in tensor.dtype else tensor.dtype for tensor in prefix.outputs]
    if sum(4 * math.prod(shape) for shape in shapes) <= MEMORY_LIMIT:
        return [np.zeros(shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=True)]
    features = Path(tempfile.mkdtemp(prefix="features-", dir=folder))
    return [
        np.lib.format.open_memmap(features / f"{index}.npy", mode="w+", dtype=kind, shape=shape)
        for index, (shape, kind) in enumerate(zip(shapes, kinds, strict=True))
    ]
