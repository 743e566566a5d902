"""Gradients that several replicas can add up: dense, and overflowing on all replicas or on none."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf


def dense(gradient: tf.Tensor | tf.IndexedSlices, variable: keras.Variable) -> tf.Tensor:
    """Returns a gradient with all rows; that of an embedding names the rows that were read, a row as often as it was."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, variable.shape[0])
    return gradient


def overflowing_together(gradients: Sequence[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """Makes the gradients NaN on every replica when they overflow on any of them.

    Keras skips a step whose gradients are not finite, and looks at those of the first replica only.
    """
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients if gradient is not None])
    context = tf.distribute.get_replica_context()
    overflows = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(tf.logical_not(finite), tf.float32))
    poison = tf.where(overflows > 0, float("nan"), 0.0)
    return [None if gradient is None else gradient + tf.cast(poison, gradient.dtype) for gradient in gradients]
