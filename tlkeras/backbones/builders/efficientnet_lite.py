"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6, and with a stem and a top of one size.

Layers have the names that KerasCV 0.9 gave them, which files of weights, runs and freeze rules refer to.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers

from tlkeras.backbones.row import Backbone

# Expansion, kernel, filters, blocks and stride of each group: Tan & Le 2019, table 1. The first and the last group are not made deeper.
GROUPS = ((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1))
STEM, TOP = 32, 1280
DIVISOR = 8  # filters are multiples of it
DROP = 0.2  # of the last block, in training; it rises from 0


def build(row: Backbone, size: int) -> keras.Model:
    """Builds the network that a row scales in width and depth, without weights.

    Args:
        row: with `scale`, the factors of the filters and of the blocks of a group.
        size: side of the input in pixels.
    """
    width, depth = row.scale
    inputs = keras.Input((size, size, 3))
    x = _padded(inputs, 3, "stem_conv_pad")
    x = layers.Conv2D(STEM, 3, 2, use_bias=False, kernel_initializer=_initializer(), name="stem_conv")(x)
    x = _normalised(x, "stem_bn", "stem_activation")
    index, total = 0, sum(group[3] for group in GROUPS)
    for number, (expansion, kernel, filters, blocks, stride) in enumerate(GROUPS, start=1):
        repeats = blocks if number in (1, len(GROUPS)) else math.ceil(depth * blocks)
        for block in range(repeats):
            name = f"block{number}{chr(ord('a') + block)}_"
            step = stride if block == 0 else 1
            x = _block(x, expansion, kernel, _filters(filters, width), step, DROP * index / total, name)
            index += 1
    x = layers.Conv2D(TOP, 1, padding="same", use_bias=False, kernel_initializer=_initializer(), name="top_conv")(x)
    return keras.Model(inputs, _normalised(x, "top_bn", "top_activation"))


def _block(inputs: Any, expansion: int, kernel: int, filters: int, stride: int, drop: float, name: str) -> Any:
    """Returns an inverted residual block."""
    x, before = inputs, int(inputs.shape[-1])
    if expansion > 1:
        x = layers.Conv2D(
            before * expansion, 1, padding="same", use_bias=False, kernel_initializer=_initializer(), name=f"{name}expand_conv"
        )(x)
        x = _normalised(x, f"{name}expand_bn", f"{name}expand_activation")
    if stride > 1:
        x = _padded(x, kernel, f"{name}dwconv_pad")
    padding = "valid" if stride > 1 else "same"
    x = layers.DepthwiseConv2D(kernel, stride, padding=padding, use_bias=False, depthwise_initializer=_initializer(), name=f"{name}dwconv")(
        x
    )
    x = _normalised(x, f"{name}bn", f"{name}activation")
    x = layers.Conv2D(filters, 1, padding="same", use_bias=False, kernel_initializer=_initializer(), name=f"{name}project_conv")(x)
    x = layers.BatchNormalization(axis=3, name=f"{name}project_bn")(x)
    if stride == 1 and before == filters:
        if drop > 0:  # of whole blocks: Huang et al. 2016, https://arxiv.org/abs/1603.09382
            x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(x)
        x = layers.Add(name=f"{name}add")([x, inputs])
    return x


def _normalised(x: Any, norm: str, activation: str) -> Any:
    return layers.Activation("relu6", name=activation)(layers.BatchNormalization(axis=3, name=norm)(x))


def _padded(x: Any, kernel: int, name: str) -> Any:
    """Pads as TensorFlow's `same` does before a convolution of stride 2: an even side gets more at its end."""
    rows, columns = ((kernel // 2 - 1 + side % 2, kernel // 2) for side in x.shape[1:3])
    return layers.ZeroPadding2D((rows, columns), name=name)(x)


def _filters(filters: int, width: float) -> int:
    """Returns the filters of a wider network: the nearest multiple of 8 that is not more than a tenth below."""
    scaled = filters * width
    rounded = max(DIVISOR, int(scaled + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * scaled else rounded


def _initializer() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal")
