"""MobileNetV2 of torchvision."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from tlkeras.backbones.convert import torch_pickle
from tlkeras.backbones.convert.by_order import paired


def convert(checkpoint: Path, model: keras.Model) -> None:
    """Puts the checkpoint's numbers into the backbone; see `by_order.paired`."""
    paired(checkpoint, model, r"features\.")


def classifier(checkpoint: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ImageNet classifier of the checkpoint: kernel (width, 1000) and bias (1000,)."""
    tensors = torch_pickle.read(checkpoint)
    return tensors["classifier.1.weight"].T.copy(), tensors["classifier.1.bias"].copy()
