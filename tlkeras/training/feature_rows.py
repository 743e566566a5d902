"""Features kept between runs: by the weights and the structure of the prefix, and by the content of each example."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.data import row_cache
from tlkeras.data.row_cache import Collection, RowCache
from tlkeras.training import feature_cache
from tlkeras.training.feature_cache import Engine, Forward, Sliceable

THREADS = 4  # that hash and read


@dataclass(frozen=True, kw_only=True)
class FeatureRows:
    """Computes features, but for those that are kept.

    Args:
        prefix: model of one input.
        cache: where features are kept.
        forward: number of examples -> the prefix's inference; called when it is needed.
    """

    prefix: keras.Model
    cache: RowCache
    forward: Callable[[int], Forward | Engine]

    def compute(self, images: Sliceable, *, lengths: np.ndarray | None = None, **settings: Any) -> list[np.ndarray]:
        """Returns what `feature_cache.compute` returns; its arguments are those."""
        stores = feature_cache.allocate(self.prefix, images, lengths, settings.get("folder"), half=settings.get("half", False))
        collection = self.cache.collection("features", self._contract(stores), sum(store[:1].nbytes for store in stores))
        keys = _keys(images, lengths)
        with ThreadPoolExecutor(THREADS) as pool:
            known = list(pool.map(lambda row: _read(collection, keys[row], stores, row), range(len(keys))))
        missing = np.flatnonzero(~np.array(known, bool))
        collection.touch()
        if not len(missing):
            return stores
        started = time.perf_counter()
        # The features of a text may depend, by a rounding, on the texts of its batch: then all of them or none are kept.
        whole = lengths is not None or len(missing) == len(keys)
        computed = feature_cache.compute(
            self.prefix, images if whole else _Selected(images, missing), self.forward(len(missing)), lengths=lengths, **settings
        )
        if whole:
            stores, missing = computed, np.arange(len(keys))
        else:
            for store, values in zip(stores, computed, strict=True):
                store[missing] = values
        if time.perf_counter() - started > row_cache.WORTH:
            unique = {keys[row]: int(row) for row in missing}
            collection.add(((key, None, _record(stores, row)) for key, row in unique.items()), len(unique))
        return stores

    def _contract(self, stores: Sequence[np.ndarray]) -> str:
        shapes = ", ".join(f"{store.dtype} {store.shape[1:]}" for store in stores)
        device = ", ".join(sorted({str(tf.config.experimental.get_device_details(gpu)) for gpu in tf.config.list_physical_devices("GPU")}))
        onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "")
        versions = f"tensorflow {tf.__version__}, keras {keras.__version__}, {platform.machine()}, oneDNN {onednn!r}, GPU {device!r}"
        return f"{shapes} of {self.prefix.count_params():,} weights; {versions}; prefix {digest(self.prefix)}"


def digest(model: keras.Model) -> str:
    """Returns a sha256 of what a model computes in inference: its layers, the code of those that are ours, and its weights."""
    # Layers are numbered: Keras counts the names that it chooses through all models of a process.
    config = json.loads(model.to_json())
    names = {layer["config"]["name"]: f"layer {number}" for number, layer in enumerate(config["config"]["layers"])}
    config = _of_inference(config, names | {model.name: "model"})
    total = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for layer in model._flatten_layers():
        module = sys.modules[type(layer).__module__]
        if module.__name__.startswith("tlkeras"):
            total.update(row_cache.source_digest(module).encode())
    for variable in model.weights:
        if "seed_generator" not in variable.path:  # the state of random numbers, which inference does not draw
            total.update(np.ascontiguousarray(variable.value.numpy()).tobytes())
    return total.hexdigest()


def _of_inference(config: Any, names: Mapping[str, str]) -> Any:
    """Leaves out what trains, which says nothing about inference, and replaces names."""
    if isinstance(config, dict):
        return {key: _of_inference(value, names) for key, value in config.items() if key != "trainable"}
    if isinstance(config, list):
        return [_of_inference(value, names) for value in config]
    return names.get(config, config) if isinstance(config, str) else config


# === Keys ===


def _keys(images: Sliceable, lengths: np.ndarray | None) -> list[str]:
    """Returns what identifies each example, and each view of it."""
    views = getattr(images, "views", None)
    if views is None:
        keys = _digests(images)
    else:
        digests = _digests(views[0].images)  # of the images that all views are of
        keys = [key for view in views for key in view.keys(digests)]
    if lengths is None:
        return keys
    everything = hashlib.sha256("".join(keys).encode() + np.asarray(lengths, "int64").tobytes()).hexdigest()
    return [hashlib.sha256(f"{everything} {row}".encode()).hexdigest() for row in range(len(keys))]


def _digests(images: Sliceable) -> list[str]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda row: hashlib.sha256(np.ascontiguousarray(images[row : row + 1]).data).hexdigest(), range(len(images))))


@dataclass(frozen=True)
class _Selected:
    """Some examples; each is read when it is asked for."""

    images: Sliceable
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: slice) -> np.ndarray:
        return np.concatenate([self.images[row : row + 1] for row in self.index[which]])


# === Records ===


def _record(stores: Sequence[np.ndarray], row: int) -> np.ndarray:
    """Returns the features of one example, of all cut tensors, as bytes."""
    return np.concatenate([np.ascontiguousarray(store[row]).reshape(-1).view("uint8") for store in stores])


def _read(collection: Collection, key: str, stores: Sequence[np.ndarray], row: int) -> bool:
    """Fills a row of each array; returns whether its features are kept."""
    if key not in collection:
        return False
    record = np.empty(collection.row_bytes, "uint8")
    if not collection.read(key, record):
        return False
    start = 0
    for store in stores:
        size = store[row : row + 1].nbytes
        store[row] = record[start : start + size].view(store.dtype).reshape(store.shape[1:])
        start += size
    return True
