"""The problem that an exact head is the solution of: the mean loss and its gradient over scaled features, as a function of one vector.

Features are centred and scaled while the head is solved, and this is folded into the head afterwards, so that the model contains nothing new.

The scale of a feature is the geometric mean of its own standard deviation and the mean of all: half of what standardisation does. On features
of EfficientNet-Lite0, at the strength with the lowest loss, this gave the digits 0.953 (standardised 0.942, one scale for all 0.946), clothes
0.841 (0.838, 0.843), ants and bees 0.946 (0.948, 0.944): `benchmarks/heads.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.data import pipeline
from tlkeras.models import TaskModel
from tlkeras.training.features import Arrays
from tlkeras.training.optimizer import NOT_DECAYED
from tlkeras.training.options import Options

CHUNK = 8192  # rows whose loss is computed at a time
IN_MEMORY = 1024**3  # bytes of scaled features that are kept while they are read again and again


@dataclass
class Batches:
    """Scaled features, targets and weights of some examples, kept in memory where they fit."""

    make: Callable[[], Iterator[tuple[tf.Tensor, ...]]]
    in_memory: list[tuple[tf.Tensor, ...]] | None = None

    def __iter__(self) -> Iterator[tuple[tf.Tensor, ...]]:
        return self.make() if self.in_memory is None else iter(self.in_memory)


class Problem:
    """The mean loss of a head as a function of its weights, as one vector, over scaled features.

    Args:
        task, head, train, options: as of `exact.solve`.
    """

    def __init__(self, task: TaskModel, head: keras.Model, train: Arrays, options: Options):
        self.y, self.groups, self._train = train.y, train.groups, train
        self._variables = list(head.trainable_variables)
        self._sizes = [int(np.prod(variable.shape)) for variable in self._variables]
        self.size = sum(self._sizes)
        self.penalised = np.repeat([variable.name not in NOT_DECAYED for variable in self._variables], self._sizes).astype(float)
        self._weights = _example_weights(train.y, options)
        self._layers, self._inputs = linear_layers(head), head.inputs
        inputs = [tensor for layer in self._layers for tensor in _inputs_of(layer, head)]
        self._entries = list({id(tensor): tensor for tensor in inputs}.values())
        self._model = keras.Model(self._entries, head.outputs[0]) if self._layers else head
        moments = _moments(train.inputs[0], self._rounded) if self._layers else (np.zeros(0), np.ones(0))
        self._mean: np.ndarray = moments[0]
        self._scale: np.ndarray = moments[1]
        self._step = _step(self._model, keras.losses.get(task.task.keras_loss(task.target)), self._variables, self._signature())

    def _signature(self) -> list[Any]:
        """Returns shapes and types of what `batches` gives, for any number of rows: another number is not traced again."""
        width = self._train.inputs[0].shape[1:]
        pairs = zip(self._train.inputs, self._inputs, strict=True)
        inputs = (
            [(width, tf.float32)] * len(self._entries) if self._layers else [(array.shape[1:], tensor.dtype) for array, tensor in pairs]
        )
        specs = [tf.TensorSpec((None, *shape), dtype) for shape, dtype in (*inputs, (self.y.shape[1:], pipeline.target_dtype(self.y)))]
        return [tuple(specs[:-1]), specs[-1], tf.TensorSpec((None,), tf.float32)]

    def _rounded(self, rows: np.ndarray) -> tf.Tensor:
        """Returns features as the head receives them, which computes in half precision where the model does."""
        return tf.cast(tf.cast(rows, self._entries[0].dtype), tf.float32)

    def batches(self, examples: np.ndarray) -> Batches:
        """Returns what the loss of some examples, in all of their views, is computed of."""
        count = len(self.y)
        rows = np.concatenate([examples + view * count for view in range(self._train.views)])

        def make() -> Iterator[tuple[tf.Tensor, ...]]:
            for start in range(0, len(rows), CHUNK):
                part = rows[start : start + CHUNK]
                of = part % count
                yield self._scaled(part), tf.constant(self.y[of], pipeline.target_dtype(self.y)), tf.constant(self._weights[of])

        size = len(rows) * sum(4 * int(np.prod(array.shape[1:])) for array in self._train.inputs)
        return Batches(make, list(make()) if size <= IN_MEMORY else None)

    def _scaled(self, rows: np.ndarray) -> tuple[tf.Tensor, ...]:
        arrays = [np.asarray(array[rows]) for array in self._train.inputs]
        if not self._layers:
            return tuple(tf.cast(array, tensor.dtype) for array, tensor in zip(arrays, self._inputs, strict=True))
        return ((self._rounded(arrays[0]) - self._mean) / self._scale,) * len(self._entries)

    def _assign(self, point: np.ndarray) -> None:
        for variable, values in zip(self._variables, np.split(point, np.cumsum(self._sizes)[:-1]), strict=True):
            variable.assign(values.reshape(variable.shape).astype("float32"))

    def loss_and_gradient(self, point: np.ndarray, batches: Batches) -> tuple[float, np.ndarray]:
        """Returns the mean loss and its gradient at a point."""
        self._assign(point)
        total, weight, gradient = 0.0, 0.0, np.zeros(self.size)
        for inputs, y, weights in batches:
            loss, gradients = self._step(inputs, y, weights)
            total += float(loss)
            weight += float(y.shape[0])
            gradient += np.concatenate([np.asarray(part, float).reshape(-1) for part in gradients])
        return total / weight, gradient / weight

    def loss(self, point: np.ndarray, examples: np.ndarray) -> float:
        """Returns the mean loss of some examples at a point."""
        return self.loss_and_gradient(point, self.batches(examples))[0]

    def scores(self, point: np.ndarray, batches: Batches) -> np.ndarray:
        """Returns the scores of the examples of batches at a point, float32 (n, width)."""
        self._assign(point)
        parts = [self._model(list(inputs) if len(inputs) > 1 else inputs[0], training=False) for inputs, _, _ in batches]
        return np.concatenate([np.asarray(part, "float32") for part in parts])

    def put(self, point: np.ndarray) -> None:
        """Sets the weights of the head to a point, for features as they are."""
        self._assign(point)
        for layer in self._layers:
            kernel = np.asarray(layer.kernel, "float64") / np.asarray(self._scale, "float64")[:, None]
            layer.bias.assign(np.asarray(layer.bias, "float64") - np.asarray(self._mean, "float64") @ kernel)
            layer.kernel.assign(kernel)


def _step(
    model: keras.Model, each_loss: Callable[[Any, Any], Any], variables: Sequence[keras.Variable], signature: Sequence[Any]
) -> Callable[..., Any]:
    """Returns (inputs, targets, weights) -> summed loss and its gradients, traced once for all numbers of rows."""

    @tf.function(input_signature=signature, autograph=False)
    def step(inputs: tuple[tf.Tensor, ...], y: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            scores = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
            loss = tf.reduce_sum(tf.cast(each_loss(y, scores), tf.float32) * weights)
        return loss, tape.gradient(loss, [variable.value for variable in variables], unconnected_gradients="zero")

    return step


def _example_weights(y: np.ndarray, options: Options) -> np.ndarray:
    weights = options.class_weights
    return (
        np.ones(len(y), "float32")
        if not weights
        else np.array([weights.get(int(index), 1.0) for index in (y if y.ndim == 1 else y[:, 0])], "float32")
    )


def linear_layers(head: keras.Model) -> list[keras.layers.Dense]:
    """Returns the dense layers that receive the features of a head; empty where anything else receives them too.

    Dropout before a layer does not count: it passes features on unchanged where nothing is trained by steps.
    """
    if len(head.inputs) != 1 or len(head.inputs[0].shape) != 2:
        return []
    features, layers = {id(head.inputs[0])}, []
    for depth in sorted(head._nodes_by_depth, reverse=True):
        for node in head._nodes_by_depth[depth]:
            if node.is_input or not any(id(tensor) in features for tensor in node.input_tensors):
                continue
            if isinstance(node.operation, keras.layers.Dropout):
                features.update(id(tensor) for tensor in node.outputs)
            elif isinstance(node.operation, keras.layers.Dense) and node.operation.use_bias:
                layers.append(node.operation)
            else:
                return []
    return layers


def _inputs_of(layer: keras.Layer, head: keras.Model) -> list[keras.KerasTensor]:
    nodes = [node for depth in head._nodes_by_depth.values() for node in depth if node.operation is layer]
    return [tensor for node in nodes for tensor in node.input_tensors]


def _moments(features: np.ndarray, rounded: Callable[[np.ndarray], tf.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and scale of each feature, float32 (width,)."""
    count, width = features.shape
    total, squares = np.zeros(width), np.zeros(width)
    for start in range(0, count, CHUNK):
        rows = np.asarray(rounded(np.asarray(features[start : start + CHUNK])), "float64")
        total, squares = total + rows.sum(0), squares + np.square(rows).sum(0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0))
    usual = deviation.mean() or 1.0
    return mean.astype("float32"), np.sqrt(np.maximum(deviation, 1e-6 * usual) * usual).astype("float32")
