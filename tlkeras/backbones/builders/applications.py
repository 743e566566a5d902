"""Networks of keras.applications, without classifier."""

from __future__ import annotations

import keras

from tlkeras.backbones.row import Backbone


def application(row: Backbone, size: int, weights: str | None = None) -> keras.Model:
    """Builds a model of keras.applications; `weights="imagenet"` lets Keras download or find its own."""
    return getattr(keras.applications, row.app)(include_top=False, weights=weights, input_shape=(size, size, 3))
