"""Input contracts: how raw RGB 0-255 becomes what a backbone was trained on, as layers inside the model.

Plain Keras layers only, named `contract_*`, so that a saved model needs no tlkeras, and TFLite and ONNX support them.
Figures: keras/src/applications/imagenet_utils.py (caffe, tf, torch modes), and the EfficientNet-Lite reference
(tensorflow/tpu, models/official/efficientnet/lite: mean 127, standard deviation 128).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from tlkeras.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Output channel c is `scale[c] * input[order[c]] + offset[c]`.

    Args:
        name: how rows refer to it.
        scale, offset: one per output channel.
        reverse: whether RGB becomes BGR first.
        help: one line of help text.
    """

    name: str
    scale: Sequence[float] = (1.0, 1.0, 1.0)
    offset: Sequence[float] = (0.0, 0.0, 0.0)
    reverse: bool = False
    help: str


_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's images, RGB, range 0-1

CONTRACTS: Registry[Contract] = Registry(
    "input contract",
    [
        Contract(name="identity", help="RGB 0-255, unchanged: the preprocessing is part of the backbone."),
        Contract(name="zero_one", scale=(1 / 255,) * 3, help="RGB, 0 to 1."),
        Contract(name="minus_one_one", scale=(1 / 127.5,) * 3, offset=(-1.0,) * 3, help="RGB, -1 to 1."),
        Contract(name="lite", scale=(1 / 128,) * 3, offset=(-127 / 128,) * 3, help="RGB, (x - 127) / 128."),
        Contract(
            name="torch",
            scale=tuple(1 / (255 * s) for s in _STD),
            offset=tuple(-m / s for m, s in zip(_MEAN, _STD, strict=True)),
            help="RGB, 0-1, minus ImageNet's mean, over its standard deviation.",
        ),
        Contract(
            name="satellite",
            scale=tuple(1 / (255 * s) for s in (0.213, 0.156, 0.143)),
            offset=tuple(-m / s for m, s in zip((0.430, 0.411, 0.296), (0.213, 0.156, 0.143), strict=True)),
            help="RGB, 0-1, minus the mean of DINOv3's satellite images, over their standard deviation.",
        ),
        Contract(name="caffe", offset=(-103.939, -116.779, -123.68), reverse=True, help="BGR 0-255, minus ImageNet's mean."),
    ],
)


def apply(contract: Contract, x: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the contract's layers on raw RGB images.

    Args:
        contract: one of `CONTRACTS`, or a preset's own.
        x: (batch, height, width, 3) float32, RGB 0-255.
    """
    if contract.reverse:
        x = keras.ops.take(x, [2, 1, 0], axis=-1)
    if tuple(contract.scale) == (1.0,) * 3 and tuple(contract.offset) == (0.0,) * 3:
        return x
    return keras.layers.Rescaling(list(contract.scale), offset=list(contract.offset), dtype="float32", name="contract_rescale")(x)
