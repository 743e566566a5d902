"""Networks as torchvision has them, built of plain Keras layers, without classifier and without weights."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from tlkeras.backbones.row import Backbone
from tlkeras.weights.torch_modules import MOBILENET_V2


def mobilenet_v2(row: Backbone, size: int) -> keras.Model:
    """Builds MobileNetV2 as torchvision has it: symmetric padding, epsilon 1e-5, no rounding of filters."""

    def conv(x: Any, filters: int, kernel: int, stride: int, name: str, *, depthwise: bool = False, relu: bool = True) -> Any:
        if kernel > 1:
            x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        if depthwise:
            x = layers.DepthwiseConv2D(kernel, stride, use_bias=False, name=name)(x)
        else:
            x = layers.Conv2D(filters, kernel, stride, use_bias=False, name=name)(x)
        x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_bn")(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x

    inputs = keras.Input((size, size, 3))
    x = conv(inputs, 32, 3, 2, "stem")
    index, filters = 0, 32
    for expansion, width, repeats, stride in MOBILENET_V2:
        for repeat in range(repeats):
            before, name, steps = x, f"block{index}", stride if repeat == 0 else 1
            if expansion > 1:
                x = conv(x, filters * expansion, 1, 1, f"{name}_expand")
            x = conv(x, filters * expansion, 3, steps, f"{name}_depthwise", depthwise=True)
            x = conv(x, width, 1, 1, f"{name}_project", relu=False)
            if steps == 1 and filters == width:
                x = layers.Add(name=f"{name}_add")([before, x])
            index, filters = index + 1, width
    return keras.Model(inputs, conv(x, 1280, 1, 1, "top"))


# Blocks of each group, and whether a block is a bottleneck: He et al. 2015, table 1.
RESNETS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}


def resnet(row: Backbone, size: int) -> keras.Model:
    """Builds a ResNet as torchvision has it: a bottleneck's stride is in its 3 x 3 convolution ("v1.5"), no biases, epsilon 1e-5.

    keras.applications puts the stride into the first convolution, has biases, and expects BGR: another network.
    """

    def conv(x: Any, filters: int, kernel: int, stride: int, name: str, *, relu: bool = True) -> Any:
        if kernel > 1:
            x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)  # on both sides, which "same" does not do with strides
        x = layers.Conv2D(filters, kernel, stride, use_bias=False, name=name)(x)
        x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x) if relu else x

    blocks, bottleneck = RESNETS[row.app]
    inputs = keras.Input((size, size, 3))
    x = conv(inputs, 64, 7, 2, "stem")
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)  # zeros are as good as PyTorch's -inf behind a ReLU
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for group, count in enumerate(blocks):
        filters = 64 * 2**group
        width = 4 * filters if bottleneck else filters
        for index in range(count):
            name, stride = f"layer{group + 1}_{index}", 2 if group and not index else 1
            shortcut = x
            if bottleneck:
                x = conv(x, filters, 1, 1, f"{name}_conv1")
                x = conv(x, filters, 3, stride, f"{name}_conv2")
                x = conv(x, width, 1, 1, f"{name}_conv3", relu=False)
            else:
                x = conv(x, filters, 3, stride, f"{name}_conv1")
                x = conv(x, width, 3, 1, f"{name}_conv2", relu=False)
            if stride > 1 or shortcut.shape[-1] != width:
                shortcut = conv(shortcut, width, 1, stride, f"{name}_shortcut", relu=False)
            x = layers.Add(name=f"{name}_add")([shortcut, x])
            x = layers.ReLU(name=f"{name}_out")(x)
    return keras.Model(inputs, x)
