"""Model files that tlkeras did not write: how their kind is detected, and how they are read without running code inside them."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections import ChainMap
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import keras

from tlkeras.data.trial import read_apart
from tlkeras.errors import ConfigError, ExportError, reason
from tlkeras.export.formats import SERVING
from tlkeras.files import parse_json
from tlkeras.jobs.keras_configs import accepted
from tlkeras.jobs.lookup import MODEL, model_kind
from tlkeras.jobs.saved_model_layers import read_saved_model
from tlkeras.weights import hdf5_file
from tlkeras.weights.bounds import bounded
from tlkeras.weights.keras_file import CONFIG, check_safe_mode, config_in, read_keras

METADATA = "metadata.json"
LARGEST_METADATA = 1 << 20  # bytes; Keras writes a hundred


def read(path: str | Path, *, trust: bool = False, modules: Sequence[str] = ()) -> keras.Model:
    """Reads a Keras model file or a SavedModel. The content decides which it is, not the name.

    Args:
        path: path of the file or folder.
        trust: whether code inside it may run, and a SavedModel may touch files.
        modules: modules to import first.

    Raises:
        ConfigError: when it contains code and is not trusted, or a module cannot be imported.
        ExportError: when it cannot be read.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise ExportError(f"no model {str(path)!r}; expected {MODEL}")
    kind = model_kind(path)
    _import(modules)
    if kind == SERVING.name:
        return read_saved_model(path, trust=trust)
    try:
        return (_from_zip if kind == "zip" else _from_hdf5)(path, trust=trust)
    except (ConfigError, ExportError):
        raise
    except Exception as error:  # Keras raises many kinds
        raise _explained(path, error) from error


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        if "" not in sys.path:
            sys.path.insert(0, "")
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(f"cannot import {name!r}: {error}") from error


def _explained(path: Path, error: Exception) -> Exception:
    text, why = str(error), reason(error)
    if "ambda" in text and ("unsafe" in text or "safe_mode" in text):
        return ConfigError(
            f"{str(path)!r} contains a Lambda layer, which is Python code that would run here; replace it with a layer class, "
            "or pass --trust if you know who wrote the file"
        )
    if "OpLambda" in why:  # TFOpLambda, SlicingOpLambda
        return ExportError(
            f"{str(path)!r} calls TensorFlow functions between its layers; only Keras 2 can read these from such files; "
            "save it there as a SavedModel with model.save(FOLDER), and export that"
        )
    if "Could not locate class" in text or "not registered" in text or "Unknown layer" in text:
        why = re.split(r"\.? (?:Please ensure|Make sure)", why)[0]
        return ExportError(f"{str(path)!r} has custom layers: {why}; name the module that registers them with --import MODULE")
    return ExportError(f"cannot read {str(path)!r}: {why}")


# === Keras files ===


def _from_zip(path: Path, *, trust: bool) -> keras.Model:
    """Reads a `.keras` file, or a copy with a config that the installed Keras accepts."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if CONFIG not in names:
                raise ExportError(f"cannot read {str(path)!r}: it is a ZIP archive without {CONFIG}, not a Keras model; expected {MODEL}")
            config = config_in(archive)
            small = METADATA in names and archive.getinfo(METADATA).file_size <= LARGEST_METADATA
            version = parse_json(archive.read(METADATA)).get("keras_version", "") if small else ""
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, AttributeError, RuntimeError, EOFError) as error:
        if isinstance(error, ExportError):
            raise
        raise ExportError(f"cannot read {str(path)!r}: {reason(error)}") from error
    changed = accepted(config, str(version), path)
    if not changed and path.suffix == ".keras":
        return _load_zip(path, trust)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.keras"
        if changed:
            _with_config(path, copy, config)
        else:
            shutil.copyfile(path, copy)
        return _load_zip(copy, trust)


def _load_zip(path: Path, trust: bool) -> keras.Model:
    return keras.saving.load_model(path, compile=False, safe_mode=False) if trust else read_keras(path, foreign=True)


def _with_config(path: Path, copy: Path, config: Any) -> None:
    """Copies a `.keras` file with another config."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as changed:
        for info in archive.infolist():
            if info.filename == CONFIG:
                changed.writestr(CONFIG, json.dumps(config))
            else:
                with archive.open(info) as source, changed.open(info.filename, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target)


def _from_hdf5(path: Path, *, trust: bool) -> keras.Model:
    """Reads a file of Keras 2, with a config that the installed Keras accepts."""
    from keras.src.legacy.saving import legacy_h5_format

    if not trust:
        check_safe_mode("an HDF5 file")
    read_apart("hdf5", path)
    with _Reconfigured(path, "r") as file:
        hdf5_file.check(file)
        text = file.attrs.get("model_config")
        if text is None:
            raise ExportError(
                f"cannot read {str(path)!r}: it contains weights without their model; load them into the model and save the whole model, "
                "model.save('model.keras')"
            )
        config = parse_json(text)
        version = file.attrs.get("keras_version", "2")
        if accepted(config, version.decode() if isinstance(version, bytes) else str(version), path):
            file.changed = {"model_config": json.dumps(config)}
        with nullcontext() if trust else bounded(path.stat().st_size):
            return legacy_h5_format.load_model_from_hdf5(file, compile=False, safe_mode=not trust)


class _Reconfigured(h5py.File):  # type: ignore[misc]
    """A file that is read with another config than the one in it."""

    changed: dict[str, Any] = {}

    @property
    def attrs(self) -> Any:
        """The attributes; the changed ones in the place of those of the file."""
        return ChainMap(self.changed, super().attrs)
