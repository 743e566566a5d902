"""`.keras` files, read without letting them run code."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras
from keras.src.saving import serialization_lib

from tlkeras.errors import ConfigError
from tlkeras.weights import layers  # noqa: F401 - registers the layers that only tlkeras has


def read_keras(path: Path) -> keras.Model:
    """Reads a `.keras` file without letting it run code.

    Raises:
        ConfigError: when unsafe deserialisation is switched on in this process.
    """
    if serialization_lib.in_safe_mode() is False:
        # keras.config.enable_unsafe_deserialization() beats safe_mode=True, so the file could run code.
        raise ConfigError("Keras' unsafe deserialisation is switched on in this process; switch it off to read a .keras file")
    known = {}
    if _uses_keras_hub(path):
        import keras_hub  # noqa: F401 - registers its layers

        from tlkeras.weights import compat

        compat.complete_configs()  # it may be saved again
        compat.ignore_mask_warning()
        known = compat.buildable_layers()
    with keras.saving.custom_object_scope(known):
        return keras.saving.load_model(path, compile=False, safe_mode=True)


def _uses_keras_hub(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "config.json" in archive.namelist() and b"keras_hub" in archive.read("config.json")
