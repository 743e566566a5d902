"""Read the tensors of a PyTorch checkpoint without PyTorch, and without running code that a pickle refers to.

Two formats. Legacy (torch.save before 1.6): three pickles (magic number, protocol version, machine), the pickle of the object, the pickled
list of storage keys, then per storage its length (int64) and its bytes. Since 1.6 a zip archive: `NAME/data.pkl`, `NAME/byteorder`, and
each storage as `NAME/data/KEY`, stored and not compressed. Source: torch/serialization.py, `_legacy_load` and `_load`.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import ml_dtypes
import numpy as np

from tlkeras.errors import WeightsMismatch, printable, reason
from tlkeras.files import open_regular
from tlkeras.weights.pickle_machine import LARGEST, Call, Name, Reference, load

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
NESTED = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "weights",
    "state_dict_ema",
    "model_ema",
)  # where training scripts keep the tensors
WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")  # DataParallel and torch.compile put these before every name
MOST_DIMENSIONS, LARGEST_SIZE = 64, 1 << 48  # of an array of NumPy; numbers in a tensor


class _Storage(NamedTuple):
    """Where the values of a tensor are stored; known before they are read."""

    dtype: np.dtype
    key: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


REBUILD_TENSOR = Name("torch._utils", "_rebuild_tensor_v2")
REBUILD_PARAMETER = Name("torch._utils", "_rebuild_parameter")
ORDERED, SIZE = Name("collections", "OrderedDict"), Name("torch", "Size")
# Everything that a checkpoint may refer to.
ADMITTED = {ORDERED, SIZE, REBUILD_TENSOR, REBUILD_PARAMETER, *(Name("torch", name) for name in STORAGES)}


def _resolved(value: Name | Call | Reference) -> Any:
    """Returns what a pickle refers to: tensors, their storages, dictionaries; everything else that it could call is refused."""
    if isinstance(value, Name):
        if value in ADMITTED:
            return value
        raise WeightsMismatch(
            f"the checkpoint refers to {printable(f'{value.module}.{value.name}')[:120]}, which is not a tensor; refused, because unpickling it could "
            "run code: save its state_dict() alone, or as safetensors"
        )
    return _storage(value.pid) if isinstance(value, Reference) else _called(value)


def _called(call: Call) -> Any:
    function, arguments = call
    if not isinstance(arguments, tuple):
        raise ValueError("arguments that are no tuple")
    if function == ORDERED:
        return dict(_pair(item) for item in arguments[0]) if arguments else {}
    if function == SIZE:
        return _whole_numbers(arguments[0])
    if function == REBUILD_TENSOR:
        storage, offset, shape, strides, *_ = arguments
        if not isinstance(storage, _Storage):
            raise WeightsMismatch("the checkpoint builds a tensor from something that is not a storage; expected a PyTorch state dict")
        return _Tensor(storage, _whole_numbers((offset,))[0], _whole_numbers(shape), _whole_numbers(strides))
    if function == REBUILD_PARAMETER and isinstance(arguments[0], _Tensor):
        return arguments[0]
    raise WeightsMismatch("the checkpoint calls something that builds no tensor; expected a PyTorch state dict")


def _pair(item: Any) -> tuple[str, Any]:
    key, value = item
    if not isinstance(key, str):
        raise ValueError("a name that is no text")
    return key, value


def _whole_numbers(values: Any) -> tuple[int, ...]:
    """Returns sizes, strides or an offset, of which an array has at most 64, each of 64 bits."""
    if not isinstance(values, list | tuple) or len(values) > MOST_DIMENSIONS:
        raise ValueError("sizes that are no list of numbers")
    if any(type(value) is not int or abs(value) > LARGEST_SIZE for value in values):
        raise ValueError("a size that is no number, or too large")
    return tuple(values)


def _storage(pid: Any) -> _Storage:
    # (kind, type, key, device, size), and a sixth for views in the legacy format.
    expected = isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"
    if not (expected and isinstance(pid[1], Name) and pid[1].name in STORAGES and isinstance(pid[2], str) and type(pid[4]) is int):
        raise WeightsMismatch("the checkpoint refers to something that is not a tensor storage; expected a PyTorch state dict")
    if not 0 <= pid[4] <= LARGEST_SIZE:
        raise ValueError(f"a storage of {pid[4]} numbers")
    return _Storage(dtype=STORAGES[pid[1].name], key=pid[2], size=pid[4])


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Returns name -> array of a PyTorch state dict, in file order; of a training checkpoint, those of its model.

    Raises:
        WeightsMismatch: when the file is something else, is truncated, or refers to anything but tensors.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(info.file_size for info in archive.infolist()) > Path(path).stat().st_size:
                    raise WeightsMismatch("a zip archive whose members overlap or are compressed; PyTorch writes no such archives")
                return _read_zip(archive)
        with open_regular(path) as file:
            return _read_legacy(file, Path(path).stat().st_size)
    except WeightsMismatch:
        raise
    except Exception as error:  # whatever Python's readers of archives raise
        raise WeightsMismatch(
            f"{Path(path).name!r} is not a complete PyTorch checkpoint ({type(error).__name__}: {reason(error)}); download it again"
        ) from error


# === Zip archives ===


def _read_zip(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    members = {info.filename: info for info in archive.infolist()}
    # Members are looked up by their full names, read into memory, and never written: none can leave its place.
    roots = [name.removesuffix("data.pkl") for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise WeightsMismatch("a zip archive, but not a PyTorch checkpoint: expected one NAME/data.pkl in it")
    root = roots[0]
    if f"{root}constants.pkl" in members:
        raise WeightsMismatch("a TorchScript program, not a checkpoint; save the state_dict() of the module it was made from")
    if f"{root}byteorder" in members and archive.read(_stored(members[f"{root}byteorder"], 6)) != b"little":
        raise WeightsMismatch("a checkpoint written on a big-endian machine; save it again on a little-endian one")
    with archive.open(_stored(members[f"{root}data.pkl"], LARGEST)) as file:
        named = _tensors(load(io.BufferedReader(cast(io.RawIOBase, file)), _resolved))

    def numbers(storage: _Storage) -> bytes:
        size = storage.size * storage.dtype.itemsize
        info = _stored(members[f"{root}data/{storage.key}"], size)
        if info.file_size != size:
            raise EOFError(f"a storage of {storage.size} numbers holds {info.file_size} bytes")
        return archive.read(info)

    return _views(named, numbers)


def _stored(info: zipfile.ZipInfo, largest: int) -> zipfile.ZipInfo:
    """Returns a member that unpacks to no more than it takes up in the file, as PyTorch writes them: no zip bombs."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.file_size > largest:
        raise WeightsMismatch(f"member {info.filename!r} is compressed or larger than the file allows; PyTorch writes no such archives")
    return info


