"""HDF5 files of Keras: `.h5` of Keras 1 and 2, and `.weights.h5` of Keras 3."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras.src.saving import saving_lib

from tlkeras.data.trial import read_apart
from tlkeras.weights import matching
from tlkeras.weights.formats import group_of, in_order, note
from tlkeras.weights.matching import Entry, Group
from tlkeras.weights.sources import Row

DEEPEST = 64  # groups inside each other; networks have ten


def opened(path: Path) -> h5py.File:
    """Opens a file to read it, once another process has done so; see `read_apart`."""
    read_apart("hdf5", path)
    return h5py.File(path, "r")


# === Layers in order: legacy .h5 ===


def legacy_h5(row: Row, model: keras.Model, path: Path) -> tuple[str, ...]:
    """Reads files of `save_weights` and `save` in Keras 1 and 2, which keras.applications still publishes."""
    ours = [group_of(layer, layer.trainable_weights + layer.non_trainable_weights) for layer in model.layers if layer.weights]
    variables = [v for layer in model.layers for v in layer.trainable_weights + layer.non_trainable_weights]
    with opened(path) as file:
        root = saving_lib.safe_get_h5_group(file, "model_weights") if "layer_names" not in file.attrs else file
        groups = [group for name, layer in _layer_groups(root).items() if (group := _saved_group(name, layer)).entries]
        return in_order(row, model, path, ours, groups, variables)


def _attribute(group: h5py.Group, name: str) -> list[str]:
    """Returns a list of names; long ones are in several attributes, NAME0, NAME1, …"""
    if name in group.attrs:
        parts = [group.attrs[name]]
    else:
        parts = []
        while f"{name}{len(parts)}" in group.attrs:
            parts.append(group.attrs[f"{name}{len(parts)}"])
        if not parts:
            raise KeyError(f"it has no {name}; was it written by a program other than Keras?")
    return [one.decode("utf8") if isinstance(one, bytes) else str(one) for part in parts for one in part]


def _layer_groups(root: h5py.Group) -> dict[str, h5py.Group]:
    """Returns the group of each layer by its name; each has one of its own, or a short file could repeat a long one without end."""
    names = _attribute(root, "layer_names")
    groups = {name: saving_lib.safe_get_h5_group(root, name) for name in names}
    if len({_address(group) for group in groups.values()}) < len(names):
        raise ValueError("two of its layers have one group")
    return groups


def _saved_group(name: str, group: h5py.Group) -> Group:
    datasets = {one: saving_lib.safe_get_h5_dataset(group, one) for one in _attribute(group, "weight_names")}
    return Group(
        name=name,
        entries=tuple(_saved(f"{name}/{one.rpartition('/')[2].partition(':')[0]}", dataset) for one, dataset in datasets.items()),
    )


def _saved(name: str, dataset: h5py.Dataset) -> Entry:
    def read() -> np.ndarray:
        value = np.asarray(dataset)
        return value.view("bfloat16") if dataset.attrs.get("dtype") == "bfloat16" else value  # HDF5 has no such type

    return Entry(name=name, shape=tuple(dataset.shape), read=read)


# === Entries by name: .weights.h5 ===


class _Variables(saving_lib.H5IOStore):  # type: ignore[misc]
    """Collects what a network would write, under the paths of the file, instead of writing it."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[str, dict[str, Any]]] = {}

    def __bool__(self) -> bool:
        return True

    def make(self, path: str, metadata: Mapping[str, str] | None = None) -> dict[str, Any]:
        entry: dict[str, Any] = {}
        self.entries[path] = ((metadata or {}).get("name", path), entry)
        return entry


def _variables(network: keras.Model) -> dict[str, tuple[str, Any]]:
    """Returns path in a file -> (layer, variable) of what a network would write."""
    store = _Variables()
    saving_lib._save_state(network, weights_store=store, assets_store=None, inner_path="", visited_saveables=set())
    variables = {
        f"{key}/vars/{index}": (name, variable) for key, (name, layer) in store.entries.items() for index, variable in layer.items()
    }
    return {key: pair for key, pair in variables.items() if _of_layer(key)}


def keys_of(network: keras.Model) -> list[str]:
    """Returns the paths under which Keras 3 writes the variables of a network."""
    return list(_variables(network))


def keys_in(path: Path) -> list[str]:
    """Returns the paths of the variables in a `.weights.h5`."""
    with opened(path) as file:
        return [key for key, _ in _datasets(file) if _of_layer(key)]


def weights_h5(row: Row, model: keras.Model, path: Path) -> tuple[str, ...]:
    """Reads files of `save_weights` in Keras 3, whose paths come from the classes of layers, counted."""
    variables = _variables(model)
    expected = {
        key: Entry(name=f"{name}/{getattr(variable, 'name', key)}", shape=tuple(variable.shape))
        for key, (name, variable) in variables.items()
    }
    with opened(path) as file:
        entries = {key: _saved(key, dataset) for key, dataset in _datasets(file) if _of_layer(key)}
        top = {key: name for key in entries.keys() - expected.keys() if (name := _classifier_name(row, file, key))}
        entries = {key: entry for key, entry in entries.items() if key not in top}
        matching.check(path.name, row.name, matching.by_name(expected, entries))
        matching.fill(((variables[key][1], entry, entries[key]) for key, entry in expected.items()), model.layers)
    return note(row, path, sorted(set(top.values())))


def _of_layer(key: str) -> bool:
    """Whether an entry is a layer's, and not an optimizer's, a metric's, or the state of a generator of random numbers."""
    return key.startswith("layers/") and "seed_generator" not in key


def check(file: h5py.File) -> None:
    """Refuses a file of Keras that reads other files, holds next to nothing of an array, or in which a group stands twice.

    Raises:
        ValueError: naming the group or the array.
    """
    for _ in _datasets(file):
        pass
    if "model_weights" in file:
        _layer_groups(saving_lib.safe_get_h5_group(file, "model_weights"))


def _datasets(group: h5py.Group, key: str = "", depth: int = 0, seen: set[int] | None = None) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields the arrays below a group by their paths; a group that is reached twice, under whatever names, is refused.

    Keras never links to one group twice: 40 groups of which each has two links to the next are 2^40 paths.
    """
    seen = set() if seen is None else seen
    address = _address(group)
    if address in seen or depth > DEEPEST:
        raise ValueError(f"the group {key[:200]!r} stands in it twice, or lies more than {DEEPEST} groups deep")
    seen.add(address)
    for name in group:
        inner = f"{key}/{name}" if key else name
        if group.get(name, getclass=True, getlink=True) is h5py.HardLink and group.get(name, getclass=True) is h5py.Group:
            yield from _datasets(saving_lib.safe_get_h5_group(group, name), inner, depth + 1, seen)
        else:
            yield inner, saving_lib.safe_get_h5_dataset(group, name)


def _address(group: h5py.Group) -> int:
    """Returns where a group is in its file, whatever it is called."""
    return int(h5py.h5o.get_info(group.id).addr)


def _classifier_name(row: Row, file: h5py.File, key: str) -> str | None:
    """Returns the name of the layer that wrote an entry, if it is one of the row's classifier."""
    name = str(file[key].parent.attrs.get("name", ""))
    return name if any(re.fullmatch(pattern, name, re.IGNORECASE) for pattern in row.classifier) else None
