"""Read the tensors of a legacy PyTorch checkpoint without PyTorch, and without running what a pickle may ask for.

The format (torch.save before 1.6): three pickles (magic number, protocol version, machine), the pickle of the
object, the pickled list of storage keys, then per storage its length (int64) and its bytes.
Source: torch/serialization.py, `_legacy_load`.
"""

from __future__ import annotations

import collections
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tlkeras.errors import WeightsMismatch

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


@dataclass(frozen=True)
class _Storage:
    """Where a tensor's numbers will be: known before they are read."""

    dtype: np.dtype
    key: str
    size: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor_v2(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Admits ordered dictionaries and tensors; everything else that a pickle could call is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor_v2
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise WeightsMismatch(f"the checkpoint asks for {module}.{name}, which is no tensor; refused, because unpickling it could run code")

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) == 6 and pid[0] == "storage" and isinstance(pid[1], np.dtype)):
            raise WeightsMismatch("the checkpoint refers to something that is no tensor storage; expected a legacy PyTorch state dict")
        return _Storage(dtype=pid[1], key=str(pid[2]), size=int(pid[4]))


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Returns name -> array of a legacy PyTorch state dict, in file order.

    Raises:
        WeightsMismatch: when the file is something else, is cut short, or asks for anything but tensors.
    """
    try:
        with Path(path).open("rb") as file:
            return _read(file)
    except (pickle.UnpicklingError, EOFError, struct.error, IndexError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise WeightsMismatch(
            f"{Path(path).name!r} is not a whole legacy PyTorch checkpoint ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != PROTOCOL:
        raise WeightsMismatch("no legacy PyTorch checkpoint: its magic number is missing")
    _Unpickler(file).load()  # sizes of C types on the machine that wrote it; the storages are little-endian
    named = _Unpickler(file).load()
    stored = {tensor.storage.key: tensor.storage for tensor in named.values()}
    numbers = {key: _read_storage(file, stored[key]) for key in _Unpickler(file).load()}
    return {name: _view(tensor, numbers[tensor.storage.key]) for name, tensor in named.items()}


def _read_storage(file: BinaryIO, storage: _Storage) -> np.ndarray:
    (count,) = struct.unpack("<q", file.read(8))
    data = file.read(storage.size * storage.dtype.itemsize)
    if count != storage.size or len(data) != storage.size * storage.dtype.itemsize:
        raise EOFError(f"a storage of {storage.size} numbers holds {len(data)} bytes")
    return np.frombuffer(data, storage.dtype)


def _view(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """Returns the tensor as a contiguous array; checkpoints made from other frameworks hold transposed strides."""
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    if tensor.offset < 0 or min((*tensor.strides, 0)) < 0 or (0 not in tensor.shape and last >= len(numbers)):
        raise IndexError("a tensor reaches beyond its storage")
    strides = tuple(step * numbers.itemsize for step in tensor.strides)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False))
