"""Small models that several tests share."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

BLOCKS = ("s0", "s1", "s2")


def tiny_model(classes: int = 3, size: int = 16, *, dropout: float = 0.0) -> tuple[keras.Model, dict[str, str]]:
    """Returns a residual network of three sections with a head, and layer name -> section."""
    inputs = x = keras.Input((size, size, 3), name="image")
    for k in range(3):
        before = x = layers.Conv2D(8, 3, padding="same", name=f"conv_s{k}")(x)
        x = layers.BatchNormalization(name=f"bn_s{k}")(x)
        x = layers.Activation("relu", name=f"relu_s{k}")(x)
        x = layers.Add(name=f"add_s{k}")([x, before])
    below = [layer.name for layer in keras.Model(inputs, x).layers]
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(dropout, name="head_dropout")(x)
    x = layers.Dense(classes, name="head_logits")(x)
    model = keras.Model(inputs, layers.Softmax(name="scores")(x), name="tiny")
    sections = {name: name[-2:] if name[-2:] in BLOCKS else "" for name in below}
    return model, sections | {layer.name: "head" for layer in model.layers if layer.name not in below}


def pictures(n: int, size: int = 16, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns n uint8 pictures whose mean colour tells their class, and the classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.integers(0, 120, (n, size, size, 3))
    x[np.arange(n), :, :, y % 3] += 120
    return x.astype("uint8"), y.astype("int32")


def outputs(model: keras.Model, x: np.ndarray) -> Any:
    """Returns what a network computes in inference mode, layer by layer: to trace a graph for one batch takes seconds in a deep network."""
    return keras.tree.map_structure(np.asarray, model(keras.tree.pack_sequence_as(model.input, keras.tree.flatten(x)), training=False))
