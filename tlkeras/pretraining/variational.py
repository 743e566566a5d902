"""The parts of a variational autoencoder other than its encoder: heads for mean and log-variance, sampling, decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

LATENT, DECODER = "latent", "decoder"


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

    def call(self, given: Sequence[Any], training: bool = False) -> Any:
        mean, log_variance = given
        divergence = -0.5 * ops.sum(1 + log_variance - ops.square(mean) - ops.exp(log_variance), axis=-1)
        self.add_loss(ops.mean(divergence))
        if not training:
            return mean
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.generator)

    def compute_output_shape(self, shapes: Sequence[Any]) -> Any:
        return shapes[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


def autoencoder(features: Any, *, latent: int, widths: Sequence[int], pixels: int, seed: int) -> Any:
    """Returns the reconstruction, float32 (batch, pixels), 0 to 1.

    Args:
        features: (batch, width), the last hidden layer of the encoder.
        latent: dimensions of the code.
        widths: of the decoder's hidden layers, from code to image.
        pixels: of an image.
        seed: of the draws.
    """
    mean = layers.Dense(latent, name="code_mean")(features)
    log_variance = layers.Dense(latent, name="code_log_variance")(features)
    x = Reparameterise(seed, name=LATENT)([mean, log_variance])
    for place, width in enumerate(widths, 1):
        x = layers.Dense(width, activation="relu", name=f"{DECODER}{place}")(x)
    return layers.Dense(pixels, activation="sigmoid", name=f"{DECODER}_pixels")(x)


def decoder_of(model: keras.Model) -> keras.Model:
    """Returns the decoder of an autoencoder: float32 (batch, latent) -> (batch, pixels).

    Raises:
        ValueError: when the model is not an autoencoder.
    """
    names = [layer.name for layer in model.layers if layer.name.startswith(DECODER)]
    code = model.get_layer(LATENT).output
    given = x = keras.Input(code.shape[1:], name="code")
    for name in names:
        x = model.get_layer(name)(x)
    return keras.Model(given, x)
