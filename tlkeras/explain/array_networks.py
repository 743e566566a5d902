"""A network as methods see it: a number for each input, its gradient, an empty input, and inputs with parts taken away."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.explain.answers import Answers, number, number_tensor
from tlkeras.explain.explanation import Sample
from tlkeras.startup import tensor_float32

BATCH = 16  # inputs that are computed at a time; the gradient of a network keeps every layer of each
STANDARDISE = "contract_standardise"  # layer that subtracts the means of the training examples


class Network:
    """A model whose answer to one target is explained. What is differentiated is the input itself.

    Args:
        model: one input, scores as output.
        answers: of the target.
        inputs: what the model accepts; see `tlkeras.modalities.inputs.Inputs`.
        batch_size: inputs that are computed at a time.
        window, stride: sides of what occlusion takes away, and how far it moves, in pixels or steps; None: from the size of the input.
    """

    def __init__(
        self,
        model: keras.Model,
        answers: Answers,
        inputs: Any = None,
        *,
        batch_size: int = BATCH,
        window: int | None = None,
        stride: int | None = None,
    ):
        self.model, self.answers, self.inputs, self.batch_size = model, answers, inputs, batch_size
        self.window, self.stride = window, stride
        self.output, self.probabilities = number_tensor(model, answers)
        self.kind = str(model.inputs[0].dtype)  # of the input
        self.traced: dict[str, Any] = {}  # what methods have built of this network, by their names

    def number(self, values: Any, columns: Any) -> Any:
        """Returns the explained number from the tensor `output`, in TensorFlow."""
        return number(values, columns, self.answers, self.probabilities)

    # === Forward ===

    @cached_property
    def _forward(self) -> Any:
        tensor = self.model.inputs[0]
        answer = keras.Model(self.model.inputs[0], self.output)
        signature = [tf.TensorSpec((None, *tensor.shape[1:]), self.kind), tf.TensorSpec((None,), tf.int32)]
        return tf.function(lambda x, columns: self.number(answer(x, training=False), columns), signature, autograph=False)

    def numbers(self, arrays: np.ndarray, column: int) -> np.ndarray:
        """Returns the explained number of each input, float64 (n,).

        Args:
            arrays: inputs (n, …).
            column: counted from the first label of the target.
        """
        parts = [np.empty(0)]
        for start in range(0, len(arrays), self.batch_size):
            part = np.asarray(arrays[start : start + self.batch_size], self.kind)
            with tensor_float32(False):
                parts.append(self._forward(part, np.full(len(part), column, "int32")).numpy().astype("float64"))
        return np.concatenate(parts)

    # === Backward ===

    def point(self, sample: Sample) -> np.ndarray:
        """Returns what is differentiated, float32 (1, …)."""
        return np.asarray(sample.array, "float32")

    def baseline(self, sample: Sample) -> np.ndarray:
        """Returns the same of an input in which there is nothing to see."""
        return np.zeros_like(self.point(sample))

    def spread(self, sample: Sample) -> float:
        """Returns the range of the values that are differentiated, the unit of noise."""
        point = self.point(sample)
        return float(point.max() - point.min())

    @cached_property
    def upper(self) -> Any:
        """A function in TensorFlow: (point, input) -> the tensor `output`."""
        answer = keras.Model(self.model.inputs[0], self.output)
        return lambda point, array: answer(tf.cast(point, self.kind), training=False)

    @cached_property
    def _backward(self) -> Any:
        def step(points: Any, arrays: Any, columns: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(points)
                numbers = self.number(self.upper(points, arrays), columns)
            return numbers, tape.gradient(numbers, points)

        point = self._point_shape
        signature = [
            tf.TensorSpec((None, *point), tf.float32),
            tf.TensorSpec((None, *self.model.inputs[0].shape[1:]), self.kind),
            tf.TensorSpec((None,), tf.int32),
        ]
        return tf.function(step, signature, autograph=False)

    @property
    def _point_shape(self) -> tuple[int | None, ...]:
        return tuple(self.model.inputs[0].shape[1:])

    def gradients(self, sample: Sample, points: np.ndarray, column: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields, for each point near a sample, the explained number and its gradient, in batches: float32 (k,) and (k, …)."""
        for start in range(0, len(points), self.batch_size):
            part = np.asarray(points[start : start + self.batch_size], "float32")
            arrays = np.repeat(np.asarray(sample.array, self.kind), len(part), axis=0)
            with tensor_float32(False):
                numbers, gradients = self._backward(part, arrays, np.full(len(part), column, "int32"))
            yield numbers.numpy(), gradients.numpy()

    def reduced(self, sample: Sample, values: np.ndarray, *, signed: bool) -> np.ndarray:
        """Returns values of what is differentiated as values of what people see.

        Args:
            sample: whose values they are.
            values: of the shape of `point` without its first side.
            signed: whether they add up to a contribution; otherwise they are slopes, of which the size counts.
        """
        return values if signed else np.abs(values)

    # === Taken away ===

    def units(self, sample: Sample) -> tuple[int, ...]:
        """Returns the shape of the parts that can be taken away: pixels, words or steps."""
        raise NotImplementedError

    def windows(self, sample: Sample) -> np.ndarray:
        """Returns what occlusion takes away, bool (k, *units), so that every part is taken away at least once."""
        raise NotImplementedError

    def without(self, sample: Sample, gone: np.ndarray) -> np.ndarray:
        """Returns inputs in which parts are taken away.

        Args:
            sample: the whole input.
            gone: bool (k, *units).

        Returns:
            Inputs (k, …) as the model accepts them.
        """
        whole, empty = self.point(sample), self.baseline(sample)
        mask = gone.reshape(*gone.shape, *[1] * (whole.ndim - gone.ndim))
        return np.where(mask, empty, whole)


