"""Split a functional model at its freeze boundary: what cannot change is computed once per example."""

from __future__ import annotations

import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tlkeras.distribution.strategies import ONE_DEVICE, Distribution
from tlkeras.training.half_precision import HalfPrecision

MEMORY_LIMIT = 2 * 1024**3  # bytes of features kept in memory; larger ones go to a memory-mapped file
# Small batches stay in the caches of a processor: EfficientNet-Lite0 at 224 pixels takes a tenth less on 2 processors in batches of 8 than of 32.
BATCH_BYTES, LARGEST_BATCH = 2_500_000, 32  # of inputs in float32, for each processor
# Layers whose weights TensorFlow folds into each other, or arranges anew once, where they are constants.
FOLDED = (
    *(getattr(keras.layers, f"{kind}{sides}D{end}") for kind, end in (("Conv", ""), ("Conv", "Transpose")) for sides in (1, 2, 3)),
    *(getattr(keras.layers, f"{kind}{sides}D") for kind in ("DepthwiseConv", "SeparableConv") for sides in (1, 2)),
    keras.layers.BatchNormalization,
)
Progress = Callable[[int, int], None]
Forward = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What computes features.

    Args:
        run: one batch -> the cut tensors.
        batch_size: examples of a batch; the last one is filled up.
        at_once: batches that are computed at a time.
    """

    run: Forward
    batch_size: int
    at_once: int = 1

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        return self.run(batch)


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
    batch_size: int | None = None,
    half: bool = False,
    folder: Path | None = None,
    progress: Progress | None = None,
    lengths: np.ndarray | None = None,
    distribution: Distribution = ONE_DEVICE,
) -> list[np.ndarray]:
    """Runs the prefix once per example: each worker on its part of them, each device on its part of that.

    Args:
        prefix: model of one input.
        images: (n, size, size, 3), uint8 or float, or (n, tokens, …) int32; anything with a length that can be sliced.
        forward: `constant_function(prefix)` or another `Engine`, where several arrays are run.
        batch_size: examples per step; those of the engine, or as many as the caches of the processors hold, when None.
        half: whether floats are stored as float16, with 11 bits of precision.
        folder: where features larger than `MEMORY_LIMIT` are memory-mapped; a temporary folder when None.
        progress: called with (examples done, examples in all).
        lengths: int (n,): how many tokens each example has; batches are then made of examples of similar length, and cut.
        distribution: where the work runs.

    Returns:
        One array (n, …) for each cut tensor; where a tensor has a free axis, it is as long as the longest example.

    Raises:
        TooCoarse: when float16 does not hold the features.
    """
    engine = forward if isinstance(forward, Engine) else Engine(run=forward or constant_function(prefix), batch_size=batch_size_of(prefix))
    batch_size = batch_size or engine.batch_size
    own = distribution.rows(len(images))
    count = own.stop - own.start
    stores = allocate(prefix, images, lengths, folder, count=count, half=half)
    order = np.arange(count) if lengths is None else np.argsort(lengths[own], kind="stable")
    rounding = HalfPrecision()

    def run(start: int, device: str | None) -> int:
        rows = order[start : start + batch_size]
        batch = _batch(images, own.start + rows, batch_size, lengths, prefix.inputs[0].dtype)
        with tf.device(device):
            values = [value[: len(rows)] for value in engine(batch)]
        if half:
            rounding.check(values)
        _put(stores, prefix, rows, values)
        return start + len(rows)

    devices = distribution.devices if engine.at_once == 1 else (None,) * engine.at_once
    for done in _on_devices(run, range(0, count, batch_size), devices):
        if progress:
            progress(round(done * len(images) / max(count, 1)), len(images))
    if distribution.workers == 1:
        return stores
    whole = allocate(prefix, images, lengths, folder, half=half)
    return [distribution.together(store, len(images), into) for store, into in zip(stores, whole, strict=True)]


def _batch(images: Sliceable, index: np.ndarray, size: int, lengths: np.ndarray | None, dtype: str) -> np.ndarray:
    """Returns the inputs of a batch: a slice, filled up; or texts of similar length, cut to the longest of them."""
    if lengths is None:
        return filled(np.asarray(images[slice(int(index[0]), int(index[-1]) + 1)], dtype=dtype), size)
    return np.asarray(images[index], dtype=dtype)[:, : int(lengths[index].max())]  # type: ignore[index]


def _put(stores: Sequence[np.ndarray], prefix: keras.Model, rows: np.ndarray, values: Sequence[np.ndarray]) -> None:
    """Stores the features of some rows; where a tensor has a free axis, as far as they go."""
    for store, tensor, value in zip(stores, prefix.outputs, values, strict=True):
        if None in tensor.shape[1:2]:
            store[rows, : value.shape[1]] = value
        else:
            store[rows] = value


def filled(batch: np.ndarray, size: int) -> np.ndarray:
    """Repeats the last example up to the size of a batch: kernels may round otherwise in smaller ones, by the number of examples."""
    return batch if len(batch) == size else np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])


def _on_devices(run: Callable[[int, str | None], int], starts: Sequence[int], devices: Sequence[str | None]) -> Iterator[int]:
    """Runs one batch after the other, as many at a time as there are devices; yields what each returns, in order."""
    if len(devices) == 1:
        yield from (run(start, devices[0]) for start in starts)
        return
    with ThreadPoolExecutor(len(devices)) as pool:
        yield from pool.map(run, starts, itertools.cycle(devices))


def processors() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batch_size_of(prefix: keras.Model) -> int:
    """Returns the examples of a batch: as many as stay in the caches of the processors; on an accelerator, which needs more, 32."""
    if tf.config.list_logical_devices("GPU"):
        return LARGEST_BATCH
    example = 4 * math.prod(side or 1 for side in prefix.inputs[0].shape[1:])
    return max(1, min(LARGEST_BATCH, BATCH_BYTES * processors() // example))


def constant_function(model: keras.Model) -> Forward:
    """Returns the model's inference as a function of one array; later changes of its weights are not to be relied on.

    See `traced`.
    """
    return as_forward(traced(model))


def as_forward(function: Callable[[tf.Tensor], Any]) -> Forward:
    """Returns a graph as a function from an array to arrays."""
    return lambda batch: [np.asarray(_stored(value)) for value in keras.tree.flatten(function(tf.constant(batch)))]


def traced(model: keras.Model) -> Callable[[tf.Tensor], Any]:
    """Returns the model's inference as a graph, with its weights as constants where it has convolutions.

    TensorFlow then folds BatchNorm into the convolutions: EfficientNet-Lite0 runs 1.35 times as fast as by
    `predict_on_batch`. Where there is nothing to fold, constants save nothing and cost time: MiniLM's 90 MB 5 s, at the same speed.
    """
    (entry,) = model.inputs
    function = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec(entry.shape, entry.dtype)], autograph=False)
    concrete = function.get_concrete_function()
    return convert_variables_to_constants_v2(concrete) if has_convolutions(model) else concrete


def has_convolutions(model: keras.Model) -> bool:
    """Whether a model has layers that constant weights make faster."""
    return any(isinstance(layer, FOLDED) for layer in model._flatten_layers())


def _stored(value: tf.Tensor) -> tf.Tensor:
    """Half precision is stored as float32; masks and numbers as they are."""
    return tf.cast(value, tf.float32) if value.dtype.is_floating else value


def allocate(
    prefix: keras.Model,
    images: Sliceable,
    lengths: np.ndarray | None,
    folder: Path | None,
    *,
    count: int | None = None,
    half: bool = False,
) -> list[np.ndarray]:
    """Returns one array of zeros for each cut tensor, in memory or, where they are large, in memory-mapped files.

    Args:
        prefix: whose outputs are the cut tensors.
        images, lengths, folder: as in `compute`.
        count: examples; those of `images` when None.
        half: whether floats are float16.
    """
    longest: int = images.shape[1] if lengths is not None else 0  # type: ignore[attr-defined]
    count = len(images) if count is None else count
    shapes = [(count, *(longest if side is None else side for side in tensor.shape[1:])) for tensor in prefix.outputs]
    floats = "float16" if half else "float32"
    kinds = [np.dtype(floats if "float" in tensor.dtype else tensor.dtype) for tensor in prefix.outputs]
    if sum(kind.itemsize * math.prod(shape) for shape, kind in zip(shapes, kinds, strict=True)) <= MEMORY_LIMIT:
        return [np.zeros(shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=True)]
    features = Path(tempfile.mkdtemp(prefix="features-", dir=folder))
    return [
        np.lib.format.open_memmap(features / f"{index}.npy", mode="w+", dtype=kind, shape=shape)
        for index, (shape, kind) in enumerate(zip(shapes, kinds, strict=True))
    ]
