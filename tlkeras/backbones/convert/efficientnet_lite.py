"""EfficientNet-Lite: PyTorch state dict -> weights of the Keras backbone, in the order of its layers."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np

from tlkeras.backbones.convert import torch_pickle
from tlkeras.errors import WeightsMismatch


def convert(checkpoint: Path, model: keras.Model) -> None:
    """Puts the checkpoint's numbers into the backbone.

    Both list their layers from input to output, convolution and BatchNorm in turn, so they are paired by order,
    and every shape is checked.

    Args:
        checkpoint: legacy `.pth` of the `EfficientNet` class of lukemelas/EfficientNet-PyTorch and its kin.
        model: the features model, without classifier.
    """
    theirs = [
        (name, value) for name, value in torch_pickle.read(checkpoint).items() if re.match(r"_(conv_stem|bn0|blocks|conv_head|bn1)\b", name)
    ]
    groups: dict[str, list[np.ndarray]] = {}
    for name, value in theirs:
        if not name.endswith("num_batches_tracked"):
            groups.setdefault(name.rpartition(".")[0], []).append(value)
    layers = [layer for layer in model.layers if layer.weights]
    if len(groups) != len(layers):
        raise WeightsMismatch(f"the checkpoint has {len(groups)} layers with weights; {model.name} has {len(layers)}")
    for layer, (name, values) in zip(layers, groups.items(), strict=True):
        _set(layer, name, [_transposed(value, isinstance(layer, keras.layers.DepthwiseConv2D)) for value in values])


def _transposed(value: np.ndarray, depthwise: bool) -> np.ndarray:
    if value.ndim != 4:
        return value
    return value.transpose(2, 3, 0, 1) if depthwise else value.transpose(2, 3, 1, 0)  # OIHW -> HWIO


def _set(layer: keras.Layer, name: str, values: list[np.ndarray]) -> None:
    expected, got = [tuple(w.shape) for w in layer.weights], [v.shape for v in values]
    if expected != got:
        raise WeightsMismatch(f"checkpoint entry {name!r} has shapes {got}; layer {layer.name!r} needs {expected}")
    layer.set_weights(values)


def classifier(checkpoint: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ImageNet classifier of the checkpoint: kernel (width, 1000) and bias (1000,)."""
    tensors = torch_pickle.read(checkpoint)
    return tensors["_fc.weight"].T.copy(), tensors["_fc.bias"].copy()
