"""A teacher's scores as targets: behind those of each example stand the scores of a model that is trained already.

Hinton, Vinyals & Dean 2015, Distilling the Knowledge in a Neural Network, https://arxiv.org/abs/1503.02531.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from tlkeras.data.target import Target
from tlkeras.models import TaskModel
from tlkeras.tasks.registry import TASKS, Task

LABELS = 0.5  # weight of the labels beside the teacher's scores: half, as in DeiT (https://arxiv.org/abs/2012.12877)
SMALLEST = 1e-7  # score whose logarithm is taken in place of that of 0


def with_scores(y: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns targets with a teacher's scores behind them, float32 (n, columns).

    Args:
        y: class ids, int (n,), or 0 and 1, (n, labels).
        scores: float32 (n, labels).
    """
    return np.concatenate([y.reshape(len(y), -1), scores], axis=1, dtype="float32")


def enable(task: TaskModel, *, teacher: str, temperature: float) -> TaskModel:
    """Returns the task model with the loss for targets that have a teacher's scores behind them; `disable` undoes it.

    Args:
        task: of classes or sets of labels.
        teacher: not used; its scores are in the targets.
        temperature: that the scores of both are softened by.
    """
    own = partial(loss, task=task.task, temperature=temperature)
    row = dataclasses.replace(task.task, loss=own, soft_loss="", metrics=(), monitor="loss")
    return dataclasses.replace(task, task=row)


def disable(task: TaskModel, parts: Any = None) -> TaskModel:
    """Returns the task model with the loss of its task."""
    return dataclasses.replace(task, task=TASKS.get(task.task.name))


def loss(target: Target, *, task: Task, temperature: float) -> Callable[[Any, Any], Any]:
    """Returns (targets with scores (batch, columns), scores (batch, labels)) -> (batch,).

    The cross-entropy with the teacher's softened scores is multiplied by the square of the temperature, so that its gradients are as large
    as those of the labels.
    """
    classes = target.encode([]).ndim == 1
    width = len(target.labels)
    own = keras.losses.get(task.keras_loss(target))
    soft_loss = _classes if classes else _labels

    def mixed(y: Any, scores: Any) -> Any:
        labels = ops.cast(y[:, 0], "int32") if classes else y[:, :width]
        return LABELS * own(labels, scores) + (1 - LABELS) * temperature**2 * soft_loss(y[:, -width:], scores, temperature)

    return mixed


def _classes(teacher: Any, scores: Any, temperature: float) -> Any:
    expected, logits = (_logarithm(values) / temperature for values in (teacher, scores))
    return -ops.sum(ops.softmax(expected) * ops.log_softmax(logits), axis=-1)


def _labels(teacher: Any, scores: Any, temperature: float) -> Any:
    """Of one sigmoid for each label; the mean over the labels."""
    expected, logits = ((_logarithm(values) - _logarithm(1 - values)) / temperature for values in (teacher, scores))
    return ops.mean(ops.binary_crossentropy(ops.sigmoid(expected), logits, from_logits=True), axis=-1)


def _logarithm(values: Any) -> Any:
    return ops.log(ops.clip(values, SMALLEST, 1.0))
