"""The parts of a variational autoencoder other than its encoder: heads for mean and log-variance, sampling, decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from tlkeras.weights.layers import Reparameterise

LATENT, DECODER = "latent", "decoder"


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
