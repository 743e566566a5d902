"""Runs a SavedModel by TensorFlow's C API, without Python in between: the loader that TensorFlow Serving uses.

Stands alone, so that `runner.py` can use it in a bare process: NumPy, ctypes and the standard library, no
`import tensorflow` (its wheel is only where the libraries are found).
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

# TF_DataType -> NumPy; texts are apart.
TYPES = {1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 9: "int64", 10: "bool", 19: "float16"}
STRING = 7
STRING_BYTES = 24  # sizeof(TF_TString)

Pointer = ctypes.c_void_p


class _Output(ctypes.Structure):
    """TF_Output: one output of an operation of the graph."""

    _fields_ = (("operation", Pointer), ("index", ctypes.c_int))


class _Buffer(ctypes.Structure):
    """TF_Buffer: bytes that TensorFlow owns."""

    _fields_ = (("data", Pointer), ("length", ctypes.c_size_t), ("deallocator", Pointer))


# Function -> what it returns; ctypes takes any other result for an int and would cut pointers in half.
RETURNS = {
    "TF_Version": ctypes.c_char_p,
    "TF_Message": ctypes.c_char_p,
    "TF_GetCode": ctypes.c_int,
    "TF_NewStatus": Pointer,
    "TF_NewGraph": Pointer,
    "TF_NewSessionOptions": Pointer,
    "TF_NewBuffer": ctypes.POINTER(_Buffer),
    "TF_LoadSessionFromSavedModel": Pointer,
    "TF_GraphOperationByName": Pointer,
    "TF_LoadLibrary": Pointer,
    "TF_AllocateTensor": Pointer,
    "TF_TensorData": Pointer,
    "TF_TensorType": ctypes.c_int,
    "TF_NumDims": ctypes.c_int,
    "TF_Dim": ctypes.c_int64,
    "TF_StringGetDataPointer": Pointer,
    "TF_StringGetSize": ctypes.c_size_t,
}
NOTHING = (
    *("TF_DeleteStatus", "TF_DeleteGraph", "TF_DeleteSessionOptions", "TF_DeleteBuffer", "TF_DeleteTensor", "TF_CloseSession"),
    *("TF_DeleteSession", "TF_SessionRun", "TF_SetConfig", "TF_StringInit", "TF_StringCopy", "TF_StringDealloc"),
)


class _Library:
    """The C functions, looked up in both libraries of the wheel, with their results declared."""

    def __init__(self, folder: Path):
        self.parts = [ctypes.CDLL(str(one), ctypes.RTLD_GLOBAL) for name in ("framework", "cc") for one in _shared(folder, name)]

    def __getattr__(self, name: str) -> Any:
        for part in self.parts:
            function = getattr(part, name, None)
            if function is not None:
                function.restype = RETURNS.get(name)
                setattr(self, name, function)
                return function
        raise AttributeError(f"TensorFlow's C library has no function {name}")


def _shared(folder: Path, name: str) -> list[Path]:
    files = sorted([*folder.glob(f"libtensorflow_{name}.so.*"), *folder.glob(f"libtensorflow_{name}.*.dylib")])
    if not files:
        raise RuntimeError(f"no libtensorflow_{name} in {str(folder)!r}; the C API needs the wheel of TensorFlow for Linux or macOS")
    return files[:1]


@cache
def library() -> _Library:
    """Returns TensorFlow's C library, found in the installed wheel without importing it."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package tensorflow, which contains the C library, is not installed")
    return _Library(Path(spec.submodule_search_locations[0]))


def _checked(function: Any, *arguments: Any) -> Any:
    """Calls a function whose last argument is a TF_Status, and raises what that says."""
    c = library()
    status = Pointer(c.TF_NewStatus())
    try:
        result = function(*arguments, status)
        if c.TF_GetCode(status):
            raise RuntimeError(c.TF_Message(status).decode(errors="replace"))
        return result
    finally:
        c.TF_DeleteStatus(status)


