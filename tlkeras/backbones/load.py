"""From a row to a features model: raw RGB picture -> input contract -> backbone, flat, with its weights."""

from __future__ import annotations

import re
from collections import Counter

import keras

from tlkeras.backbones import contracts, weights
from tlkeras.backbones.registry import BACKBONES, Backbone
from tlkeras.errors import ConfigError


def load(name: str, *, image_size: int | None = None, weights: str = "imagenet") -> keras.Model:
    """Builds the features model of a backbone.

    Args:
        name: name or alias in the registry.
        image_size: side of the square input in pixels; the backbone's own when None.
        weights: `imagenet`, `wheel`, `none`, or a file (`.weights.h5`, `.h5`, `.keras`), optionally
            `FILE#sha256=HEX`.

    Returns:
        Flat functional model: float32 (batch, size, size, 3), RGB 0-255 -> float32 (batch, h, w, features).
        Two builds give equal layer names, whatever was built before.

    Raises:
        UnknownName, ConfigError, WeightsUnavailable, WeightsMismatch.
    """
    row = BACKBONES.get(name)
    size = image_size or row.input_size
    if size < row.min_size:
        raise ConfigError(f"image_size is {size}; {row.name} takes {row.min_size} pixels or more")
    base, start = _with_weights(row, size, weights)

    image = keras.Input((size, size, 3), name="image")
    x = contracts.apply(row.contract, image)
    model = keras.Model(image, _run_again(base, x, start), name=row.name)
    _rename(model)
    return model


def _with_weights(row: Backbone, size: int, choice: str) -> tuple[keras.Model, tuple[float, ...]]:
    """Returns the model with its weights, and the extra rescaling that it still lacks."""
    base = weights.build(row, size, choice)
    missing = row.rescale if weights.is_file(choice) else ()
    return base, missing


def _run_again(base: keras.Model, x: keras.KerasTensor, rescale: tuple[float, ...]) -> keras.KerasTensor:
    """Runs the layers of `base` on x, so that they become layers of the model around it, not a model inside it."""
    if not rescale:
        return base.call(x)
    # keras.applications adds this layer to EfficientNet V1 only when it downloads the weights itself
    # (tensorflow/tensorflow#49930); without it a local file gives another network.
    normalised = next(layer for layer in base.layers if isinstance(layer, keras.layers.Normalization))
    x = keras.Model(base.input, normalised.output).call(x)
    x = keras.layers.Rescaling([1.0 / deviation**0.5 for deviation in rescale])(x)
    return keras.Model(normalised.output, base.output).call(x)


def _rename(model: keras.Model) -> None:
    """Numbers the layers that Keras named by itself from 0 within this model, not within this process."""
    counts: Counter[str] = Counter()
    for layer in model.layers:
        stem = _automatic(layer)
        if stem:
            layer.name = f"{stem}_{counts[stem]}" if counts[stem] else stem
            counts[stem] += 1


def _automatic(layer: keras.Layer) -> str | None:
    """Returns what Keras calls layers of this class when nobody names them, if that is this layer's name."""
    stem = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", type(layer).__name__)  # keras/src/utils/naming.py, to_snake_case
    stem = re.sub(r"([a-z])([A-Z])", r"\1_\2", stem).lower()
    return stem if re.fullmatch(rf"{stem}(_\d+)?", layer.name) else None
