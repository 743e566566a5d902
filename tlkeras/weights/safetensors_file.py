"""Read `.safetensors` files: names, shapes and values, no code; one file, or the index of several."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes  # noqa: F401 - teaches NumPy bfloat16, in which many checkpoints are
import numpy as np
from safetensors import SafetensorError, safe_open

from tlkeras.errors import WeightsMismatch
from tlkeras.weights.torch_pickle import WRAPPERS


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Returns name -> array of a `.safetensors` file, or of all files that a `.safetensors.index.json` lists.

    Raises:
        WeightsMismatch: when a file is something else, truncated, or missing.
    """
    path = Path(path)
    arrays: dict[str, np.ndarray] = {}
    for file in _files(path):
        try:
            with safe_open(file, framework="numpy") as tensors:
                for name in tensors.keys():
                    arrays[WRAPPERS.sub("", name)] = tensors.get_tensor(name)
        except (SafetensorError, OSError, TypeError, ValueError) as error:
            raise WeightsMismatch(f"{file.name!r} is not a complete safetensors file ({error}); download it again") from error
    return arrays


def _files(path: Path) -> Iterator[Path]:
    """Yields the files of an index, which lie beside it, or the file itself."""
    if path.suffix != ".json":
        yield path
        return
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsMismatch(f"{path.name!r} is not an index of safetensors files: expected a `weight_map`, name -> file") from error
    for name in names:
        # A name with a folder in it could point at any file of this machine.
        if not isinstance(name, str) or Path(name).name != name or not path.with_name(name).is_file():
            raise WeightsMismatch(
                f"{path.name!r} lists the file {name!r}, which is not in the same folder; download all of them into one folder"
            )
        yield path.with_name(name)