def intervals(length: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Returns windows of a size that cover a length; the last one ends with it."""
    size = min(size, length)
    starts = list(range(0, length - size + 1, stride))
    if starts[-1] + size < length:
        starts.append(length - size)
    return [(start, start + size) for start in starts]


class Images(Network):
    """Images: raw pixels, float32 (n, height, width, channels), 0-255. An empty image has the mean colour of the whole one."""

    PATCHES = 7  # side of an image, in windows of occlusion

    def baseline(self, sample: Sample) -> np.ndarray:
        point = self.point(sample)
        return np.broadcast_to(point.mean(axis=(1, 2), keepdims=True), point.shape).copy()

    def reduced(self, sample: Sample, values: np.ndarray, *, signed: bool) -> np.ndarray:
        # Sum of what the channels contribute; the steepest of their slopes, as in Simonyan et al. 2013, section 3.1.
        return values.sum(axis=-1) if signed else np.abs(values).max(axis=-1)

    def units(self, sample: Sample) -> tuple[int, ...]:
        return tuple(sample.array.shape[1:3])

    def windows(self, sample: Sample) -> np.ndarray:
        height, width = self.units(sample)
        size = self.window or max(1, round(min(height, width) / self.PATCHES))
        stride = self.stride or max(1, size // 2)
        squares = [(rows, columns) for rows in intervals(height, size, stride) for columns in intervals(width, size, stride)]
        gone = np.zeros((len(squares), height, width), bool)
        for mask, ((top, bottom), (left, right)) in zip(gone, squares, strict=True):
            mask[top:bottom, left:right] = True
        return gone


class Sequences(Network):
    """Sequences: float32 (n, time, features). In an empty sequence every step is the mean of the training examples."""

    WINDOWS = 16  # length of a sequence, in windows of occlusion

    @cached_property
    def _mean(self) -> np.ndarray:
        layer = next((layer for layer in self.model.layers if layer.name == STANDARDISE), None)
        if layer is None:
            return np.zeros(self.model.inputs[0].shape[-1], "float32")
        return -np.asarray(layer.offset, "float32") / np.asarray(layer.scale, "float32")

    def baseline(self, sample: Sample) -> np.ndarray:
        return np.broadcast_to(self._mean, sample.array.shape).astype("float32")

    def spread(self, sample: Sample) -> float:
        return float(np.std(self.point(sample) - self.baseline(sample)) * 2) or 1.0

    def units(self, sample: Sample) -> tuple[int, ...]:
        return (int(sample.array.shape[1]),)

    def windows(self, sample: Sample) -> np.ndarray:
        (time,) = self.units(sample)
        size = self.window or max(1, time // self.WINDOWS)
        parts = intervals(time, size, self.stride or max(1, size // 2))
        gone = np.zeros((len(parts), time), bool)
        for mask, (start, end) in zip(gone, parts, strict=True):
            mask[start:end] = True
        return gone
