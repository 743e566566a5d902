"""Read the tensors of a PyTorch checkpoint without PyTorch, and without running code that a pickle refers to.

Two formats. Legacy (torch.save before 1.6): three pickles (magic number, protocol version, machine), the pickle of the object, the pickled
list of storage keys, then per storage its length (int64) and its bytes. Since 1.6 a zip archive: `NAME/data.pkl`, `NAME/byteorder`, and
each storage as `NAME/data/KEY`, stored and not compressed. Source: torch/serialization.py, `_legacy_load` and `_load`.
"""

from __future__ import annotations

import collections
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from tlkeras.errors import WeightsMismatch

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
LARGEST_PICKLE = 1 << 26  # bytes; a pickle holds names and shapes, not numbers


# Named tuples, and not classes with a `__dict__` or a `__setstate__`: the BUILD instruction of a pickle cannot change them.
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


class _RebuildTensor:
    __slots__ = ()

    def __call__(self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise WeightsMismatch("the checkpoint builds a tensor from something that is not a storage; expected a PyTorch state dict")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, tensor: _Tensor, *_: Any) -> _Tensor:
        return tensor


# Everything that a checkpoint may ask for; none of it does anything but hold what it is given, and nothing of it can be changed:
# BUILD sets the state of whatever stands on the stack, and the data types of NumPy, shared by the whole process, would take one.
ADMITTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    ("torch", "Size"): tuple,
    **{("torch", name): name for name in STORAGES},
}


class _Unpickler(pickle.Unpickler):
    """Admits ordered dictionaries and tensors; everything else that a pickle could call is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ADMITTED:
            return ADMITTED[module, name]
        raise WeightsMismatch(
            f"the checkpoint refers to {module}.{name}, which is not a tensor; refused, because unpickling it could run code: "
            "save its state_dict() alone, or as safetensors"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        # (kind, type, key, device, size), and a sixth for views in the legacy format.
        if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage" and isinstance(pid[1], str) and pid[1] in STORAGES):
            raise WeightsMismatch("the checkpoint refers to something that is not a tensor storage; expected a PyTorch state dict")
        return _Storage(dtype=STORAGES[pid[1]], key=str(pid[2]), size=int(pid[4]))


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
        with Path(path).open("rb") as file:
            return _read_legacy(file)
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        EOFError,
        struct.error,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        NotImplementedError,
        OSError,
    ) as error:
        if isinstance(error, WeightsMismatch):
            raise
        raise WeightsMismatch(
            f"{Path(path).name!r} is not a complete PyTorch checkpoint ({type(error).__name__}: {error}); download it again"
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
    with archive.open(_stored(members[f"{root}data.pkl"], LARGEST_PICKLE)) as file:
        named = _tensors(_Unpickler(file).load())

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


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != PROTOCOL:
        raise WeightsMismatch("not a PyTorch checkpoint: its magic number is missing")
    _Unpickler(file).load()  # sizes of C types on the machine that wrote it; the storages are little-endian
    # Every storage stands in the file, those of an optimizer too, and only what refers to them states their types.
    seen: dict[str, _Storage] = {}

    class Remembering(_Unpickler):
        def persistent_load(self, pid: Any) -> _Storage:
            storage = super().persistent_load(pid)
            return seen.setdefault(storage.key, storage)

    named = _tensors(Remembering(file).load())
    keys = {tensor.storage.key for tensor in named.values()}
    storages = {}
    for key in _Unpickler(file).load():
        data = _read_storage(file, seen[key])
        if key in keys:
            storages[key] = data
    return _views(named, lambda storage: storages[storage.key])


def _read_storage(file: BinaryIO, storage: _Storage) -> bytes:
    (count,) = struct.unpack("<q", file.read(8))
    data = file.read(storage.size * storage.dtype.itemsize)
    if count != storage.size or len(data) != storage.size * storage.dtype.itemsize:
        raise EOFError(f"a storage of {storage.size} numbers holds {len(data)} bytes")
    return data


# === Tensors ===


def _tensors(content: Any) -> dict[str, _Tensor]:
    """Returns the tensors of a state dict, or of the one inside a training checkpoint, without the names of wrappers."""
    if not isinstance(content, Mapping):
        raise WeightsMismatch(f"the checkpoint contains a {type(content).__name__}; expected a PyTorch state dict, name -> tensor")
    content = dict(content)  # without attributes that a pickle has set on an ordered dictionary
    for key in NESTED:
        if isinstance(content.get(key), Mapping) and any(isinstance(one, _Tensor) for one in dict(content[key]).values()):
            content = dict(content[key])
            break
    named = {WRAPPERS.sub("", name): one for name, one in content.items() if isinstance(name, str) and isinstance(one, _Tensor)}
    if not named:
        raise WeightsMismatch(
            f"the checkpoint contains no named tensors; its keys are {', '.join(map(repr, list(content)[:5])) or 'none'}, expected a PyTorch state dict"
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
