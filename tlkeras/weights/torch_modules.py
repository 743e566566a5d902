"""Layer of ours -> module of a foreign checkpoint, one function for each layout.

Each is called with the names of the layers that have weights, from input to output. A name that no rule matches is kept. It is
then missing in the checkpoint, which is reported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Places = dict[str, str]

# Expansion, filters, repeats, stride of each group of blocks of MobileNetV2: Sandler et al. 2018, table 2.
MOBILENET_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


# === EfficientNet-Lite, with the names that KerasCV gave its layers: block3b_expand_conv, …_expand_bn, …_dwconv, …_bn, …_project_conv, …_project_bn ===

_LUKEMELAS = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}
_TIMM = {"expand_conv": "conv_pw", "expand_bn": "bn1", "dwconv": "conv_dw", "bn": "bn2", "project_conv": "conv_pwl", "project_bn": "bn3"}
# A block that expands nothing is another module in timm (DepthwiseSeparableConv), with names of its own.
_TIMM_FIRST = {"dwconv": "conv_dw", "bn": "bn1", "project_conv": "conv_pw", "project_bn": "bn2"}


def lukemelas(layers: Sequence[str]) -> Places:
    """Blocks are numbered through: `_blocks.4._bn1`."""
    places = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    blocks = list(dict.fromkeys(name.partition("_")[0] for name in layers if name.startswith("block")))
    for name in layers:
        block, _, part = name.partition("_")
        if block in blocks:
            places[name] = f"_blocks.{blocks.index(block)}.{_LUKEMELAS.get(part, part)}"
    return _with_rest(places, layers)


def timm_lite(layers: Sequence[str]) -> Places:
    """Blocks are numbered within their group: `blocks.2.1.bn2`."""
    places = {"stem_conv": "conv_stem", "stem_bn": "bn1", "top_conv": "conv_head", "top_bn": "bn2"}
    for name in layers:
        if match := re.fullmatch(r"block(\d+)([a-z])_(.+)", name):
            group, index, part = int(match[1]) - 1, ord(match[2]) - ord("a"), match[3]
            parts = _TIMM if f"block{match[1]}{match[2]}_expand_conv" in layers else _TIMM_FIRST
            places[name] = f"blocks.{group}.{index}.{parts.get(part, part)}"
    return _with_rest(places, layers)


# === MobileNetV2, with the names of `builders.torchvision.mobilenet_v2`: block3_expand, …_expand_bn, …_depthwise, …_project ===


def mobilenet_v2(layers: Sequence[str]) -> Places:
    """`features.0` is the stem, then one for each block, then the top; a block is a list of (convolution, BatchNorm) pairs."""
    blocks = len({name.partition("_")[0] for name in layers if name.startswith("block")})
    places = {"stem": "features.0.0", "stem_bn": "features.0.1", "top": f"features.{blocks + 1}.0", "top_bn": f"features.{blocks + 1}.1"}
    for index in range(blocks):
        parts = [part for part in ("expand", "depthwise") if f"block{index}_{part}" in layers]
        for position, part in enumerate(parts):
            places[f"block{index}_{part}"] = f"features.{index + 1}.conv.{position}.0"
            places[f"block{index}_{part}_bn"] = f"features.{index + 1}.conv.{position}.1"
        places[f"block{index}_project"] = f"features.{index + 1}.conv.{len(parts)}"
        places[f"block{index}_project_bn"] = f"features.{index + 1}.conv.{len(parts) + 1}"
    return places


_LITE_PARTS = {"expand": "expand_conv", "expand_bn": "expand_bn", "depthwise": "dwconv", "depthwise_bn": "bn"}
_LITE_PARTS |= {"project": "project_conv", "project_bn": "project_bn"}


def timm_mobilenet_v2(layers: Sequence[str]) -> Places:
    """As `timm_lite`, the blocks grouped as in the paper's table."""
    places = {"stem": "conv_stem", "stem_bn": "bn1", "top": "conv_head", "top_bn": "bn2"}
    grouped = [(group, index) for group, (_, _, repeats, _) in enumerate(MOBILENET_V2) for index in range(repeats)]
    for name in layers:
        if match := re.fullmatch(r"block(\d+)_(.+)", name):
            group, index = grouped[int(match[1])]
            parts = _TIMM if f"block{match[1]}_expand" in layers else _TIMM_FIRST
            part = _LITE_PARTS[match[2]]
            places[name] = f"blocks.{group}.{index}.{parts[part]}"
    return places


