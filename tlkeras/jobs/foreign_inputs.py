"""What a model that tlkeras did not write accepts, as far as its inputs tell: images, texts, or random values of their shape."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

SAMPLES = 8  # examples on which every artifact is compared with the model
FREE = 16  # length of a free axis of random examples


def functional(model: keras.Model) -> Any:
    """Returns the functional model inside a model, which has its graph."""
    return getattr(model, "_functional", None) or model


def size_of(model: keras.Model) -> int | tuple[int, int] | None:
    """Returns side, or height and width, of the RGB or grey images that a model accepts; None for other inputs, or free sides."""
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[3] not in (1, 3) or None in inputs[0].shape[1:3]:
        return None
    height, width = (int(side) for side in inputs[0].shape[1:3])
    return height if height == width else (height, width)


def channels_of(model: keras.Model) -> int:
    """Returns the channels of the images that a model accepts; 3 for other inputs."""
    return int(keras.tree.flatten(model.inputs)[0].shape[-1] or 3) if size_of(model) else 3


WORDS = ("the", "a", "good", "bad", "film", "very", "not", "and", "was", "it")


def random_inputs(tensor: Any, model: keras.Model) -> np.ndarray:
    """Returns inputs where nothing is known: texts, pixels, token ids or normal numbers, by their type and shape."""
    rng = np.random.default_rng(0)
    shape = (SAMPLES, *(FREE if side is None else side for side in tensor.shape[1:]))
    if tensor.dtype == "string":
        return np.array([" ".join(rng.choice(_words(model), 6)) for _ in range(int(np.prod(shape)))]).reshape(shape)
    pixels = len(shape) == 4 and shape[-1] in (1, 3)
    if pixels or tensor.dtype == "uint8":
        return rng.integers(0, 256, shape).astype(tensor.dtype)
    if tensor.dtype.startswith(("int", "uint", "bool")):
        return rng.integers(0, 2, shape).astype(tensor.dtype)
    return rng.normal(size=shape).astype(tensor.dtype)


def _words(model: keras.Model) -> list[str]:
    """Returns words to make texts of: known ones of the model, and others."""
    known = [word for layer in model._flatten_layers() if hasattr(layer, "get_vocabulary") for word in layer.get_vocabulary()[2:200]]
    return [str(word) for word in known] + list(WORDS)
