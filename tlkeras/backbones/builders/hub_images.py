"""Image backbones of KerasHub, unrolled: every block is a layer of the model, so that it can be frozen by itself."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from tlkeras.backbones import alternatives
from tlkeras.backbones.builders import hub_texts
from tlkeras.backbones.contracts import CONTRACTS, Contract
from tlkeras.backbones.row import Backbone, Sections
from tlkeras.errors import ConfigError
from tlkeras.weights import compat, presets

CONVERTER = "image_converter.json"  # of a KerasHub preset: keras_hub/src/utils/preset_utils.py


@dataclass(frozen=True, kw_only=True)
class ImageModel:
    """An image backbone with what comes with its weights.

    Args:
        model: output of its contract -> features of every position.
        contract: how raw RGB 0-255 becomes its input.
    """

    model: keras.Model
    contract: Contract


def build(row: Backbone, size: int) -> keras.Model:
    """Builds a network from the figures of its row, with random weights.

    Args:
        row: its row, whose options are set.
        size: side of the images in pixels.
    """
    import keras_hub

    kind = getattr(keras_hub.models, f"{row.app}Backbone")
    with presets.without_warnings():
        return unrolled(row, kind(image_shape=(size, size, 3), **row.figures, **row.options))


def from_preset(row: Backbone, size: int, choice: str) -> ImageModel:
    """Builds a network with the weights of a preset, and with the preset's own figures and contract.

    Args:
        row: its row.
        size: side of the images in pixels.
        choice: `pretrained`, `hub`, or a folder: a KerasHub preset, or a model folder of timm or Hugging Face.

    Raises:
        ConfigError: when its position embeddings are for another size and are not interpolated.
        WeightsUnavailable: when the weights are not available.
        WeightsMismatch: when the folder contains another network.
    """
    shape = {} if row.one_size else {"image_shape": (size, size, 3)}
    with presets.folder(row, choice, alternatives=alternatives.ways(row)) as preset, presets.without_warnings():
        base = presets.read(row, preset, "Backbone", **shape)
        contract = _contract(row, preset)
    own = base.image_shape[0]
    if row.one_size and own != size:
        raise ConfigError(
            f"image_size is {size}; {row.name} has one position embedding per patch of {own} x {own} pixels, and KerasHub does not "
            f"interpolate them: --image-size {own}, --weights none for {size}, or --backbone dinov2_small, whose embeddings are interpolated"
        )
    return ImageModel(model=unrolled(row, base), contract=contract)


def _contract(row: Backbone, preset: str) -> Contract:
    """Returns the preset's own normalisation, or the row's where the preset has none."""
    from keras_hub.layers import ImageConverter
    from keras_hub.src.utils.preset_utils import KerasPresetLoader, check_file_exists, get_preset_loader

    if isinstance(get_preset_loader(preset), KerasPresetLoader) and not check_file_exists(preset, CONVERTER):
        return CONTRACTS.get(row.contract)
    converter = ImageConverter.from_preset(preset)
    if converter is None:  # a timm model without a configuration of its images
        return CONTRACTS.get(row.contract)
    return Contract(name="preset", scale=_three(converter.scale, 1.0), offset=_three(converter.offset, 0.0), help="as the preset states")


def _three(value: Any, default: float) -> tuple[float, ...]:
    values = [default if value is None else value] * 3 if value is None or isinstance(value, (int, float)) else list(value)
    return tuple(float(one) for one in values)


def sections(row: Backbone, model: keras.Model) -> Sections:
    """Returns the row's sections as they are in this very network: a folder can hold a smaller or a larger one."""
    if "num_layers" in row.options:
        return hub_texts.sections(row, model)
    names = [layer.name for layer in model.layers]
    return tuple((name, pattern) for name, pattern in row.sections if fnmatch.filter(names, pattern)) if row.figures else row.sections


# === Unrolled ===


def unrolled(row: Backbone, base: keras.Model) -> keras.Model:
    """Returns the same network, with the blocks of its encoder as layers of the model, named after their place."""
    compat.complete_configs()
    return UNROLL.get(row.app, _as_it_is)(base)


def _as_it_is(base: keras.Model) -> keras.Model:
    return keras.Model(_image(base), base.output)


def _image(base: keras.Model) -> keras.KerasTensor:
    (image,) = keras.tree.flatten(base.input)
    return image


