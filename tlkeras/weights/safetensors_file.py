"""Read `.safetensors` files: names, shapes and values, no code; one file, or the index of several."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - teaches NumPy bfloat16, in which many checkpoints are
import numpy as np
from safetensors import SafetensorError, safe_open

from tlkeras.errors import WeightsMismatch, reason
from tlkeras.files import open_regular, read_json
from tlkeras.weights.torch_pickle import WRAPPERS


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Returns name -> array of a `.safetensors` file, or of all files that a `.safetensors.index.json` lists.

    Raises:
        WeightsMismatch: when a file is something else, truncated, or missing.
    """
    path = Path(path)
    arrays: dict[str, np.ndarray] = {}
    for file in _files(path):
        with _opened(file) as tensors:
            for name in tensors.keys():
                arrays[WRAPPERS.sub("", name)] = tensors.get_tensor(name)
    return arrays


def names(path: Path) -> list[str]:
    """Returns the names of the arrays, as they are in the files; see `read`."""
    keys: list[str] = []
    for file in _files(path):
        with _opened(file) as tensors:
            keys += tensors.keys()
    return keys


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        open_regular(file).close()
        with safe_open(file, framework="numpy") as tensors:
            yield tensors
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError, OverflowError, MemoryError) as error:
        raise WeightsMismatch(f"{file.name!r} is not a complete safetensors file ({reason(error)}); download it again") from error


def _files(path: Path) -> Iterator[Path]:
    """Yields the files of an index, which lie beside it, or the file itself."""
    if path.suffix != ".json":
        yield path
        return
    try:
        places = read_json(path)["weight_map"]
        names = sorted(set(places.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsMismatch(f"{path.name!r} is not an index of safetensors files: expected a `weight_map`, name -> file") from error
    for name in names:
        # A name with a folder in it could point at any file of this machine.
        if not isinstance(name, str) or not name or Path(name).name != name or not os.path.isfile(path.with_name(name)):
            raise WeightsMismatch(
                f"{path.name!r} lists the file {name!r}, which is not in the same folder; download all of them into one folder"
            )
        yield path.with_name(name)
