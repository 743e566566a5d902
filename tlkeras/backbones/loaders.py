"""The loaders of the rows: (row, arguments) -> a backbone with its weights, one function for each modality."""

from __future__ import annotations

from functools import partial

import keras

from tlkeras.backbones import adapters, alternatives, contracts
from tlkeras.backbones.builders import hub_images
from tlkeras.backbones.contracts import CONTRACTS, Contract
from tlkeras.backbones.load import Arguments, Base, published
from tlkeras.backbones.row import Backbone, check_size
from tlkeras.errors import ConfigError, WeightsUnavailable
from tlkeras.registry import load_function
from tlkeras.weights import formats, presets
from tlkeras.weights.sources import FIRST, chosen_source, is_path

# === Images ===


def image(row: Backbone, arguments: Arguments) -> Base:
    """Returns image -> channel adapter -> input contract -> backbone."""
    base = published(row, arguments.weights)
    if base is not None:
        channels = base.model.input.shape[-1]
        if channels != arguments.channels:
            raise ConfigError(f"channels is {arguments.channels}; {row.name} was published for images of {channels}")
        return base
    size = arguments.image_size or row.input_size
    adapter = adapters.chosen(arguments.channels, arguments.adapter)
    check_size(row, size)
    network, contract, notes = _with_weights(row, size, arguments)
    missing = row.rescale if is_path(arguments.weights) else ()
    inputs = keras.Input((size, size, arguments.channels), name="image")
    x = contracts.apply(contract, adapter.apply(inputs) if adapter else inputs)
    model = keras.Model(inputs, _run_again(network, x, missing), name=row.name)
    return Base(model=model, sections=hub_images.sections(row, model), notes=notes)


def _with_weights(row: Backbone, size: int, arguments: Arguments) -> tuple[keras.Model, Contract, tuple[str, ...]]:
    """Returns the network with its weights, its contract, and notes on the weights."""
    if presets.is_preset(row, arguments.weights):
        if not arguments.own_sizes:
            raise ConfigError(f"the sizes of {row.name} are those of its preset; leave out --backbone-options, or use --weights none")
        preset = hub_images.from_preset(row, size, arguments.weights)
        return preset.model, preset.contract, ()
    network, notes = _built(row, size, arguments.weights)
    return network, CONTRACTS.get(row.contract), notes


def _built(row: Backbone, size: int, choice: str) -> tuple[keras.Model, tuple[str, ...]]:
    """Returns what the row's builder builds, with its weights, and notes on them. Random weights never replace missing ones."""
    builder = load_function(row.builder)
    source = chosen_source(row, choice)
    if choice in FIRST and source is None:
        raise WeightsUnavailable(
            f"{row.name} has no pretrained weights to download; --weights FILE loads your own, --weights none starts from random ones, "
            "and `tlkeras pretrain` trains it as a backbone"
        )
    if choice == "none":
        return builder(row, size), ()
    if is_path(choice):
        network = builder(row, size)
        return network, formats.load_file(row, network, choice, accepting=alternatives.accepting_foreign())
    ways = alternatives.ways(row)
    if source is None or not source.builds:
        raise WeightsUnavailable(f"{row.name} has no weights of the kind {choice!r}; {ways}")
    return load_function(source.builds)(row, source, partial(builder, row, size), alternatives=ways), ()


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


# === Texts ===


def text(row: Backbone, arguments: Arguments) -> Base:
    """Returns token ids -> backbone, and its vocabulary."""
    base = published(row, arguments.weights)
    if base is not None:
        return base
    adapters.chosen(arguments.channels, arguments.adapter)  # refuses an adapter for what needs none
    if arguments.image_size is not None:
        raise ConfigError(f"image_size is {arguments.image_size}; {row.name} accepts texts: use --max-length instead")
    built = load_function(row.builder)(row, arguments.weights)
    return Base(model=built.model, sections=built.sections, mask=built.mask, tokens=built.tokens)


# === Sequences ===


def sequence(row: Backbone, arguments: Arguments) -> Base:
    """Returns standardised sequence -> backbone."""
    base = published(row, arguments.weights)
    if base is not None:
        return base
    adapters.chosen(arguments.channels, arguments.adapter)
    if arguments.weights != "none" and not is_path(arguments.weights):
        raise WeightsUnavailable(f"{row.name} is trained from scratch; {alternatives.ways(row)}")
    model = load_function(row.builder)(row, arguments.data)
    notes = () if arguments.weights == "none" else formats.load_file(row, model, arguments.weights)
    return Base(model=model, sections=row.sections, notes=notes)
