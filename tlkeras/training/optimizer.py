"""AdamW with warm-up and cosine decay, whose update needs few operations however many weights a model has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.distribution.gradients import dense
from tlkeras.distribution.strategies import Distribution
from tlkeras.training.recipes.registry import Phase

NOT_DECAYED = ("bias", "gamma", "beta")  # names of variables without weight decay: biases, and scales and offsets of norms
BUCKET = 1 << 24  # weights that are updated as one vector: 64 MB, of which an update holds a few copies


@dataclass(frozen=True, kw_only=True)
class Pull:
    """How the variables of a model are treated differently, each in the order of its trainable variables.

    Args:
        factors: of the learning rate.
        start: weights towards which weight decay pulls instead of 0; None for 0, and for a variable without such weights.
    """

    factors: Sequence[float] | None = None
    start: Sequence[np.ndarray | None] | None = None

    @property
    def usual(self) -> bool:
        """Whether all variables have the same rate and decay towards 0."""
        return self.start is None and (self.factors is None or set(self.factors) <= {1.0})


def optimizer(
    phase: Phase, steps: int, distribution: Distribution, pull: Pull = Pull(), *, clip_norm: float | None = None, schedule: Any = None
) -> keras.optimizers.Optimizer:
    """Returns AdamW with linear warm-up and cosine decay; biases and norms do not decay.

    Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, https://arxiv.org/abs/1711.05101.

    Args:
        phase: learning rate, warm-up, weight decay and moving average.
        steps: of the whole phase.
        distribution: several replicas add up gradients variable by variable, and so use Keras' own update.
        pull: rates and starts of the variables.
        clip_norm: largest norm of the gradient of all variables together; longer ones are scaled down. None for no limit.
        schedule: of the learning rate, in place of the one above.
    """
    if schedule is None:
        schedule = _warmup_and_cosine(phase, steps)
    settings: dict[str, Any] = {"weight_decay": phase.weight_decay, "global_clipnorm": clip_norm}
    settings |= {"use_ema": True, "ema_momentum": phase.ema} if phase.ema else {}
    if distribution.strategy is None:
        adam: keras.optimizers.Optimizer = FlatAdamW(schedule, pull=pull, **settings)
    elif pull.usual and clip_norm is None:
        adam = keras.optimizers.AdamW(schedule, **settings)
    else:
        adam = PulledAdamW(schedule, pull=pull, **settings)
    adam.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return adam


def _warmup_and_cosine(phase: Phase, steps: int) -> Any:
    if phase.learning_rate == 0:  # CosineDecay divides by the peak
        return 0.0
    warmup = int(phase.warmup * steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else phase.learning_rate,
        max(1, steps - warmup),
        warmup_target=phase.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


class PulledAdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with a rate and a start for each variable, which clips the sum of the gradients of all replicas.

    Args:
        learning_rate: peak or schedule.
        pull: rates and starts of the variables that it is built for.
        **kwargs: of `keras.optimizers.AdamW`.
    """

    def __init__(self, learning_rate: Any, *, pull: Pull, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self._pull = pull

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Does nothing: the decay is part of the update."""

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        return grads  # of one replica; the norm is that of their sum

    def _all_reduce_sum_gradients(self, grads_and_vars: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        pairs = super()._all_reduce_sum_gradients(grads_and_vars)
        clipped = super()._clip_gradients([gradient for gradient, _ in pairs])
        return [(gradient, variable) for gradient, (_, variable) in zip(clipped, pairs, strict=True)]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        rate = tf.cast(learning_rate, variable.dtype) * (1.0 if self._pull.factors is None else self._pull.factors[index])
        if self.weight_decay and self._use_weight_decay(self._trainable_variables[index]):
            start = None if self._pull.start is None else self._pull.start[index]
            distance = variable if start is None else variable - tf.constant(start, variable.dtype)
            self.assign_sub(variable, distance * tf.cast(rate * self.weight_decay, variable.dtype))
        super().update_step(gradient, variable, rate)


class FlatAdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` that updates many variables as one vector.

    Keras updates each variable by about fifteen operations of its own. For the 150 variables of EfficientNet-Lite0 that is half of what
    is traced before the first step, and on a GPU half of the kernels that are launched in every step.

    Args:
        learning_rate: peak or schedule.
        pull: rates and starts of the variables that it is built for.
        **kwargs: of `keras.optimizers.AdamW`, but for `amsgrad`.
    """

    def __init__(self, learning_rate: Any, *, pull: Pull = Pull(), **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self._pull = pull

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, variables)  # not AdamW's, which makes two slots for each variable
        self._buckets = [(bucket, *self._slots(bucket)) for bucket in _buckets(variables)]
        indices = {id(variable): index for index, variable in enumerate(variables)}
        self._rates = [self._of_weights(bucket, indices, self._pull.factors) for bucket, _, _ in self._buckets]
        self._starts = [self._start(bucket, indices) for bucket, _, _ in self._buckets]

    def _slots(self, bucket: Sequence[keras.Variable]) -> tuple[keras.Variable, keras.Variable]:
        shape = (sum(_size(variable) for variable in bucket),)
        return self.add_variable(shape, name="momentum"), self.add_variable(shape, name="velocity")

    def _of_weights(self, bucket: Sequence[keras.Variable], indices: dict[int, int], factors: Sequence[float] | None) -> Any:
        """Returns the factor of the rate: one for all weights of a bucket, or float32 (weights,) where they differ."""
        own = [1.0 if factors is None else factors[indices[id(variable)]] for variable in bucket]
        return own[0] if len(set(own)) == 1 else np.repeat(own, [_size(variable) for variable in bucket]).astype("float32")

    def _start(self, bucket: Sequence[keras.Variable], indices: dict[int, int]) -> Any:
        """Returns the weights that a bucket decays towards, float32 (weights,), as a variable that does not train; None for 0."""
        if self._pull.start is None:
            return None
        starts = [self._pull.start[indices[id(variable)]] for variable in bucket]
        flat = [np.zeros(_size(variable)) if start is None else np.ravel(start) for variable, start in zip(bucket, starts, strict=True)]
        vector = np.concatenate(flat).astype("float32")
        # Not assigned afterwards: Keras builds optimizers where assignments are undone.
        return self.add_variable(vector.shape, initializer=keras.initializers.Constant(vector), name="start")

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Does nothing: the decay is part of the update."""

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        return grads  # as vectors, in the update: the norm of an embedding's parts is not that of their sum

    def _backend_update_step(self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable], learning_rate: Any) -> None:
        gradients = {id(variable): gradient for variable, gradient in zip(trainable_variables, grads, strict=True)}
        rate = tf.cast(learning_rate, tf.float32)
        step = tf.cast(self.iterations + 1, tf.float32)
        alpha = rate * tf.sqrt(1 - tf.pow(self.beta_2, step)) / (1 - tf.pow(self.beta_1, step))
        vectors = [_flat([_as_float32(gradients.get(id(variable)), variable) for variable in bucket]) for bucket, _, _ in self._buckets]
        if self.global_clipnorm:
            vectors, _ = tf.clip_by_global_norm(vectors, self.global_clipnorm)
        parts = zip(self._buckets, vectors, self._rates, self._starts, strict=True)
        for (bucket, momentum, velocity), gradient, factor, start in parts:
            m, v = momentum.value, velocity.value
            m.assign_add((gradient - m) * (1 - self.beta_1))
            v.assign_add((tf.square(gradient) - v) * (1 - self.beta_2))
            update = m * alpha / (tf.sqrt(v) + self.epsilon)
            sizes = [_size(variable) for variable in bucket]
            if self.weight_decay:
                decayed = np.repeat([self._use_weight_decay(variable) for variable in bucket], sizes)
                weights = _flat([variable.value for variable in bucket])
                update += (weights if start is None else weights - start.value) * decayed.astype("float32") * (self.weight_decay * rate)
            if not (isinstance(factor, float) and factor == 1.0):
                update *= factor
            for variable, part in zip(bucket, tf.split(update, sizes), strict=True):
                if id(variable) in gradients:
                    variable.value.assign_sub(tf.reshape(part, variable.shape))


def _buckets(variables: Sequence[keras.Variable]) -> list[list[keras.Variable]]:
    """Returns the variables in groups of at most `BUCKET` weights, larger variables alone."""
    groups: list[list[keras.Variable]] = []
    room = 0
    for variable in variables:
        size = _size(variable)
        if size > room:
            groups.append([])
            room = BUCKET
        groups[-1].append(variable)
        room -= size
    return groups


def _size(variable: keras.Variable) -> int:
    return int(np.prod(variable.shape))


def _flat(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)


def _as_float32(gradient: tf.Tensor | tf.IndexedSlices | None, variable: keras.Variable) -> tf.Tensor:
    """Returns a gradient as a dense tensor; a variable that the loss does not use has none."""
    return tf.zeros(variable.shape) if gradient is None else tf.cast(dense(gradient, variable), tf.float32)
