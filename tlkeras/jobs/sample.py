"""Samples of a published network that can draw, such as a variational autoencoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tlkeras.data.examples import Dataset
from tlkeras.errors import ZooError
from tlkeras.modalities.images.inputs import Images
from tlkeras.modalities.sources import open_source
from tlkeras.pretraining.objectives import OBJECTIVES
from tlkeras.registry import load_function
from tlkeras.weights.keras_file import read_keras
from tlkeras.zoo.store import Zoo, copied


def sample(
    name: str, zoo: Zoo, *, rows: int = 8, columns: int = 8, seed: int = 0, like: np.ndarray | None = None, plane: bool = False
) -> np.ndarray:
    """Samples images from a published variational autoencoder.

    Args:
        name: name of the entry.
        zoo: zoo that contains it.
        rows, columns, seed, like, plane: see `pretraining.variational.grid`.

    Returns:
        The grid, uint8 (rows * size, columns * size).

    Raises:
        ZooError: when the entry is not an autoencoder, or has changed since it was published.
        ConfigError: see `pretraining.variational.grid`.
    """
    entry = zoo.get(name)
    task = str(entry.manifest.get("task"))
    draw = OBJECTIVES.get(task).sample if task in OBJECTIVES else ""
    if not draw:
        raise ZooError(f"{entry} is not a variational autoencoder; `tlkeras pretrain --backbone vae` creates one")
    with copied(entry, ["model.keras"]) as copies:
        model = read_keras(copies / "model.keras")
    size = int(entry.manifest["metadata"]["image_size"])
    grid: np.ndarray = load_function(draw)(model, size, rows=rows, columns=columns, seed=seed, like=like, plane=plane)
    return grid


def images_like(name: str, zoo: Zoo, data: str | Dataset, count: int) -> np.ndarray:
    """Returns at most `count` images of a source in the form that an entry accepts."""
    size = int(zoo.get(name).manifest["metadata"]["image_size"])
    dataset = data if isinstance(data, Dataset) else open_source(data)
    first = replace(dataset, examples=dataset.examples[:count])
    store = Images(size=size, resize="stretch").materialise(first)
    return np.asarray(store.inputs)
