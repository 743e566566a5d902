"""Layouts of checkpoints from other libraries: which module contains the weights of which layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkeras.registry import Registry, load_function
from tlkeras.weights.matching import Entry


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one library names the parts of a network.

    Args:
        name: how rows refer to it.
        modules: `"module:function"`, called with the names of the layers that have weights, in order; returns layer -> module.
        classifier: pattern of the modules above the features, which a backbone does not have.
        epsilon: of the checkpoint's BatchNorm; where the layer has another, the variance is moved by the difference, which is exact.
        renamed: (pattern, replacement) for names in the files of older versions.
        help: one line of help text.
    """

    name: str
    modules: str
    classifier: str
    epsilon: float = 1e-5
    renamed: tuple[tuple[str, str], ...] = ()
    help: str


_MODULES = "tlkeras.weights.torch_modules"

LAYOUTS: Registry[Layout] = Registry(
    "layout",
    [
        Layout(
            name="lukemelas_efficientnet",
            modules=f"{_MODULES}:lukemelas",
            classifier=r"_fc",
            epsilon=1e-3,
            help="EfficientNet-PyTorch of lukemelas and compatible checkpoints",
        ),
        Layout(
            name="timm_efficientnet_lite",
            modules=f"{_MODULES}:timm_lite",
            classifier=r"classifier",
            epsilon=1e-3,
            help="timm's tf_efficientnet_lite*",
        ),
        Layout(name="torchvision_mobilenet_v2", modules=f"{_MODULES}:mobilenet_v2", classifier=r"classifier\.1", help="torchvision"),
        Layout(name="timm_mobilenet_v2", modules=f"{_MODULES}:timm_mobilenet_v2", classifier=r"classifier", help="timm's mobilenetv2_100"),
        Layout(name="torchvision_resnet", modules=f"{_MODULES}:resnet", classifier=r"fc", help="torchvision, timm"),
        Layout(
            name="torchvision_vgg",
            modules=f"{_MODULES}:vgg",
            classifier=r"classifier\.\d|pre_logits\.fc[12]|head\.fc",
            help="torchvision, timm",
        ),
        Layout(
            name="torchvision_densenet",
            modules=f"{_MODULES}:densenet",
            classifier=r"classifier",
            # PyTorch before 0.4 allowed dots in the names of modules, and the published files are older.
            renamed=((r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),),
            help="torchvision, timm",
        ),
        Layout(name="facebook_convnext", modules=f"{_MODULES}:convnext", classifier=r"head", help="facebookresearch/ConvNeXt"),
    ],
)

# Class of layer -> variable -> (entry of the module, axes of the entry in the order of the variable's).
_CONV = {"kernel": ("weight", (2, 3, 1, 0)), "bias": ("bias", (0,))}  # OIHW -> HWIO
_NORM = {"gamma": ("weight", (0,)), "beta": ("bias", (0,))}
ENTRIES: dict[str, Mapping[str, tuple[str, tuple[int, ...]]]] = {
    "Conv2D": _CONV,
    "DepthwiseConv2D": {"kernel": ("weight", (2, 3, 0, 1)), "depthwise_kernel": ("weight", (2, 3, 0, 1)), "bias": ("bias", (0,))},
    "Dense": {"kernel": ("weight", (1, 0)), "bias": ("bias", (0,))},
    "BatchNormalization": {**_NORM, "moving_mean": ("running_mean", (0,)), "moving_variance": ("running_var", (0,))},
    "LayerNormalization": _NORM,
    "LayerScale": {"variable": ("gamma", (0,))},  # Keras gives the variable no name
}
COUNTER = "num_batches_tracked"  # BatchNorm's, of no use in inference


def named(layout: Layout, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the tensors under the names that the layout knows, without counters."""
    renamed = {}
    for name, value in tensors.items():
        for pattern, replacement in layout.renamed:
            name = re.sub(pattern, replacement, name)
        if not name.endswith(COUNTER):
            renamed[name] = value
    return renamed


def expected(layout: Layout, layers: Sequence[Any]) -> dict[str, tuple[Any, Entry]]:
    """Returns name in the checkpoint -> (variable, how it reads there) for every variable of a network."""
    modules = load_function(layout.modules)([layer.name for layer in layers])
    variables = {}
    for layer in layers:
        entries = ENTRIES[type(layer).__name__]
        for variable in layer.weights:
            suffix, axes = entries[re.sub(r"_\d+$", "", variable.name)]  # names that Keras makes up are numbered
            shape = tuple(int(variable.shape[axes.index(axis)]) for axis in range(len(axes)))  # as the checkpoint has it
            name = f"{modules[layer.name]}.{suffix}"
            shift = layout.epsilon - layer.epsilon if suffix == "running_var" else 0.0
            variables[name] = (variable, Entry(name=f"{layer.name}/{variable.name} <- {name}", shape=shape, change=_Change(axes, shift)))
    return variables


@dataclass(frozen=True)
class _Change:
    axes: tuple[int, ...]
    shift: float

    def __call__(self, value: np.ndarray) -> np.ndarray:
        moved = np.asarray(value, "float32").transpose(self.axes)
        return moved + np.float32(self.shift) if self.shift else moved


def best(names: Sequence[str], layers: Sequence[Any], tensors: Mapping[str, np.ndarray]) -> Layout:
    """Returns the layout, of those that a row accepts, of which most names are in a checkpoint."""
    return max(
        (LAYOUTS.get(name) for name in names), key=lambda layout: len(expected(layout, layers).keys() & named(layout, tensors).keys())
    )


def of_classifier(layout: Layout, name: str) -> bool:
    """Whether an entry belongs to the classifier."""
    return re.fullmatch(rf"({layout.classifier})\.(weight|bias)", name) is not None
