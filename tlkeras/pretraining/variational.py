"""A variational autoencoder around a backbone, which is its encoder: heads for mean and log-variance, draws, decoder, samples."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tlkeras.backbones.row import Backbone
from tlkeras.config import PretrainConfig
from tlkeras.data.examples import Dataset
from tlkeras.errors import ConfigError
from tlkeras.modalities.images.inputs import Images
from tlkeras.pretraining.network import Pretraining, untrained
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
    for depth, width in enumerate(widths, 1):
        x = layers.Dense(width, activation="relu", name=f"{DECODER}{depth}")(x)
    return layers.Dense(pixels, activation="sigmoid", name=f"{DECODER}_pixels")(x)


def decoder_of(model: keras.Model) -> keras.Model:
    """Returns the decoder of an autoencoder: float32 (batch, latent) -> (batch, pixels).

    Raises:
        ValueError: when the model is not an autoencoder.
    """
    names = [layer.name for layer in model.layers if layer.name.startswith(DECODER)]
    code = model.get_layer(LATENT).output
    inputs = x = keras.Input(code.shape[1:], name="code")
    for name in names:
        x = model.get_layer(name)(x)
    return keras.Model(inputs, x)


# === Training ===


def build(row: Backbone, config: PretrainConfig, dataset: Dataset) -> Pretraining:
    """Returns a variational autoencoder of grey images, whose encoder is the backbone."""
    size = config.image_size or row.input_size
    base, features = untrained(row, config, image_size=size)
    widths = (int(base.options["hidden2"]), int(base.options["hidden1"]))
    pixels = autoencoder(features, latent=int(base.options["latent"]), widths=widths, pixels=size * size, seed=config.seed)

    def loss(target: Any, prediction: Any) -> Any:
        # Of all pixels together: the divergence, which a layer adds, is that of the whole code.
        return ops.mean(keras.losses.binary_crossentropy(target, prediction)) * (size * size)

    return Pretraining(
        model=keras.Model(base.model.input, pixels, name=row.name),
        inputs=Images(size=size, resize="stretch"),
        target=lambda x: (x.mean(axis=-1) / 255).reshape(len(x), -1),
        loss=loss,
    )


# === Sampling ===


def grid(
    model: keras.Model, size: int, *, rows: int, columns: int, seed: int = 0, like: np.ndarray | None = None, plane: bool = False
) -> np.ndarray:
    """Draws images from a trained autoencoder, or reconstructs images.

    Args:
        model: the autoencoder.
        size: side of its images, in pixels.
        rows, columns: size of the grid.
        seed: seed of the samples from the prior.
        like: images uint8 (n, size, size, 3) to reconstruct instead of sampling. Each is shown beside its reconstruction.
        plane: decode codes at equal steps of probability instead of random ones. Needs a two-dimensional code.

    Returns:
        The grid, uint8 (rows * size, columns * size).

    Raises:
        ConfigError: when `plane` is set and codes are not two-dimensional, or when the grid has no room for a pair.
    """
    if like is None:
        decoder = decoder_of(model)
        latent = int(decoder.input_shape[-1])
        code = plane_of_codes(rows, columns, latent) if plane else np.random.default_rng(seed).normal(size=(rows * columns, latent))
        pixels = decoder.predict(code.astype("float32"), verbose=0)
    else:
        if rows * columns < 2:
            raise ConfigError(f"a grid of {rows} x {columns} has no room for an image beside its reconstruction; expected 2 or more cells")
        images = np.asarray(like[: rows * columns // 2], "float32")
        drawn = model.predict(images, verbose=0)
        pixels = np.stack([images.mean(axis=-1).reshape(len(images), -1) / 255, drawn], axis=1).reshape(-1, size * size)
        pixels = np.concatenate([pixels, np.zeros((rows * columns - len(pixels), size * size))])
    tiles = np.round(255 * pixels).astype("uint8").reshape(rows, columns, size, size)
    return tiles.transpose(0, 2, 1, 3).reshape(rows * size, columns * size)


def plane_of_codes(rows: int, columns: int, latent: int) -> np.ndarray:
    """Returns codes on a grid, float64 (rows * columns, 2): Kingma & Welling 2013, figure 4."""
    if latent != 2:
        raise ConfigError(f"a code of this network has {latent} dimensions; a plane needs two: pretrain with `--backbone-options latent=2`")
    across, down = ([NormalDist().inv_cdf((index + 0.5) / count) for index in range(count)] for count in (columns, rows))
    return np.array([(x, y) for y in down for x in across])
