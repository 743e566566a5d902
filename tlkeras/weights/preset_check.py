"""Folders of weights that KerasHub reads: bounded before they are read, and compared with the network that was read from them.

KerasHub builds the network that `config.json` describes and looks up its weights; what a file holds besides, such as the layers behind those
that a shorter config has, it leaves out without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import keras

from tlkeras.data.reader_process import ReaderError
from tlkeras.data.trial import read_apart
from tlkeras.errors import WeightsMismatch
from tlkeras.files import MOST_JSON, open_regular, read_json
from tlkeras.weights.bounds import bounded

CONFIG = "config.json"
H5, SAFETENSORS = "model.weights.h5", ("model.safetensors", "model.safetensors.index.json")
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)|_\d+(?=/)")  # of a layer: `encoder.layer.3.output`, `layers/encoder_3/vars/0`
SHOWN = 3  # names of arrays in a message


def check_files(folder: Path) -> None:
    """Checks what a library would read without bounds.

    Raises:
        WeightsMismatch: naming the file.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            if path.name == CONFIG:
                if not isinstance(read_json(path), dict):
                    raise ValueError("expected an object")
            else:
                with open_regular(path) as file:
                    if len(file.read(MOST_JSON + 1)) > MOST_JSON:
                        raise ValueError(f"more than {MOST_JSON:,} bytes")
        except (OSError, ValueError) as error:
            raise WeightsMismatch(f"{str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    for name in SAFETENSORS:
        if (folder / name).exists():
            tensors(folder / name)
    if (folder / H5).exists():
        try:
            read_apart("hdf5", folder / H5)
        except ReaderError as error:
            raise WeightsMismatch(f"{str(folder / H5)!r} cannot be read: {error}; download it again") from error


def tensors(path: Path) -> list[str]:
    """Returns the names of the arrays in a safetensors file, or in those of an index, all of which lie in its folder.

    Raises:
        WeightsMismatch: when one of them is damaged, missing, or in another folder.
    """
    from tlkeras.weights import safetensors_file

    return safetensors_file.names(path)


def bounded_by(folder: Path | None) -> AbstractContextManager[None]:
    """Returns what refuses to build a network with more weights than the files of a folder hold; KerasHub's own presets pass."""
    return nullcontext() if folder is None else bounded(sum(path.stat().st_size for path in folder.iterdir() if path.is_file()))


@contextmanager
def recorded() -> Iterator[set[str]]:
    """Yields the names of the arrays that KerasHub looks up in safetensors files while the body runs."""
    from keras_hub.src.utils.transformers.safetensor_utils import SafetensorLoader

    original, used = SafetensorLoader.get_prefixed_key, set()

    def get_prefixed_key(self: Any, *args: Any, **kwargs: Any) -> str:
        name: str = original(self, *args, **kwargs)
        used.add(name)
        return name

    SafetensorLoader.get_prefixed_key = get_prefixed_key
    try:
        yield used
    finally:
        SafetensorLoader.get_prefixed_key = original


def check_weights(folder: Path, network: keras.Model, used: set[str]) -> None:
    """Checks that a folder holds no layers beyond those of the network that was read from it; a head of another task may be there.

    Args:
        folder: of the weights.
        network: what was read.
        used: see `recorded`.

    Raises:
        WeightsMismatch: naming the first of them.
    """
    left: list[str] = []
    if (folder / H5).is_file():
        from tlkeras.weights import hdf5_file

        left = further(hdf5_file.keys_of(network), hdf5_file.keys_in(folder / H5))
    elif used:
        left = further(used, (name for path in SAFETENSORS if (folder / path).is_file() for name in tensors(folder / path)))
    if left:
        shown = ", ".join(left[:SHOWN]) + (", …" if len(left) > SHOWN else "")
        raise WeightsMismatch(
            f"the weights in {str(folder)!r} have {len(left)} arrays of layers that {CONFIG} does not have ({shown}); "
            "expected the config that belongs to them: download both again"
        )


def further(used: Iterable[str], names: Iterable[str]) -> list[str]:
    """Returns the arrays that are not used, of layers of which others are."""
    known = set(used)
    kinds = {NUMBER.sub("", name) for name in known}
    return [name for name in dict.fromkeys(names) if name not in known and NUMBER.sub("", name) in kinds]


def check_vocabulary(folder: str, entries: int, network: Any) -> None:
    """Checks that a network embeds every entry of its vocabulary.

    Raises:
        WeightsMismatch: with both numbers.
    """
    rows = getattr(network, "vocabulary_size", None)
    if rows is not None and entries > rows:
        raise WeightsMismatch(
            f"the vocabulary in {folder!r} has {entries:,} entries and the network embeds {rows:,}; expected at most as many: "
            "take the vocabulary that belongs to the weights"
        )
