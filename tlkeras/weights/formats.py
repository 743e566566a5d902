"""Files of weights: each format is read as data, compared with the network, and only then loaded.

Keras' own loaders are not used. They confuse two networks with equally many layers of the same shapes, `by_name` leaves missing layers
at random values, and a `.weights.h5` with more layers than the network loads without a warning.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras.errors import TlkerasError, WeightsMismatch, WeightsUnavailable, reason
from tlkeras.files import open_regular
from tlkeras.registry import Registry, load_function
from tlkeras.weights import layouts, matching
from tlkeras.weights.matching import Entry, Group
from tlkeras.weights.sources import NAMED, Row


@dataclass(frozen=True, kw_only=True)
class Format:
    """One kind of weights file.

    Args:
        name: ending of such files.
        what: name in messages.
        whole: (path, first bytes) -> whether it can be such a file.
        fill: `"module:function"`, called with (row, model, path); returns notes.
        foreign: whether only networks with a layout of another library have such files.
    """

    name: str
    what: str
    whole: Callable[[Path, bytes], bool]
    fill: str
    foreign: bool = False


HDF5_FILE = "tlkeras.weights.hdf5_file"
HDF5, ZIP, PICKLE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80"


def _torch(name: str) -> Format:
    return Format(
        name=name,
        what="PyTorch checkpoint",
        whole=lambda path, head: head[:4] == ZIP or head[:1] == PICKLE,
        fill=f"{__name__}:torch",
        foreign=True,
    )


def _safetensors(name: str, what: str, whole: Callable[[Path, bytes], bool]) -> Format:
    return Format(name=name, what=what, whole=whole, fill=f"{__name__}:safetensors", foreign=True)


FORMATS: Registry[Format] = Registry(
    "format of weights",
    [
        Format(name=".weights.h5", what="HDF5 file", whole=lambda path, head: head.startswith(HDF5), fill=f"{HDF5_FILE}:weights_h5"),
        Format(name=".h5", what="HDF5 file", whole=lambda path, head: head.startswith(HDF5), fill=f"{HDF5_FILE}:legacy_h5"),
        Format(name=".keras", what="Keras archive", whole=lambda path, head: zipfile.is_zipfile(path), fill=f"{__name__}:keras_archive"),
        _torch(".pth"),
        _torch(".pt"),
        _torch(".pth.tar"),
        _safetensors(".safetensors", "safetensors file", lambda path, head: head[8:9] == b"{"),
        _safetensors(".safetensors.index.json", "index", lambda path, head: head[:1] == b"{"),
    ],
)
ENDINGS = ", ".join(one.name for one in FORMATS)
PAGE = re.compile(rb"\s*<(!doctype|html|head|body|\?xml|!--)", re.IGNORECASE)


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_file(row: Row, model: keras.Model, choice: str, *, accepting: Sequence[str] = ()) -> tuple[str, ...]:
    """Loads the weights of a file into a network, after checking its hash if one is given (`FILE#sha256=HEX`).

    Args:
        row: its row.
        model: its network without classifier.
        choice: a path, or `PATH#sha256=HEX`.
        accepting: see `fill`.

    Returns:
        Notes for the user.

    Raises:
        WeightsUnavailable: when there is no such file.
        WeightsMismatch: when the file is damaged or of another network.
    """
    name, _, digest = choice.partition("#sha256=")
    path = Path(name).expanduser()
    if not path.is_file():
        raise WeightsUnavailable(f"no weights file {name!r}; expected {', '.join(NAMED)} or an existing file that ends with {ENDINGS}")
    if digest and sha256_of(path) != digest.lower():
        raise WeightsMismatch(f"weights file {path.name!r} has sha256 {sha256_of(path)}, expected {digest}; download it again")
    return fill(row, model, path, accepting=accepting)


def fill(row: Row, model: keras.Model, path: Path, *, accepting: Sequence[str] = ()) -> tuple[str, ...]:
    """Loads the weights of a file into a network, all of them or none.

    Args:
        row: its row.
        model: its network without classifier.
        path: the file.
        accepting: families that accept checkpoints of other libraries, for the message when this one does not.

    Returns:
        Notes for the user.

    Raises:
        WeightsMismatch: when the file is damaged, something else, or of another network; then with the differences.
    """
    endings = sorted((one.name for one in FORMATS if path.name.lower().endswith(one.name)), key=len)
    if not endings:
        raise WeightsMismatch(f"weights file {path.name!r} is of an unknown kind; expected one that ends with {ENDINGS}")
    kind = FORMATS.get(endings[-1])
    with open_regular(path) as file:
        head = file.read(512)
    if PAGE.match(head):
        raise WeightsMismatch(f"weights file {path.name!r} is a web page, not weights; the download returned a login or error page")
    if not kind.whole(path, head):
        raise WeightsMismatch(f"weights file {path.name!r} is not a complete {kind.what}; download it again")
    if kind.foreign and not row.layouts:
        raise WeightsMismatch(
            f"{row.name} accepts no PyTorch checkpoints, because none has exactly this architecture; expected .weights.h5, .h5 or .keras, or a "
            f"--backbone that accepts them ({', '.join(accepting)})"
        )
    try:
        notes: tuple[str, ...] = load_function(kind.fill)(row, model, path)
    except TlkerasError:
        raise
    except Exception as error:  # whatever Keras, TensorFlow and the readers of archives raise
        raise WeightsMismatch(f"weights file {path.name!r} cannot be read as a {kind.what}: {reason(error)}") from error
    return notes


def note(row: Row, path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the note about a classifier that was left out."""
    if not names:
        return ()
    return (f"{path.name} also contains the classifier of {row.name} ({', '.join(names)}): the head replaces it",)