class Session:
    """A SavedModel, loaded.

    Args:
        path: its folder.
        libraries: shared libraries of operations to load first, for example those of TensorFlow Text.
        threads: at most so many for one request and among requests; all processors when None.

    Raises:
        RuntimeError: with TensorFlow's own message.
    """

    def __init__(self, path: str, libraries: Sequence[str] = (), threads: int | None = None):
        c = library()
        for file in libraries:
            _checked(c.TF_LoadLibrary, file.encode())
        self._graph = Pointer(c.TF_NewGraph())
        options, meta = Pointer(c.TF_NewSessionOptions()), c.TF_NewBuffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        try:
            if threads:  # ConfigProto: field 2 intra_op_parallelism_threads, field 5 inter_op_parallelism_threads
                config = bytes([2 << 3, min(threads, 127), 5 << 3, min(threads, 127)])
                _checked(c.TF_SetConfig, options, config, ctypes.c_size_t(len(config)))
            loaded = _checked(c.TF_LoadSessionFromSavedModel, options, None, path.encode(), tags, 1, self._graph, meta)
            self._session: Pointer | None = Pointer(loaded)
            self.signatures = dict(_signatures(ctypes.string_at(meta.contents.data, meta.contents.length)))
        except BaseException:
            c.TF_DeleteGraph(self._graph)
            raise
        finally:
            c.TF_DeleteBuffer(meta)
            c.TF_DeleteSessionOptions(options)
        self.version = c.TF_Version().decode()

    def close(self) -> None:
        """Frees the session; it cannot be used afterwards."""
        if self._session:
            c = library()
            _checked(c.TF_CloseSession, self._session)
            _checked(c.TF_DeleteSession, self._session)
            c.TF_DeleteGraph(self._graph)
            self._session = None

    def run(self, signature: str, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Runs one signature.

        Args:
            signature: its name.
            feeds: input name -> array; texts as arrays or lists of bytes.

        Returns:
            Output name -> array; texts as object arrays of bytes.

        Raises:
            RuntimeError: for an unknown signature, other inputs than it has, or when the graph fails.
        """
        if signature not in self.signatures:
            raise RuntimeError(f"no signature {signature!r}; the SavedModel has {', '.join(sorted(self.signatures))}")
        inputs, outputs = self.signatures[signature]
        if set(feeds) != set(inputs):
            raise RuntimeError(f"{signature} accepts {', '.join(sorted(inputs))}; got {', '.join(sorted(feeds))}")
        c, input_names, output_names = library(), list(feeds), list(outputs)
        tensors: list[Pointer] = []
        answers = (Pointer * len(output_names))()
        try:
            tensors += [_tensor(feeds[name], inputs[name][1]) for name in input_names]
            _checked(
                *(c.TF_SessionRun, self._session, None),
                *(self._places(inputs[name][0] for name in input_names), (Pointer * len(input_names))(*tensors), len(input_names)),
                *(self._places(outputs[name][0] for name in output_names), answers, len(output_names)),
                *(None, 0, None),
            )
            return {name: _array(Pointer(answer)) for name, answer in zip(output_names, answers, strict=True)}
        finally:
            for tensor in [*tensors, *(Pointer(answer) for answer in answers if answer)]:
                _free(tensor)

    def _places(self, names: Iterator[str]) -> Any:
        """Returns `operation:index` names as TF_Outputs."""
        outputs = []
        for name in names:
            operation, _, index = name.partition(":")
            pointer = library().TF_GraphOperationByName(self._graph, operation.encode())
            if not pointer:
                raise RuntimeError(f"the graph has no operation {operation!r}")
            outputs.append(_Output(pointer, int(index or 0)))
        return (_Output * len(outputs))(*outputs)


# === Tensors ===


def _tensor(value: Any, code: int) -> Pointer:
    c = library()
    texts = code == STRING
    array = np.array(value, object) if texts else np.ascontiguousarray(value, TYPES[code])
    size = array.size * STRING_BYTES if texts else array.nbytes
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = Pointer(c.TF_AllocateTensor(code, shape, array.ndim, ctypes.c_size_t(size)))
    data = c.TF_TensorData(tensor)
    if not texts:
        ctypes.memmove(data, array.ctypes.data, size)
        return tensor
    for position, text in enumerate(array.ravel()):
        string = Pointer(data + position * STRING_BYTES)
        c.TF_StringInit(string)
        content = text.encode() if isinstance(text, str) else bytes(text)
        c.TF_StringCopy(string, content, ctypes.c_size_t(len(content)))
    return tensor


def _array(tensor: Pointer) -> np.ndarray:
    c = library()
    shape = tuple(c.TF_Dim(tensor, axis) for axis in range(c.TF_NumDims(tensor)))
    count, data, code = int(np.prod(shape)), c.TF_TensorData(tensor), c.TF_TensorType(tensor)
    if code == STRING:
        texts = np.empty(count, object)
        for position in range(count):
            string = Pointer(data + position * STRING_BYTES)
            texts[position] = ctypes.string_at(c.TF_StringGetDataPointer(string), c.TF_StringGetSize(string))
        return texts.reshape(shape)
    if code not in TYPES:
        raise RuntimeError(f"an output has the type {code}, which is not supported here")
    raw = ctypes.string_at(data, count * np.dtype(TYPES[code]).itemsize) if count else b""
    return np.frombuffer(raw, TYPES[code]).reshape(shape).copy()


def _free(tensor: Pointer) -> None:
    c = library()
    if c.TF_TensorType(tensor) == STRING:  # long texts stand outside of the tensor
        data = c.TF_TensorData(tensor)
        for position in range(int(np.prod([c.TF_Dim(tensor, axis) for axis in range(c.TF_NumDims(tensor))]))):
            c.TF_StringDealloc(Pointer(data + position * STRING_BYTES))
    c.TF_DeleteTensor(tensor)


# === Names: the few fields of MetaGraphDef that are needed, read from its wire format ===

Tensors = dict[str, tuple[str, int]]  # name of an input or output -> name in the graph, type


def _signatures(meta: bytes) -> Iterator[tuple[str, tuple[Tensors, Tensors]]]:
    for entry in _fields(meta, 5):  # MetaGraphDef.signature_def, a map
        signature = next(_fields(entry, 2), b"")
        yield _text(entry), (_tensors(signature, 1), _tensors(signature, 2))


def _tensors(signature: bytes, field: int) -> Tensors:
    """SignatureDef.inputs (1) or .outputs (2), maps of TensorInfo: name 1, dtype 2."""
    tensors = {}
    for entry in _fields(signature, field):
        info = next(_fields(entry, 2), b"")
        tensors[_text(entry)] = (_text(info), next(_numbers(info, 2), 0))
    return tensors


def _text(message: bytes) -> str:
    return next(_fields(message, 1), b"").decode()


def _fields(message: bytes, field: int) -> Iterator[bytes]:
    return (value for number, value in _walk(message) if number == field and isinstance(value, bytes))


def _numbers(message: bytes, field: int) -> Iterator[int]:
    return (value for number, value in _walk(message) if number == field and isinstance(value, int))


def _walk(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yields the fields of a protocol buffer message: https://protobuf.dev/programming-guides/encoding/."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == 0:
            number, position = _varint(message, position)
            yield key >> 3, number
            continue
        length, position = _varint(message, position) if kind == 2 else ({1: 8, 5: 4}[kind], position)
        yield key >> 3, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value, shift, position = value | (byte & 127) << shift, shift + 7, position + 1
        if byte < 128:
            return value, position
