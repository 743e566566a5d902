"""Builders: a row and a size -> a Keras model of plain layers, without classifier, without weights."""

from __future__ import annotations

import keras

from tlkeras.backbones.row import Backbone


def application(row: Backbone, size: int, weights: str | None = None) -> keras.Model:
    """Builds a model of keras.applications; `weights="imagenet"` lets Keras download or find its own."""
    return getattr(keras.applications, row.app)(include_top=False, weights=weights, input_shape=(size, size, 3))


def efficientnet_lite0(row: Backbone, size: int) -> keras.Model:
    """Builds EfficientNet-Lite0 by KerasCV's architecture (figures: keras_cv, efficientnet_lite_backbone.py)."""
    # The class that KerasCV names ...B0Backbone asks a model hub for these same figures.
    from keras_cv.models import EfficientNetLiteBackbone

    built = EfficientNetLiteBackbone(
        include_rescaling=False,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        input_shape=(size, size, 3),
    )
    return keras.Model(built.input, built.output)
