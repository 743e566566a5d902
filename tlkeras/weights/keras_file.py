"""`.keras` files, read without letting them run code."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
from keras.src.saving import serialization_lib

from tlkeras.data.trial import read_apart
from tlkeras.errors import ConfigError
from tlkeras.files import MOST_JSON, check_archive, parse_json
from tlkeras.startup import isolates
from tlkeras.weights import layers  # noqa: F401 - registers the layers that only tlkeras has
from tlkeras.weights.bounds import bounded

CONFIG, ARRAYS = "config.json", "model.weights.h5"  # members


def check_safe_mode(what: str) -> None:
    """Refuses to read anything while Keras may run code from it: the switch of a process beats `safe_mode=True` of a call.

    Args:
        what: is to be read, for the message.

    Raises:
        ConfigError: when unsafe deserialisation is switched on in this process.
    """
    if serialization_lib.in_safe_mode() is False:
        raise ConfigError(f"Keras' unsafe deserialisation is switched on in this process; switch it off to read {what}")


def read_keras(path: Path, *, foreign: bool = False) -> keras.Model:
    """Reads a `.keras` file without letting it run code.

    Args:
        path: of the file.
        foreign: whether it may come from strangers; another process reads its arrays first then. Where `TLKERAS_ISOLATE` is set, all may.

    Raises:
        ConfigError: when unsafe deserialisation is switched on in this process.
        ValueError: when it unpacks to far more than it takes up, its config asks for more weights than it can hold, or its arrays crash
            their reader.
    """
    check_safe_mode("a .keras file")
    known = {}
    uses_keras_hub = _uses_keras_hub(path)  # checks how far it unpacks
    if foreign or isolates():
        read_apart("hdf5", path, ARRAYS)
    if uses_keras_hub:
        import keras_hub  # noqa: F401 - registers its layers

        from tlkeras.weights import compat

        compat.complete_configs()  # it may be saved again
        compat.ignore_mask_warning()
        known = compat.buildable_layers()
    with keras.saving.custom_object_scope(known), bounded(path.stat().st_size):
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    check_safe_mode("a .keras file that does not switch it on")  # CVE-2025-9906, should a way be found again
    return model


def config_in(archive: zipfile.ZipFile) -> Any:
    """Returns the config of the model in a `.keras` archive.

    Raises:
        ValueError: when it is too large or no JSON, or the archive unpacks to far more than it takes up.
        KeyError: when there is none.
    """
    check_archive(archive)
    if archive.getinfo(CONFIG).file_size > MOST_JSON:
        raise ValueError(f"its {CONFIG} has {archive.getinfo(CONFIG).file_size:,} bytes; expected at most {MOST_JSON:,}")
    return parse_json(archive.read(CONFIG))


def _uses_keras_hub(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return CONFIG in archive.namelist() and "keras_hub" in json.dumps(config_in(archive))
