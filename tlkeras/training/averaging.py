"""Averages of weights: between the start and the end of a phase, and over several repetitions of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tlkeras.models import TaskModel
from tlkeras.registry import load_function
from tlkeras.tasks.registry import TARGET, Targets

Weights = list[np.ndarray]


@dataclass(frozen=True, kw_only=True, order=True)
class Merit:
    """How good scores are: the figure of the task first, then the loss, for figures that are equal.

    Args:
        figure: of the task, larger is better; 0 where it has none.
        gain: the mean loss with its sign changed.
    """

    figure: float
    gain: float


def merit(task: TaskModel, y: np.ndarray, scores: np.ndarray) -> Merit:
    """Returns how good the scores of some examples are.

    Args:
        task: with its figure and its loss.
        y: targets, (n, …).
        scores: (n, width).
    """
    loss = keras.losses.get(task.task.keras_loss(task.target))
    gain = -float(np.mean(np.asarray(loss(keras.ops.convert_to_tensor(y), keras.ops.convert_to_tensor(scores)))))
    targets: Targets = {TARGET: y}
    own = scores[:, : _width(task)]  # what only the loss needs stands behind
    target = task.task.calibrated(task.target, targets, own)
    judgement = load_function(task.task.judge)(own, own, targets, target)
    figure = judgement.accuracy if judgement is not None and judgement.accuracy is not None else 0.0
    return Merit(figure=figure, gain=gain)


def _width(task: TaskModel) -> int:
    """Returns how many columns the task reads."""
    return int(task.model.get_layer("scores").output.shape[-1])


def weights_of(model: keras.Model) -> Weights:
    """Returns the weights of a model, statistics included."""
    return [np.asarray(variable.value) for variable in model.weights]


def put(model: keras.Model, weights: Weights) -> None:
    """Sets the weights of a model."""
    for variable, value in zip(model.weights, weights, strict=True):
        variable.assign(value)


def interpolated(
    model: keras.Model, start: Weights, end: Weights, shares: Sequence[float], judge: Callable[[], Merit]
) -> tuple[float, dict[float, Merit]]:
    """Sets the weights to the best mixture of two, and returns its share of the way and the merit of each; of equals, the smallest share.

    Wortsman et al. 2022, Robust fine-tuning of zero-shot models, https://arxiv.org/abs/2109.01903.

    Args:
        model: whose weights are set.
        start, end: weights before and after a phase.
        shares: of the way from the start to the end, 0 to 1.
        judge: returns the merit of the present weights on validation.
    """
    merits: dict[float, Merit] = {}
    for share in sorted(shares):
        put(model, _mixture(start, end, share))
        merits[share] = judge()
    best = max(sorted(merits), key=lambda share: merits[share])
    put(model, _mixture(start, end, best))
    return best, merits


def _mixture(start: Weights, end: Weights, share: float) -> Weights:
    return [_like(a + share * (b - a), a) if share not in (0, 1) else (b if share else a) for a, b in zip(start, end, strict=True)]


def greedy_soup(model: keras.Model, ingredients: Sequence[Weights], judge: Callable[[], Merit]) -> list[int]:
    """Sets the weights to the mean of those ingredients that do not make it worse, best first; returns which they are.

    Wortsman et al. 2022, Model soups, https://arxiv.org/abs/2203.05482.

    Args:
        model: whose weights are set.
        ingredients: weights of models that were trained from the same start.
        judge: returns the merit of the present weights on validation.
    """
    merits = []
    for weights in ingredients:
        put(model, weights)
        merits.append(judge())
    order = sorted(range(len(ingredients)), key=lambda index: merits[index], reverse=True)
    soup, best = [order[0]], merits[order[0]]
    for index in order[1:]:
        put(model, _mean([ingredients[i] for i in [*soup, index]]))
        value = judge()
        if value >= best:
            soup, best = [*soup, index], value
    put(model, _mean([ingredients[i] for i in soup]))
    return sorted(soup)


def _mean(several: Sequence[Weights]) -> Weights:
    return [_like(np.mean(values, axis=0, dtype="float64"), values[0]) for values in zip(*several, strict=True)]


def _like(value: Any, example: np.ndarray) -> np.ndarray:
    """Returns a mean as the type of what it was made of; whole numbers, such as states of random generators, are not averaged."""
    return np.asarray(value, example.dtype) if example.dtype.kind == "f" else example