def _named(layers: list[keras.Layer], stem: str) -> list[keras.Layer]:
    for index, layer in enumerate(layers):
        layer.name = f"{stem}_{index}"
    return layers


def _vit(base: keras.Model) -> keras.Model:
    embeddings, encoder = base.layers[1:]
    embeddings.name, encoder.layer_norm.name = "embeddings", "norm"
    x = embeddings(_image(base))
    for block in _named(encoder.encoder_layers, "block"):
        x = block(x)
    return keras.Model(_image(base), encoder.layer_norm(x))


def _deit(base: keras.Model) -> keras.Model:
    embeddings, encoder = base.layers[1:]
    embeddings.name, encoder.layer_norm.name = "embeddings", "norm"
    x = embeddings(_image(base))
    # Its blocks also give attention scores, or None, which no functional model accepts: so their layers are called one by one.
    for index, block in enumerate(encoder.encoder_layers):
        parts = {part: getattr(block, part) for part in ("layer_norm_1", "mha", "layer_norm_2", "mlp", "output_layer")}
        for part, layer in parts.items():
            layer.name = f"block_{index}_{part}"
        y = parts["layer_norm_1"](x)
        x = keras.layers.Add(name=f"block_{index}_add")([parts["mha"](y, y), x])
        x = parts["output_layer"](parts["mlp"](parts["layer_norm_2"](x)), x)
    return keras.Model(_image(base), encoder.layer_norm(x))


def _dinov2(base: keras.Model) -> keras.Model:
    base.embeddings.name, base.layernorm.name = "embeddings", "norm"
    x = base.embeddings(_image(base))
    for block in _named(base.encoder.layers, "block"):
        x = block(x)
    return keras.Model(_image(base), base.layernorm(x))


def _dinov3(base: keras.Model) -> keras.Model:
    base.embeddings.name, base.rope_embedding.name, base.layernorm.name = "embeddings", "rope_embedding", "norm"
    image, first = _image(base), 1 + base.num_register_tokens
    count = first + (base.image_shape[0] // base.patch_size) ** 2
    # A fixed number of tokens: OpenVINO cannot distinguish it from the tokens that are put in front.
    x = keras.layers.Reshape((count, base.hidden_dim), name="embedding_row")(base.embeddings(image))
    places = base.rope_embedding(image)
    for block in _named(base.encoder.layers, "block"):
        x = block(x, position_embeddings=places, num_prefix_tokens=first)
    return keras.Model(image, base.layernorm(x))


def _hgnetv2(base: keras.Model) -> keras.Model:
    base.embedder_layer.name = "embedder"
    x = base.embedder_layer(_image(base))
    for section in _named(base.encoder_layer.stages_list, "stage"):
        x = section(x)
    return keras.Model(_image(base), x)


def _swin(base: keras.Model) -> keras.Model:
    cut = base.patch_embedding
    cut.proj.name, cut.norm.name, base.norm.name = "patch_embedding", "patch_norm", "norm"
    x = cut.proj(_image(base))  # (batch, h, w, features)
    x = cut.norm(keras.layers.Reshape((-1, cut.embed_dim), name="patch_row")(x))  # (batch, h * w, features)
    x = base.get_layer("pos_drop")(x)
    for index, section in enumerate(base.stages):
        for block in _named(section.blocks, f"stage_{index}_block"):
            x = block(x)
        if section.downsample is not None:
            height, width = section.input_resolution
            section.downsample.name = f"stage_{index}_merge"
            x = section.downsample(x, H=height, W=width)
    return keras.Model(_image(base), base.norm(x))


def _mobilenet_v5(base: keras.Model) -> keras.Model:
    blocks = iter(base.layers[2:-1])  # between the stem and what fuses the last two stages
    for section, count in enumerate(base.stackwise_num_blocks):
        _named([next(blocks) for _ in range(count)], f"stage_{section}_block")
    return _as_it_is(base)


UNROLL: dict[str, Callable[[Any], keras.Model]] = {
    "ViT": _vit,
    "DeiT": _deit,
    "DINOV2": _dinov2,
    "DINOV3": _dinov3,
    "HGNetV2": _hgnetv2,
    "MobileNetV5": _mobilenet_v5,
    "SwinTransformer": _swin,
}
