"""The layers that only tlkeras has, which saved models contain.

They are registered when this module is imported; reading a `.keras` file imports it. Their registered names are part of those files, so
that they must not change: `tlkeras>ProjectedLSTM`, `tlkeras>ScalarMix`, `tlkeras>NextWord`, `tlkeras>Reparameterise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import initializers, layers, ops


@keras.saving.register_keras_serializable(package="tlkeras")
class ProjectedLSTM(layers.Layer):
    """An LSTM whose output is projected to a smaller width and fed back, memory and output clipped.

    Sak et al. 2014, https://arxiv.org/abs/1402.1128; as ELMo uses it: `allennlp/modules/lstm_cell_with_projection.py`.
    The gates stand as in TensorFlow 1: input, memory, forget, output; the forget gate's bias has its 1 inside.

    Maps (batch, time, width) and a bool mask (batch, time) to (batch, time, projection), zero where nothing is. The
    backward direction begins at the last place that is masked in: state and output stay zero until there.

    Args:
        units: width of the memory.
        projection: width of the output.
        cell_clip, projection_clip: largest absolute value of memory and output; None for none.
        backward: whether it runs from the end to the start.
    """

    def __init__(
        self,
        units: int,
        projection: int,
        *,
        cell_clip: float | None = None,
        projection_clip: float | None = None,
        backward: bool = False,
        **options: Any,
    ):
        super().__init__(**options)
        self.units, self.projection, self.backward = units, projection, backward
        self.cell_clip, self.projection_clip = cell_clip, projection_clip

    def build(self, shapes: Sequence[Any]) -> None:
        gates = 4 * self.units
        self.kernel = self.add_weight(shape=(shapes[0][-1], gates), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.projection, gates), name="recurrent_kernel")
        self.bias = self.add_weight(shape=(gates,), initializer=self._forget_ones, name="bias")
        self.output_kernel = self.add_weight(shape=(self.units, self.projection), name="output_kernel")

    def _forget_ones(self, shape: Any, dtype: Any = None) -> Any:
        return ops.repeat(ops.convert_to_tensor([0, 0, 1, 0], dtype), self.units)

    def call(self, inputs: Sequence[Any], training: bool = False) -> Any:
        x, mask = inputs
        # Time first; what does not depend on the state is computed for all steps at once.
        gates = ops.transpose(ops.matmul(x, self.kernel) + self.bias, (1, 0, 2))  # (batch, time, w) -> (time, batch, 4 units)
        present = ops.expand_dims(ops.transpose(ops.cast(mask, gates.dtype)), -1)  # (time, batch, 1)
        walk = self._with_arrays if training else self._without_arrays
        return ops.transpose(walk(gates, present), (1, 0, 2))

    def _step(self, gates: Any, present: Any, output: Any, memory: Any) -> tuple[Any, Any]:
        """Returns output and memory after one step; both are zero where nothing is."""
        into, new, keep, out = ops.split(gates + ops.matmul(output, self.recurrent_kernel), 4, axis=-1)
        memory = ops.sigmoid(keep) * memory + ops.sigmoid(into) * ops.tanh(new)
        memory = _clipped(memory, self.cell_clip) * present
        output = ops.matmul(ops.sigmoid(out) * ops.tanh(memory), self.output_kernel)
        return _clipped(output, self.projection_clip) * present, memory

    def _start(self, gates: Any) -> tuple[Any, Any, Any]:
        steps, batch = ops.shape(gates)[:2]
        return steps, ops.zeros((batch, self.projection), gates.dtype), ops.zeros((batch, self.units), gates.dtype)

    def _at(self, step: Any, steps: Any) -> Any:
        return steps - 1 - step if self.backward else step

    def _without_arrays(self, gates: Any, present: Any) -> Any:
        """For inference: TFLite's lists of tensors want a fixed batch, so that each step writes into one whole tensor."""
        steps, output, memory = self._start(gates)
        places = ops.reshape(ops.arange(steps, dtype="int32"), (-1, 1, 1))

        def body(step: Any, output: Any, memory: Any, outputs: Any) -> tuple[Any, ...]:
            at = self._at(step, steps)
            output, memory = self._step(ops.take(gates, at, axis=0), ops.take(present, at, axis=0), output, memory)
            return step + 1, output, memory, ops.where(ops.equal(places, at), ops.expand_dims(output, 0), outputs)

        outputs = ops.zeros((steps, ops.shape(gates)[1], self.projection), gates.dtype)
        return ops.while_loop(lambda step, *_: step < steps, body, (0, output, memory, outputs))[-1]

    def _with_arrays(self, gates: Any, present: Any) -> Any:
        """For training: the gradient of reading one step of a whole tensor would be as large as the tensor, at every step."""
        steps, output, memory = self._start(gates)
        arrays = [tf.TensorArray(tensor.dtype, steps, element_shape=tensor.shape[1:]).unstack(tensor) for tensor in (gates, present)]

        def body(step: Any, output: Any, memory: Any, outputs: Any) -> tuple[Any, ...]:
            at = self._at(step, steps)
            output, memory = self._step(arrays[0].read(at), arrays[1].read(at), output, memory)
            return step + 1, output, memory, outputs.write(at, output)

        outputs = tf.TensorArray(gates.dtype, steps, element_shape=output.shape)
        return tf.while_loop(lambda step, *_: step < steps, body, (0, output, memory, outputs))[-1].stack()

    def compute_output_shape(self, shapes: Sequence[Any]) -> Any:
        return (*shapes[0][:2], self.projection)

    def get_config(self) -> dict[str, Any]:
        own = ("units", "projection", "cell_clip", "projection_clip", "backward")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def _clipped(x: Any, limit: float | None) -> Any:
    return ops.clip(x, -limit, limit) if limit else x


