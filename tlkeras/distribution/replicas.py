"""A model fitted by several replicas that gives the losses of one: what is fitted is a copy, made in the strategy's scope.

The plain model stays a plain model, which freezing, prefix caching, saving and exporting know; its weights are copied into the
twin before a phase and back afterwards. Three things make the sum of the parts the whole:

- the loss of a part is its rows' share of the mean over the whole batch, however unequal the parts are;
- dropout draws one mask for the whole batch, of which each replica uses its rows;
- BatchNorm that trains computes its statistics over all replicas (frozen, it computes none).

Dropout inside a layer of layers (the blocks of KerasHub's transformers) draws for each part on its own: the losses then agree
in expectation, not digit by digit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tlkeras.distribution.accumulation import rows_of, summed
from tlkeras.distribution.gradients import dense, overflowing_together
from tlkeras.distribution.multiworker import DistributedModel
from tlkeras.distribution.strategies import Distribution
from tlkeras.errors import ConfigError, TrainingError


class _Part(threading.local):
    """Which rows of a batch the replica of this thread computes; strategies trace each replica in a thread of its own."""

    row: tf.Tensor | None = None
    size: tf.Tensor | None = None


class BatchDropout(keras.layers.Dropout):
    """Dropout whose mask is drawn for the whole batch, so that it does not depend on how the batch is divided.

    Args:
        part: which rows these are, set by `ReplicaModel` while a step is traced.
        **config: of `keras.layers.Dropout`.
    """

    def __init__(self, *, part: _Part, **config: Any):
        super().__init__(**config)
        self._part = part

    def call(self, inputs: Any, training: bool = False) -> Any:
        row, size = self._part.row, self._part.size
        if not training or self.rate == 0 or row is None or size is None:
            return super().call(inputs, training=training)
        sides = tf.unstack(tf.shape(inputs))
        sides[0] = size
        noise = [side if fixed is None else fixed for side, fixed in zip(sides, self.noise_shape or [None] * len(sides), strict=True)]
        mask = keras.random.dropout(tf.ones(noise, inputs.dtype), self.rate, seed=self.seed_generator)
        return inputs * (tf.gather(mask, row) if self.noise_shape is None or self.noise_shape[0] is None else mask)


class ReplicaModel(DistributedModel):
    """A functional model that is fitted on parts of batches, as `pipeline.batches(share=…)` makes them.

    Args:
        inputs, outputs: of the functional model.
        part: shared with its `BatchDropout` layers.
        each_loss: (targets, scores) -> loss of each row.
        target: shape and type of the targets of a batch.
        accumulate: in how many steps a replica computes its part of a batch.
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        *,
        part: _Part,
        each_loss: Callable[[Any, Any], Any],
        target: keras.KerasTensor,
        accumulate: int = 1,
        **kwargs: Any,
    ):
        super().__init__(inputs, outputs, **kwargs)
        self._accumulate = accumulate
        self._part, self._each_loss, self._target = part, each_loss, target
        self._mean_loss = keras.metrics.Mean(name="loss")

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # From the shapes of the model: reading a batch to learn them would open a pass over the data, and each pass is an epoch.
        rows = keras.KerasTensor((None,), "float32")
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=(self.input, self._target, rows))

    def _scores(self, x: Any, share: Mapping[str, Any], *, training: bool) -> Any:
        self._part.row, self._part.size = share["row"], share["size"][0]
        try:
            return self(x, training=training)
        finally:
            self._part.row = self._part.size = None

    def _loss_of_part(self, y: Any, scores: Any, share: Mapping[str, Any], fraction: Any = 1.0) -> Any:
        """Returns this part's share of the batch's loss, and counts it: the shares of all replicas add up to the mean.

        `fraction` is that of the replica's rows which are computed in this step.
        """
        each = tf.cast(self._each_loss(y, scores), tf.float32) * share["weight"]
        others = tf.add_n(self.losses) if self.losses else 0.0  # regularisers: each replica has them whole
        counts = tf.cast(share["weight"] > 0, tf.float32)
        self._mean_loss.update_state(each + others, counts)
        return (
            tf.reduce_sum(each) / tf.cast(share["size"][0], tf.float32) + others * fraction / self.distribute_strategy.num_replicas_in_sync
        )

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, share = data
        if self._accumulate == 1:
            gradients = self._gradients(x, y, share)
        else:
            count = tf.shape(y)[0]

            def gradients_of(rows: slice) -> list[tf.Tensor | None]:
                fraction = tf.cast(rows.stop - rows.start, tf.float32) / tf.cast(count, tf.float32)
                return self._gradients(rows_of(x, rows), y[rows], rows_of(share, rows), fraction)

            gradients = summed(self.trainable_weights, count, self._accumulate, gradients_of)
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = overflowing_together(gradients)
        # The optimiser adds the gradients of all replicas.
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        result: dict[str, Any] = self.get_metrics_result()
        return result

    def _gradients(self, x: Any, y: Any, share: Mapping[str, Any], fraction: Any = 1.0) -> list[tf.Tensor | None]:
        """Returns the gradients of some rows' share of the batch's loss, and counts these rows in the metrics."""
        with tf.GradientTape() as tape:
            scores = self._scores(x, share, training=True)
            loss = self.optimizer.scale_loss(self._loss_of_part(y, scores, share, fraction))
        self.compute_metrics(x, y, scores, sample_weight=share["weight"])
        pairs = zip(tape.gradient(loss, self.trainable_weights), self.trainable_weights, strict=True)
        return [None if gradient is None else dense(gradient, variable) for gradient, variable in pairs]

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, share = data
        scores = self._scores(x, share, training=False)
        self._loss_of_part(y, scores, share)
        return self.compute_metrics(x, y, scores, sample_weight=share["weight"])


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A copy of a plain model, to be fitted under a distribution strategy.

    Args:
        model: the copy; compile and fit it in the scope of the strategy.
        pairs: (variable of the plain model, variable of the copy).
    """

    model: keras.Model
    pairs: tuple[tuple[Any, Any], ...]

    def copy_back(self) -> None:
        """Puts the copy's variables into the plain model: weights, statistics, states of random generators."""
        for plain, copy in self.pairs:
            plain.assign(copy.numpy())