# === Layers in order ===


def keras_archive(row: Row, model: keras.Model, path: Path) -> tuple[str, ...]:
    """Reads a `.keras` file, whose network may hold other networks as layers."""
    from tlkeras.weights.keras_file import read_keras

    ours, theirs = list(leaves(model)), list(leaves(read_keras(path, foreign=True)))
    variables = [variable for layer in ours for variable in layer.weights]
    groups = [group_of(layer, layer.weights, read=True) for layer in theirs]
    return in_order(row, model, path, [group_of(layer, layer.weights) for layer in ours], groups, variables)


def leaves(model: keras.Model) -> Iterator[keras.Layer]:
    """Yields the layers with weights, those of networks inside the network in their place."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        elif layer.weights:
            yield layer


def group_of(layer: keras.Layer, variables: Sequence[Any], *, read: bool = False) -> Group:
    """Returns the variables of a layer as entries, with their values when they are to be read."""
    return Group(
        name=layer.name,
        entries=tuple(
            Entry(name=f"{layer.name}/{one.name}", shape=tuple(one.shape), read=partial(keras.ops.convert_to_numpy, one) if read else None)
            for one in variables
        ),
    )


def in_order(
    row: Row, model: keras.Model, path: Path, ours: Sequence[Group], theirs: Sequence[Group], variables: Sequence[Any]
) -> tuple[str, ...]:
    """Loads layers that are paired by name if all names agree, else by order; every shape must be equal."""
    theirs, top = without_classifier(row, ours, theirs)
    named = {group.name: group for group in theirs}
    if len(named) == len(theirs) and named.keys() == {group.name for group in ours}:
        theirs = [named[group.name] for group in ours]
    matching.check(path.name, row.name, matching.by_order(ours, theirs))
    expected = [entry for group in ours for entry in group.entries]
    entries = [entry for group in theirs for entry in group.entries]
    matching.fill(zip(variables, expected, entries, strict=True), model.layers)
    return note(row, path, top)


def without_classifier(row: Row, ours: Sequence[Group], theirs: Sequence[Group]) -> tuple[list[Group], list[str]]:
    """Returns the layers without the classifier of the row's own architecture, and the names of what was left out.

    Only layers that stand behind all others, have its names in its order, and accept the row's features are a classifier.
    """
    count = len(row.classifier)
    top = theirs[len(theirs) - count :] if len(theirs) == len(ours) + count else []
    if not top or not all(re.fullmatch(pattern, group.name, re.IGNORECASE) for pattern, group in zip(row.classifier, top, strict=True)):
        return list(theirs), []
    first = top[0].shapes[0]
    if len(first) < 2 or first[-2] % row.features:
        return list(theirs), []
    return list(theirs[:-count]), [group.name for group in top]


# === Foreign checkpoints: .pth, .safetensors ===


def torch(row: Row, model: keras.Model, path: Path) -> tuple[str, ...]:
    """Reads a PyTorch state dict."""
    from tlkeras.weights import torch_pickle

    return _foreign(row, model, path, torch_pickle.read)


def safetensors(row: Row, model: keras.Model, path: Path) -> tuple[str, ...]:
    """Reads safetensors, named as in PyTorch."""
    from tlkeras.weights import safetensors_file

    return _foreign(row, model, path, safetensors_file.read)


def _foreign(row: Row, model: keras.Model, path: Path, read: Callable[[Path], dict[str, np.ndarray]]) -> tuple[str, ...]:
    layers, tensors = list(leaves(model)), read(path)
    layout = layouts.best(row.layouts, layers, tensors)
    variables = layouts.expected(layout, layers)
    expected = {name: entry for name, (_, entry) in variables.items()}
    entries = {
        name: Entry(name=name, shape=value.shape, read=partial(np.asarray, value)) for name, value in layouts.named(layout, tensors).items()
    }
    top = [name for name in entries if name not in expected and layouts.of_classifier(layout, name)]
    entries = {name: entry for name, entry in entries.items() if name not in top}
    matching.check(path.name, row.name, matching.by_name(expected, entries))
    matching.fill(((variable, entry, entries[name]) for name, (variable, entry) in variables.items()), layers)
    return note(row, path, list(dict.fromkeys(name.rpartition(".")[0] for name in top)))
