"""Code and arrays, loaded when they are needed: rows name their code as `"module:function"`, so that reading a table imports nothing heavy."""

from __future__ import annotations

import importlib
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np


def load_function(dotted: str) -> Callable[..., Any]:
    """Returns the function that a row names as `"module:function"`."""
    module, _, name = dotted.partition(":")
    return getattr(importlib.import_module(module), name)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of an `.npz` file by name; objects, which are code, are refused.

    Raises:
        OSError: when it cannot be opened.
        ValueError: when it is damaged, encrypted, or holds something else.
    """
    arrays = _read(Path(path))
    if not isinstance(arrays, dict):
        raise ValueError("it holds one array without a name; expected those of numpy.savez")
    return arrays


def read_npy(source: str | Path | BinaryIO) -> np.ndarray:
    """Reads the array of an `.npy` file; see `read_npz`."""
    array = _read(Path(source) if isinstance(source, str) else source)
    if isinstance(array, dict):
        raise ValueError("it holds arrays with names; expected the one of numpy.save")
    return array


def _read(source: Path | BinaryIO) -> Any:
    """Reads the file itself where it is a path: numpy leaves a damaged one open."""
    import numpy as np

    if isinstance(source, Path):
        with source.open("rb") as file:
            return _read(file)
    try:
        arrays = np.load(source, allow_pickle=False)
        return arrays if isinstance(arrays, np.ndarray) else dict(arrays)
    # What comes of files that are cut short, damaged, encrypted or compressed in another way.
    except (EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(" ".join(str(error).split()) or "it is damaged") from error