CLASS_IDS = keras.KerasTensor((None,), "int32")


def twin(plain: keras.Model, distribution: Distribution, loss: Any, target: keras.KerasTensor = CLASS_IDS, accumulate: int = 1) -> Twin:
    """Copies a functional model into the scope of a distribution strategy, with its weights, flags and random states.

    Args:
        plain: built outside of any scope.
        distribution: one with a strategy.
        loss: Keras loss, or its name, that gives one number for each row.
        target: shape and type of the targets of a batch.
        accumulate: in how many steps a replica computes its part of a batch.

    Raises:
        ConfigError: for steps between which replicas would have to exchange the statistics of BatchNorm.
        TrainingError: when the copy does not have the variables of the model.
    """
    part = _Part()

    def copied(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if type(layer) is keras.layers.Dropout:
            return BatchDropout(part=part, **config)
        if isinstance(layer, keras.layers.BatchNormalization):
            config["synchronized"] = layer.trainable and distribution.replicas > 1
            if config["synchronized"] and accumulate > 1:
                raise ConfigError(
                    f"accumulate is {accumulate}, and BatchNorm trains on {distribution.replicas} replicas, which exchange its statistics once "
                    "in a step; leave accumulate out, or use --batch-norm frozen"
                )
        return type(layer).from_config(config)

    with distribution.scope():
        inner = keras.models.clone_model(plain, clone_function=copied, recursive=True)
        each_loss = keras.losses.get(loss)
        model = ReplicaModel(
            inner.input, inner.output, part=part, each_loss=each_loss, target=target, accumulate=accumulate, name=plain.name
        )
        for layer, copy in zip(plain._flatten_layers(), inner._flatten_layers(), strict=True):
            if getattr(layer, "lora_enabled", False) and not copy.lora_enabled:  # configs of layers of layers do not tell
                copy.enable_lora(layer.lora_rank, layer.lora_alpha)
            copy.trainable = layer.trainable  # parents come before their children, whose own flags then hold
        pairs = tuple(zip(plain.variables, inner.variables, strict=True))
        for a, b in pairs:
            b.trainable = a.trainable  # not all variables of a layer that trains
        differing = [a.path for a, b in pairs if a.shape != b.shape]
        if differing:
            raise TrainingError(f"the copy of {plain.name!r} for {distribution.name} differs from it at {differing[0]!r}")
        for a, b in pairs:
            b.assign(a.numpy())
    return Twin(model=model, pairs=pairs)
