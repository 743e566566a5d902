"""What every objective has in common: an untrained backbone, and the description of what is fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tlkeras.backbones.load import Base, load
from tlkeras.backbones.pooling import POOLINGS
from tlkeras.backbones.row import Backbone
from tlkeras.config import PretrainConfig
from tlkeras.modalities.inputs import Inputs


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """A network with its objective.

    Args:
        model: raw input -> prediction; has a layer `features`.
        inputs: how examples become its input.
        target: raw inputs -> prediction targets.
        loss: (target, prediction) -> scalar.
        assets: writes the files that belong next to the artifacts into a folder; None without any.
    """

    model: keras.Model
    inputs: Inputs
    target: Callable[[np.ndarray], np.ndarray]
    loss: Callable[[Any, Any], Any]
    assets: Callable[[Any], None] | None = None


def untrained(row: Backbone, config: PretrainConfig, **more: Any) -> tuple[Base, Any]:
    """Builds a backbone with random weights.

    Args:
        row: the backbone.
        config: its sizes.
        more: further arguments of `backbones.load.load`.

    Returns:
        The backbone, and its features as one vector.
    """
    base = load(row, weights="none", options=config.sizes(), **more)
    return base, POOLINGS.get(row.pooling).apply(base.model.output, base.mask)
