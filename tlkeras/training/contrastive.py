"""Features that are alike within a class and unlike between classes: the backbone is trained on pairs of examples, before there is a head.

The loss is that of SetFit: the squared distance of the cosine of two features from 1, where both examples are of a class, and from 0 elsewhere
(Tunstall et al. 2022, Efficient Few-Shot Learning Without Prompts, https://arxiv.org/abs/2209.11055). SetFit draws pairs and computes the
features of each; here every pair of a batch counts, so that a pass over n examples sees more pairs than examples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tlkeras.data.target import Target
from tlkeras.models import FEATURES, TaskModel


def of_features(task: TaskModel) -> TaskModel:
    """Returns the task model up to its features, with the loss of pairs; it shares its layers with the whole.

    Args:
        task: whose targets are class ids, int (n,).
    """
    model = keras.Model(task.model.inputs, task.model.get_layer(FEATURES).output, name="features")
    return dataclasses.replace(task, model=model, task=dataclasses.replace(task.task, loss=loss, metrics=(), monitor="loss"))


def loss(target: Target) -> Callable[[Any, Any], Any]:
    """Returns (class ids (batch,), features (batch, width)) -> the mean loss of the pairs of each example, (batch,).

    Pairs of a class and of two classes weigh the same, however many there are; an example pairs with all others of its batch.
    """

    def of_pairs(y: Any, features: Any) -> Any:
        features = ops.cast(features, "float32")
        lengths = ops.sum(ops.square(features), axis=1, keepdims=True)
        unit = features * ops.rsqrt(ops.maximum(lengths, 1e-6))  # a text of nothing has the feature 0
        cosines = ops.matmul(unit, ops.transpose(unit))  # (batch, batch)
        ids = ops.reshape(y, (-1,))
        alike = ops.cast(ops.equal(ids[:, None], ids[None, :]), "float32")
        others = alike - ops.eye(ops.shape(alike)[0], dtype="float32")
        return _mean(ops.square(1 - cosines), others) + _mean(ops.square(cosines), 1 - alike)

    return of_pairs


def _mean(values: Any, chosen: Any) -> Any:
    """Returns half the mean of some values of each row, (batch,); 0 where there is none."""
    return ops.sum(values * chosen, axis=1) / ops.maximum(2 * ops.sum(chosen, axis=1), 1.0)
