"""PyTorch state dict -> weights of a Keras backbone, in the order of its layers."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np

from tlkeras.backbones.convert import torch_pickle
from tlkeras.errors import WeightsMismatch


def paired(checkpoint: Path, model: keras.Model, wanted: str) -> None:
    """Puts a checkpoint's numbers into a backbone.

    Both list their layers from input to output, convolution and BatchNorm in turn, so they are paired by order,
    and every shape is checked.

    Args:
        checkpoint: legacy `.pth` with a state dict.
        model: the features model, without classifier.
        wanted: pattern of the entries that belong to the backbone.

    Raises:
        WeightsMismatch: when the layers or their shapes differ.
    """
    groups: dict[str, list[np.ndarray]] = {}
    for name, value in torch_pickle.read(checkpoint).items():
        if re.match(wanted, name) and not name.endswith("num_batches_tracked"):
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