# === Legacy ===


def _read_legacy(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    if load(file, _resolved) != MAGIC or load(file, _resolved) != PROTOCOL:
        raise WeightsMismatch("not a PyTorch checkpoint: its magic number is missing")
    load(file, _resolved)  # sizes of C types on the machine that wrote it; the storages are little-endian
    # Every storage stands in the file, those of an optimizer too, and only what refers to them states their types.
    seen: dict[str, _Storage] = {}

    def remembered(value: Name | Call | Reference) -> Any:
        result = _resolved(value)
        return seen.setdefault(result.key, result) if isinstance(result, _Storage) else result

    named = _tensors(load(file, remembered))
    keys = {tensor.storage.key for tensor in named.values()}
    storages = {}
    for key in load(file, _resolved):
        if not isinstance(key, str):
            raise ValueError("a key of a storage that is no text")
        data = _read_storage(file, seen[key], size - file.tell())
        if key in keys:
            storages[key] = data
    return _views(named, lambda storage: storages[storage.key])


def _read_storage(file: BinaryIO, storage: _Storage, left: int) -> bytes:
    (count,) = struct.unpack("<q", file.read(8))
    size = storage.size * storage.dtype.itemsize
    if count != storage.size or size > left - 8:
        raise EOFError(f"a storage of {storage.size} numbers in {left} bytes")
    return file.read(size)


# === Tensors ===


def _tensors(content: Any) -> dict[str, _Tensor]:
    """Returns the tensors of a state dict, or of the one inside a training checkpoint, without the names of wrappers."""
    if not isinstance(content, Mapping):
        raise WeightsMismatch(f"the checkpoint contains a {type(content).__name__}; expected a PyTorch state dict, name -> tensor")
    for key in NESTED:
        if isinstance(content.get(key), Mapping) and any(isinstance(one, _Tensor) for one in dict(content[key]).values()):
            content = dict(content[key])
            break
    named = {WRAPPERS.sub("", name): one for name, one in content.items() if isinstance(name, str) and isinstance(one, _Tensor)}
    if not named:
        raise WeightsMismatch(
            f"the checkpoint contains no named tensors; its keys are "
            f"{', '.join(repr(key)[:60] for key in list(content)[:5]) or 'none'}, expected a PyTorch state dict"
        )
    return named


def _views(named: Mapping[str, _Tensor], numbers: Callable[[_Storage], bytes]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    views = {}
    for name, tensor in named.items():
        key = tensor.storage.key
        if key not in arrays:
            arrays[key] = np.frombuffer(numbers(tensor.storage), tensor.storage.dtype)
        views[name] = _view(tensor, arrays[key])
    return views


def _view(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """Returns the tensor as a view of its storage; checkpoints made from other frameworks hold transposed strides."""
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    outside = tensor.offset < 0 or min((*tensor.strides, *tensor.shape, 0)) < 0 or (0 not in tensor.shape and last >= len(numbers))
    # A stride of 0 repeats one number as often as the shape says; a checkpoint has no use for it, a bomb has.
    if outside or math.prod(tensor.shape) > len(numbers):
        raise IndexError("a tensor reaches beyond its storage")
    strides = tuple(step * numbers.itemsize for step in tensor.strides)
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