@keras.saving.register_keras_serializable(package="tlkeras")
class ScalarMix(layers.Layer):
    """The weighted sum of the layers of a network, times a learned factor: (batch, layers, width) -> (batch, width).

    Peters et al. 2018, https://arxiv.org/abs/1802.05365, equation 1: the weights are a softmax over one number for each layer.
    """

    def build(self, shape: Any) -> None:
        self.scalars = self.add_weight(shape=(shape[1],), initializer=initializers.Zeros(), name="scalars")
        self.gamma = self.add_weight(shape=(), initializer=initializers.Ones(), name="gamma")

    def call(self, x: Any) -> Any:
        return self.gamma * ops.sum(ops.reshape(ops.softmax(self.scalars), (-1, 1)) * x, axis=1)

    def compute_output_shape(self, shape: Any) -> Any:
        return (shape[0], shape[2])


@keras.saving.register_keras_serializable(package="tlkeras")
class NextWord(layers.Layer):
    """Scores of the word that each direction sees next: (batch, words, 2 widths) -> (batch, words, 2, vocabulary).

    The first half of the features is the forward direction, the second the backward one; both share the weights, as in
    `bilm/training.py`.

    Args:
        words: size of the vocabulary.
    """

    def __init__(self, words: int, **options: Any):
        super().__init__(**options)
        self.words = words

    def build(self, shape: Any) -> None:
        width = shape[-1] // 2
        self.kernel = self.add_weight(shape=(width, self.words), initializer=initializers.RandomNormal(stddev=width**-0.5), name="kernel")
        self.bias = self.add_weight(shape=(self.words,), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        both = ops.stack(ops.split(x, 2, axis=-1), axis=2)  # (batch, words, 2, width)
        return ops.matmul(both, self.kernel) + self.bias

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:2], 2, self.words)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "words": self.words}


@keras.saving.register_keras_serializable(package="tlkeras")
class Reparameterise(layers.Layer):
    """Draws from the posterior in training, and adds its divergence from the standard normal prior as a loss.

    Kingma & Welling 2013, https://arxiv.org/abs/1312.6114, equation 10. In inference it returns the mean, so that a model
    answers the same request in the same way.
    """

    def __init__(self, seed: int = 0, **options: Any):
        super().__init__(**options)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Sequence[Any], training: bool = False) -> Any:
        mean, log_variance = inputs
        divergence = -0.5 * ops.sum(1 + log_variance - ops.square(mean) - ops.exp(log_variance), axis=-1)
        self.add_loss(ops.mean(divergence))
        if not training:
            return mean
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.generator)

    def compute_output_shape(self, shapes: Sequence[Any]) -> Any:
        return shapes[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
