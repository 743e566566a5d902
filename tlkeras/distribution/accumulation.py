"""Gradients of a batch that is computed in several parts, one after the other: it then needs the memory of one part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tlkeras.distribution.gradients import dense


def summed(
    variables: Sequence[keras.Variable], rows: tf.Tensor, parts: int, gradients_of: Callable[[slice], Sequence[Any]]
) -> list[tf.Tensor | None]:
    """Returns the sum of the gradients of all parts of a batch.

    The parts are computed in a loop, which is traced once; as many as there are rows where these are fewer.

    Args:
        variables: that the gradients are of.
        rows: int32 (), of the batch; at least 1.
        parts: in how many parts it is computed.
        gradients_of: rows of a part -> its gradient of each variable, or None where the loss does not use it.
    """
    parts_here = tf.minimum(tf.cast(rows, tf.int32), parts)
    used = [False] * len(variables)

    def add(index: tf.Tensor, sums: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        gradients = gradients_of(slice(index * rows // parts_here, (index + 1) * rows // parts_here))
        used[:] = [gradient is not None for gradient in gradients]
        return index + 1, [
            total if gradient is None else total + tf.cast(dense(gradient, variable), total.dtype)
            for total, gradient, variable in zip(sums, gradients, variables, strict=True)
        ]

    zeros = [tf.zeros(variable.shape, variable.dtype) for variable in variables]
    _, sums = tf.while_loop(lambda index, _: index < parts_here, add, (tf.constant(0), zeros), parallel_iterations=1)
    return [total if is_used else None for total, is_used in zip(sums, used, strict=True)]


def rows_of(values: Any, rows: slice) -> Any:
    """Returns rows of every tensor of a structure; None for None."""
    return None if values is None else tf.nest.map_structure(lambda tensor: tensor[rows], values)


class AccumulatingModel(keras.Model):
    """A functional model on one device that computes each batch in several parts.

    Args:
        inputs, outputs: of the functional model.
        parts: in how many parts a batch is computed.
    """

    def __init__(self, inputs: Any, outputs: Any, *, parts: int, **kwargs: Any):
        super().__init__(inputs, outputs, **kwargs)
        self._parts = parts

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        count = tf.shape(y)[0]

        def gradients_of(rows: slice) -> Sequence[Any]:
            inputs, targets, weights = rows_of(x, rows), y[rows], rows_of(weight, rows)
            size = tf.cast(tf.shape(targets)[0], tf.float32)
            with tf.GradientTape() as tape:
                scores = self(inputs, training=True)
                loss = self.compute_loss(x=inputs, y=targets, y_pred=scores, sample_weight=weights, training=True)
                share = self.optimizer.scale_loss(loss * (size / tf.cast(count, tf.float32)))
            self._loss_tracker.update_state(loss, sample_weight=size)
            self.compute_metrics(inputs, targets, scores, sample_weight=weights)
            gradients: Sequence[Any] = tape.gradient(share, self.trainable_weights)
            return gradients

        gradients = summed(self.trainable_weights, count, self._parts, gradients_of)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        result: dict[str, Any] = self.get_metrics_result()
        return result