# === By rules alone ===


def resnet(layers: Sequence[str]) -> Places:
    """With the names of `builders.torchvision.resnet`."""
    return _ruled(
        layers,
        [
            (r"stem", r"conv1"),
            (r"stem_bn", r"bn1"),
            (r"layer(\d)_(\d+)_conv(\d)", r"layer\1.\2.conv\3"),
            (r"layer(\d)_(\d+)_conv(\d)_bn", r"layer\1.\2.bn\3"),
            (r"layer(\d)_(\d+)_shortcut", r"layer\1.\2.downsample.0"),
            (r"layer(\d)_(\d+)_shortcut_bn", r"layer\1.\2.downsample.1"),
        ],
    )


def densenet(layers: Sequence[str]) -> Places:
    """With the names of keras.applications, where blocks are counted from 2 on and layers from 1."""

    def ruled(name: str) -> str:
        if match := re.fullmatch(r"conv(\d)_block(\d+)_([012])_(bn|conv)", name):
            kind, number = {"0_bn": ("norm", 1), "1_conv": ("conv", 1), "1_bn": ("norm", 2), "2_conv": ("conv", 2)}[
                f"{match[3]}_{match[4]}"
            ]
            return f"features.denseblock{int(match[1]) - 1}.denselayer{match[2]}.{kind}{number}"
        if match := re.fullmatch(r"pool(\d)_(bn|conv)", name):
            return f"features.transition{int(match[1]) - 1}.{'norm' if match[2] == 'bn' else 'conv'}"
        return {"conv1_conv": "features.conv0", "conv1_bn": "features.norm0", "bn": "features.norm5"}.get(name, name)

    return {name: ruled(name) for name in layers}


def vgg(layers: Sequence[str]) -> Places:
    """With the names of keras.applications; activations and poolings count in torch's list, too."""
    places, index, block = {}, 0, None
    for name in layers:
        here = name.partition("_")[0]
        index += 0 if block in (None, here) else 1  # a pooling stands between blocks
        places[name], index, block = f"features.{index}", index + 2, here
    return places


def convnext(layers: Sequence[str]) -> Places:
    """With the names of keras.applications, which begin with that of the network."""
    return _ruled(
        layers,
        [
            (r".+_stem_conv", r"downsample_layers.0.0"),
            (r".+_stem_layernorm", r"downsample_layers.0.1"),
            (r".+_downsampling_layernorm_0", r"downsample_layers.1.0"),
            (r".+_downsampling_conv_0", r"downsample_layers.1.1"),
            (r".+_downsampling_layernorm_1", r"downsample_layers.2.0"),
            (r".+_downsampling_conv_1", r"downsample_layers.2.1"),
            (r".+_downsampling_layernorm_2", r"downsample_layers.3.0"),
            (r".+_downsampling_conv_2", r"downsample_layers.3.1"),
            (r".+_stage_(\d)_block_(\d+)_depthwise_conv", r"stages.\1.\2.dwconv"),
            (r".+_stage_(\d)_block_(\d+)_layernorm", r"stages.\1.\2.norm"),
            (r".+_stage_(\d)_block_(\d+)_pointwise_conv_(\d)", r"stages.\1.\2.pwconv\3"),
            (r".+_stage_(\d)_block_(\d+)_layer_scale", r"stages.\1.\2"),
            (r"layer_normalization(_\d+)?", r"norm"),
        ],
    )


def _ruled(layers: Sequence[str], rules: Sequence[tuple[str, str]]) -> Places:
    """Applies the first rule that matches a whole name."""
    places = {}
    for name in layers:
        matches = ((re.fullmatch(pattern, name), put) for pattern, put in rules)
        places[name] = next((match.expand(put) for match, put in matches if match), name)
    return places


def _with_rest(places: Places, layers: Sequence[str]) -> Places:
    return {name: places.get(name, name) for name in layers}
