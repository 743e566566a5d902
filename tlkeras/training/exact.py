"""The exact head: the minimum of the regularised loss on fixed features, found by L-BFGS instead of epochs of steps.

For classes this is multinomial logistic regression, for sets of labels one logistic regression for each, for numbers ridge regression:
whatever the loss of the task makes of a linear head. Features are centred and scaled while it is solved, and this is folded into the head
afterwards, so that the model contains nothing new.

The scale of a feature is the geometric mean of its own standard deviation and the mean of all: half of what standardisation does. On features
of EfficientNet-Lite0, at the strength with the lowest loss, this gave the digits 0.953 (standardised 0.942, one scale for all 0.946), clothes
0.841 (0.838, 0.843), ants and bees 0.946 (0.948, 0.944): `benchmarks/heads.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.data import pipeline
from tlkeras.data.folds import whole_groups
from tlkeras.models import TaskModel
from tlkeras.training.features import Arrays
from tlkeras.training.optimizer import NOT_DECAYED
from tlkeras.training.options import Options
from tlkeras.training.recipes.registry import Phase

FOLDS = 3
MOST_COMPARED = 4096  # examples that strengths are compared on: with more, the best strength hardly differs
CHUNK = 8192  # rows whose loss is computed at a time
IN_MEMORY = 1024**3  # bytes of scaled features that are kept while they are read again and again
ITERATIONS_COMPARED, ITERATIONS = 60, 200  # of L-BFGS, to compare strengths and to solve
TOLERANCE = 1e-6  # relative change of the loss that ends it
PATIENCE = 2  # weaker strengths that may be worse, one after the other, before no further one is tried


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The result of solving a head.

    Args:
        strength: of the L2 penalty.
        losses: strength -> mean loss on held-out folds; empty where nothing was compared.
    """

    strength: float
    losses: dict[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Returns the record in `metrics.json`."""
        losses = {f"{strength:g}": round(loss, 6) for strength, loss in self.losses.items()}
        return {"strength": self.strength, **({"cross_validated_losses": losses} if losses else {})}


def solve(task: TaskModel, phase: Phase, head: keras.Model, train: Arrays, options: Options) -> Solution:
    """Sets the weights of a head to the minimum of its mean loss plus half its squared weights times a strength; biases are free.

    The strength is the one among the phase's with the lowest loss in cross-validation on the training examples.

    Args:
        task: with the loss.
        phase: with the strengths.
        head: features -> scores, shares its layers with the task model; its trainable variables are set.
        train: features of the training examples, (views * n, …), and their targets.
        options: seed, weights of classes, progress.
    """
    problem = _Problem(task, head, train, options)
    examples = np.arange(len(train.y))
    strengths = sorted(phase.strengths, reverse=True)
    losses: dict[float, float] = {}
    start = np.zeros(problem.size)
    if len(strengths) > 1 and len(examples) >= 2 * FOLDS:
        report = lambda done, text: options.progress(phase.name, done, len(strengths) + 1, text)  # noqa: E731
        losses, start = _compared(problem, strengths, examples, options.seed, report)
    strength = min(losses, key=lambda value: losses[value]) if losses else strengths[-1]
    options.progress(phase.name, len(strengths), len(strengths) + 1, f"L2 strength {strength:g}")
    problem.put(_minimum(problem, strength, examples, start, ITERATIONS))
    options.progress(phase.name, len(strengths) + 1, len(strengths) + 1, f"L2 strength {strength:g}")
    return Solution(strength=strength, losses=losses)


@dataclass(frozen=True, kw_only=True)
class Validated:
    """What a head answers for examples that it was not solved on.

    Args:
        scores: float32 (n, width), of each example by the head of the other folds.
        solution: the strength of the penalty, and the loss of each that was tried.
    """

    scores: np.ndarray
    solution: Solution


def cross_validated(
    task: TaskModel, head: keras.Model, train: Arrays, fold_of: np.ndarray, strengths: Sequence[float], options: Options
) -> Validated:
    """Solves a head on all folds but one, for each fold, at the strength with the lowest loss on the folds that are left out.

    Args:
        task, head, train, options: as of `solve`; the weights of the head are changed.
        fold_of: int (n,), the fold of each example.
        strengths: of the L2 penalty.
    """
    problem = _Problem(task, head, train, options)
    examples, folds = np.arange(len(train.y)), np.unique(fold_of)
    points = {fold: np.zeros(problem.size) for fold in folds}
    losses: dict[float, float] = {}
    best, worse = np.empty((len(train.y), head.output_shape[-1]), "float32"), 0
    for strength in sorted(strengths, reverse=True):
        total, scores = 0.0, np.empty_like(best)
        for fold in folds:
            inside = examples[fold_of == fold]
            points[fold] = _minimum(problem, strength, examples[fold_of != fold], points[fold], ITERATIONS_COMPARED)
            batches = problem.batches(inside)
            total += problem.loss_and_gradient(points[fold], batches)[0] * len(inside)
            scores[inside] = problem.scores(points[fold], batches)[: len(inside)]
        losses[strength] = total / len(examples)
        worse = 0 if losses[strength] == min(losses.values()) else worse + 1
        best = scores if worse == 0 else best
        if worse == PATIENCE:
            break
    strength = min(losses, key=lambda value: losses[value])
    return Validated(scores=best, solution=Solution(strength=strength, losses=losses))


def _compared(
    problem: _Problem, strengths: Sequence[float], examples: np.ndarray, seed: int, report: Callable[[int, str], None]
) -> tuple[dict[float, float], np.ndarray]:
    """Returns the mean loss on held-out folds for each strength that was tried, from strong to weak, and the best solutions' mean."""
    chosen = np.random.default_rng((seed, len(examples))).permutation(examples)[:MOST_COMPARED]
    folds = _folds(problem.y[chosen], None if problem.groups is None else problem.groups[chosen])
    points = [np.zeros(problem.size) for _ in range(FOLDS)]
    losses: dict[float, float] = {}
    best, worse = points[0], 0
    for index, strength in enumerate(strengths):
        report(index, f"L2 strength {strength:g}")
        total = 0.0
        for fold in range(FOLDS):
            points[fold] = _minimum(problem, strength, chosen[folds != fold], points[fold], ITERATIONS_COMPARED)
            total += problem.loss(points[fold], chosen[folds == fold]) * int((folds == fold).sum())
        losses[strength] = total / len(chosen)
        worse = 0 if losses[strength] == min(losses.values()) else worse + 1
        if worse == 0:
            best = np.mean(points, axis=0)
        if worse == PATIENCE:
            break
    return losses, best


def _folds(y: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Returns the fold of each example: whole groups where there are enough, else those of a class are dealt out in turn."""
    if groups is not None and len(np.unique(groups)) >= FOLDS:
        return whole_groups(groups, FOLDS)
    folds = np.empty(len(y), int)
    folds[np.argsort(y, kind="stable") if y.ndim == 1 else np.arange(len(y))] = np.arange(len(y)) % FOLDS
    return folds


def _minimum(problem: _Problem, strength: float, examples: np.ndarray, start: np.ndarray, iterations: int) -> np.ndarray:
    """Returns the weights where the regularised mean loss of some examples is lowest."""
    from scipy import optimize  # takes a while to import

    batches = problem.batches(examples)

    def value(point: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = problem.loss_and_gradient(point, batches)
        weights = point * problem.penalised
        return loss + strength / 2 * float(weights @ weights), gradient + strength * weights

    settings = {"maxiter": iterations, "ftol": TOLERANCE, "gtol": 1e-6}
    # SciPy's own products are of short vectors: its threads would wait for each other ten times as long as they compute.
    with _thread_pools().limit(limits=1, user_api="blas"):
        return np.asarray(optimize.minimize(value, start, jac=True, method="L-BFGS-B", options=settings).x)


@functools.cache
def _thread_pools() -> Any:
    """Returns the thread pools of the libraries of this process; to look for them takes longer than many a solution."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@dataclass
class _Batches:
    """Scaled features, targets and weights of some examples, kept in memory where they fit."""

    make: Callable[[], Iterator[tuple[tf.Tensor, ...]]]
    in_memory: list[tuple[tf.Tensor, ...]] | None = None

    def __iter__(self) -> Iterator[tuple[tf.Tensor, ...]]:
        return self.make() if self.in_memory is None else iter(self.in_memory)


class _Problem:
    """The mean loss of a head as a function of its weights, as one vector, over scaled features.

    Args:
        task, head, train, options: as of `solve`.
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

    def batches(self, examples: np.ndarray) -> _Batches:
        """Returns what the loss of some examples, in all of their views, is computed of."""
        count = len(self.y)
        rows = np.concatenate([examples + view * count for view in range(self._train.views)])

        def make() -> Iterator[tuple[tf.Tensor, ...]]:
            for start in range(0, len(rows), CHUNK):
                part = rows[start : start + CHUNK]
                of = part % count
                yield self._scaled(part), tf.constant(self.y[of], pipeline.target_dtype(self.y)), tf.constant(self._weights[of])

        size = len(rows) * sum(4 * int(np.prod(array.shape[1:])) for array in self._train.inputs)
        return _Batches(make, list(make()) if size <= IN_MEMORY else None)

    def _scaled(self, rows: np.ndarray) -> tuple[tf.Tensor, ...]:
        arrays = [np.asarray(array[rows]) for array in self._train.inputs]
        if not self._layers:
            return tuple(tf.cast(array, tensor.dtype) for array, tensor in zip(arrays, self._inputs, strict=True))
        return ((self._rounded(arrays[0]) - self._mean) / self._scale,) * len(self._entries)

    def _assign(self, point: np.ndarray) -> None:
        for variable, values in zip(self._variables, np.split(point, np.cumsum(self._sizes)[:-1]), strict=True):
            variable.assign(values.reshape(variable.shape).astype("float32"))

    def loss_and_gradient(self, point: np.ndarray, batches: _Batches) -> tuple[float, np.ndarray]:
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

    def scores(self, point: np.ndarray, batches: _Batches) -> np.ndarray:
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
