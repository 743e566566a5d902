"""Files of weights and models that are damaged, lie, or hold code."""

import functools
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

from tests.hostile.cases import EITHER, READ, Case, written

GOLDEN = Path(__file__).resolve().parents[1] / "weights" / "golden"

# === PyTorch ===


def archive(data, members=None, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as out:
        out.writestr("x/data.pkl", data)
        out.writestr("x/byteorder", "little")
        for name, content in (members or {"x/data/0": bytes(16)}).items():
            out.writestr(name, content)
    return buffer.getvalue()


def legacy(data):
    return pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + data


def pth(content):
    def read(folder):
        from tlkeras.weights import torch_pickle

        dtypes = [(one.itemsize, one.flags, one.alignment, one.str) for one in torch_pickle.STORAGES.values()]
        try:
            return torch_pickle.read(written(folder, "x.pth", content() if callable(content) else content))
        finally:
            assert dtypes == [(one.itemsize, one.flags, one.alignment, one.str) for one in torch_pickle.STORAGES.values()]

    return read


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


KEY = text(b"0")


def storage(kind=b"ctorch\nFloatStorage\n", key=KEY, size=b"K\x04"):
    return b"(" + text(b"storage") + kind + key + text(b"cpu") + size + b"tQ"


def tensor(of=None, offset=b"K\0", shape=b"K\x02\x85", strides=b"K\1\x85"):
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + (of or storage()) + offset + shape + strides + b"\x89}tR"


def state(value):
    return b"\x80\x02}" + text(b"w") + value + b"s."


COMMAND = text(b"touch canary")
# Every instruction of a pickle that looks something up, calls it, or sets its state: pickletools.py.
CALLS = {
    "GLOBAL, REDUCE": b"cos\nsystem\n" + COMMAND + b"\x85R",
    "GLOBAL alone": b"cos\nsystem\n",
    "STACK_GLOBAL": text(b"os") + text(b"system") + b"\x93" + COMMAND + b"\x85R",
    "STACK_GLOBAL of no texts": b"K\1K\2\x93",
    "INST": b"(" + COMMAND + b"ios\nsystem\n",
    "OBJ": b"(cos\nsystem\n" + COMMAND + b"o",
    "NEWOBJ": b"cos\nsystem\n" + COMMAND + b"\x85\x81",
    "NEWOBJ_EX": b"cos\nsystem\n" + COMMAND + b"\x85}\x92",
    "EXT1": b"\x82\x01",
    "EXT2": b"\x83\x01\x00",
    "EXT4": b"\x84\x01\x00\x00\x00",
    "PERSID": b"Pos.system\n",
    "BINPERSID of a text": text(b"os.system") + b"Q",
    "NEXT_BUFFER": b"\x97",
    "READONLY_BUFFER": b"\x97\x98",
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", 1 << 40),
    "DUP": b"}2",
    "POP_MARK": b"(1}",
    "EMPTY_SET, ADDITEMS": b"\x8f(K\1\x90",
    "FROZENSET": b"(K\1\x91",
    "INT of protocol 0": b"I1\n",
    "STRING of protocol 0": b"S'x'\n",
    "UNICODE of protocol 0": b"Vx\n",
    "LONG of protocol 0": b"L1L\n",
    "FLOAT of protocol 0": b"F1\n",
    "GET of protocol 0": b"g0\n",
    "LIST of protocol 0": b"(l",
    "DICT of protocol 0": b"(d",
    "LONG4": b"\x8b" + struct.pack("<i", 1 << 30),
    "an unknown one": b"\xfe",
    "BUILD of a data type": tensor(storage(b"ctorch\nBFloat16Storage\n(K\3X\1\0\0\0<NNNJ\1\0\0\0J\x40\0\0\0J\x40\0\0\0tb")),
    "BUILD of a function": b"ctorch._utils\n_rebuild_tensor_v2\n}X\x0c\0\0\0__defaults__Nsb",
    "BUILD of a tensor": tensor() + b"}" + text(b"x") + b"Nsb",
    "BUILD of a list": b"]}" + text(b"__class__") + b"Nsb",
    "BUILD of slots": tensor() + b"N}" + text(b"x") + b"Ns\x86b",
    "REDUCE of a number": b"K\1K\2\x85R",
    "REDUCE of a list": b"]K\2\x85R",
    "REDUCE with a list": b"ccollections\nOrderedDict\n]R",
}
NAMES = [
    *(
        "os system",
        "posix system",
        "nt system",
        "subprocess Popen",
        "builtins eval",
        "builtins exec",
        "builtins getattr",
        "builtins __import__",
    ),
    *(
        "__builtin__ eval",
        "numpy.core.multiarray _reconstruct",
        "numpy dtype",
        "numpy ndarray",
        "torch load",
        "torch.hub load",
        "torch._utils _rebuild_qtensor",
    ),
    *(
        "torch.storage _load_from_bytes",
        "torch.nn.modules.linear Linear",
        "collections Counter",
        "functools partial",
        "operator attrgetter",
    ),
    *(
        "importlib import_module",
        "runpy _run_code",
        "pty spawn",
        "webbrowser open",
        "pip main",
        "keras.models load_model",
        "tlkeras.weights.torch_pickle read",
    ),
    *(
        "torch FloatStorage.__init__",
        "collections OrderedDict.__reduce__",
        "torch.serialization load",
        "_codecs encode",
        "copyreg _reconstructor",
    ),
]
LIES = {
    "beyond its storage": tensor(shape=b"K\x09\x85"),
    "an offset below 0": tensor(offset=b"J\xff\xff\xff\xff"),
    "an offset of 2^64": tensor(offset=b"\x8a\x09" + bytes(8) + b"\1"),
    "a stride of 0": tensor(shape=b"J\0\0\0\x7f\x85", strides=b"K\0\x85"),
    "a stride below 0": tensor(strides=b"J\xff\xff\xff\xff\x85"),
    "a shape of texts": tensor(shape=text(b"x") + b"\x85"),
    "a shape of true": tensor(shape=b"\x88\x85"),
    "a shape of 65 sides": tensor(shape=b"(" + b"K\1" * 65 + b"t", strides=b"(" + b"K\1" * 65 + b"t"),
    "more sides than strides": tensor(shape=b"K\1K\2\x86"),
    "a storage of 2^48 numbers": tensor(storage(size=b"\x8a\x07" + bytes(6) + b"\1")),
    "a storage of -1 numbers": tensor(storage(size=b"J\xff\xff\xff\xff")),
    "a storage of 1.5 numbers": tensor(storage(size=b"G?\xf8\0\0\0\0\0\0")),
    "a storage of another name": tensor(storage(key=text(b"../../x"))),
    "a key that is a number": tensor(storage(key=b"K\0")),
    "a key of 2^40 tuples": tensor(storage(key=b"K\1" + b"q\0h\0\x86" * 40)),
    "a tensor of no storage": b"ctorch._utils\n_rebuild_tensor_v2\n(K\1K\0)){tR".replace(b"{", b"\x89}"),
    "a tensor of nothing": b"ctorch._utils\n_rebuild_tensor_v2\n)R",
    "a parameter of no tensor": b"ctorch._utils\n_rebuild_parameter\nK\1\x85R",
    "a dictionary of no pairs": b"ccollections\nOrderedDict\n]K\1a\x85R",
}
SIZES = {
    "a text of 2^62 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62),
    "a text of 4 GB": b"\x80\x02X\xff\xff\xff\xff",
    "bytes of 2^40": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40),
    "bytes of 4 GB": b"\x80\x02B\xff\xff\xff\xff",
    "a place of 2^32 in the memo": b"\x80\x02}r\xff\xff\xff\xffj\xff\xff\xff\xff.",
    "a place that is not there": b"\x80\x02h\x05.",
    "a frame of 2^63": b"\x80\x04\x95" + b"\xff" * 8 + b"}.",
    "protocol 9": b"\x80\x09}.",
    "a tuple within a tuple, 300,000 times": b"\x80\x02)" + b"\x85" * 300_000 + b".",
    "such a tuple as a key": b"\x80\x02}(" + b")" + b"\x85" * 100_000 + b"Nu.",
    "2^40 parts": b"\x80\x02]" + b"q\0h\0\x86" * 40 + b".",
    "2.1 million instructions": b"\x80\x02" + b"}0" * 1_050_000 + b".",
    "a list copied without end": b"\x80\x02("
    + b"}" * 1000
    + b"lq\0".replace(b"l", b"t")
    + b"0"
    + b"ccollections\nOrderedDict\nh\0\x85R0" * 2000
    + b".",
    "a dictionary that contains itself": b"\x80\x02}q\0" + text(b"model") + b"h\0s.",
    "marks without end": b"\x80\x02" + b"(" * 1_000_000,
    "nothing": b"",
    "an end alone": b".",
    "a number": b"\x80\x02K\1.",
    "a list": b"\x80\x02].",
    "no tensors": b"\x80\x02}.",
    # All multiples of 2^61 - 1 have one hash.
    "100,000 keys of one hash": b"\x80\x02}("
    + b"".join(b"\x8a\x0a" + (number * (2**61 - 1)).to_bytes(10, "little") + b"N" for number in range(1, 100_001))
    + b"u.",
    "keys of 10 MB": b"\x80\x02}" + text(b"k" * 10_000_000) + b"Ns.",
}


def torch():
    for form, wrap in (("zip", archive), ("legacy", legacy)):
        for name, instructions in CALLS.items():
            yield Case("PyTorch: instruction that calls", f"{name} ({form})", pth(wrap(state(instructions))))
        for name, instructions in LIES.items():
            yield Case("PyTorch: tensor that lies", f"{name} ({form})", pth(wrap(state(instructions))))
        for name, instructions in SIZES.items():
            yield Case("PyTorch: size that lies", f"{name} ({form})", pth(wrap(instructions)))
    for name in NAMES:
        module, attribute = name.split(" ")
        call = f"c{module}\n{attribute}\n".encode() + COMMAND + b"\x85R"
        yield Case("PyTorch: instruction that calls", name, pth(archive(state(call))))
    for name in ("zip.pth", "legacy.pth"):
        for percent in range(100):
            cut = functools.partial(lambda n, p: (GOLDEN / n).read_bytes()[: (GOLDEN / n).stat().st_size * p // 100], name, percent)
            yield Case("PyTorch: cut short", f"{name} at {percent} %", pth(cut), slow=percent % 10 > 0)
        for seed in range(200):
            yield Case("PyTorch: bits flipped", f"{name} {seed}", pth(functools.partial(_flipped, name, seed)), EITHER, slow=seed >= 10)
    yield Case(
        "PyTorch: archive", "compressed", pth(lambda: archive(state(tensor()), {"x/data/0": bytes(10_000_000)}, zipfile.ZIP_DEFLATED))
    )
    yield Case("PyTorch: archive", "two pickles", pth(lambda: archive(state(tensor()), {"y/data.pkl": b"}."})))
    yield Case("PyTorch: archive", "a program", pth(lambda: archive(state(tensor()), {"x/constants.pkl": b")."})))
    yield Case("PyTorch: archive", "a storage that is absent", pth(lambda: archive(state(tensor()), {"x/data/1": b"x"})))
    yield Case("PyTorch: archive", "a storage that is too short", pth(lambda: archive(state(tensor()), {"x/data/0": b"x"})))
    yield Case(
        "PyTorch: archive",
        "names that leave the folder",
        pth(lambda: archive(state(tensor()), {"../../canary": b"x", "/tmp/canary": b"x"})),
    )
    yield Case("PyTorch: archive", "a tensor", pth(lambda: archive(state(tensor()))), READ)


def _flipped(name, seed):
    rng = np.random.default_rng(seed)
    data = bytearray((GOLDEN / name).read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(data)


# === safetensors ===


def tensors(head, data=b"", length=None):
    content = json.dumps(head).encode() if not isinstance(head, bytes) else head
    return struct.pack("<Q", len(content) if length is None else length) + content + data


def entry(start, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


SAFETENSORS = {
    "nothing": b"",
    "only zeros": bytes(100),
    "offsets that overlap": tensors({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)),
    "the same offsets twice": tensors({"a": entry(0, 8, [2]), "b": entry(0, 8, [2])}, bytes(8)),
    "a gap": tensors({"a": entry(0, 8, [2]), "b": entry(16, 24, [2])}, bytes(24)),
    "beyond the file": tensors({"a": entry(0, 1 << 40, [1 << 38])}, bytes(8)),
    "offsets the wrong way round": tensors({"a": entry(8, 0, [2])}, bytes(8)),
    "offsets below 0": tensors({"a": entry(-8, 0, [2])}, bytes(8)),
    "a shape of another size": tensors({"a": entry(0, 8, [3])}, bytes(8)),
    "a shape beyond 64 bits": tensors({"a": entry(0, 8, [1 << 40, 1 << 40])}, bytes(8)),
    "a shape below 0": tensors({"a": entry(0, 8, [-2])}, bytes(8)),
    "an unknown type": tensors({"a": entry(0, 8, [2], "EVIL")}, bytes(8)),
    "a header of 2^63": tensors({}, length=1 << 63),
    "a header of 99 MB": tensors({}, length=99_000_000),
    "a header beyond the file": tensors({"a": entry(0, 8, [2])}, bytes(8), length=10_000),
    "a header that is no JSON": tensors(b"{" * 50),
    "a header nested 100,000 deep": tensors(b"[" * 100_000),
    "a header that is a list": tensors(b"[1, 2]"),
    "a header that is not UTF-8": tensors(b'{"\xff": 1}'),
    "a name twice": tensors(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}', bytes(16)
    ),
    "bytes behind it": tensors({"a": entry(0, 8, [2])}, bytes(9)),
    "a pickle": b"cos\nsystem\n(S'touch canary'\ntR.",
}
INDEX = {
    "nothing": "",
    "a list": "[]",
    "no map": "{}",
    "a map that is a list": '{"weight_map": [1]}',
    "a file in another folder": '{"weight_map": {"a": "../secret.safetensors"}}',
    "an absolute path": '{"weight_map": {"a": "/etc/passwd"}}',
    "a file that is absent": '{"weight_map": {"a": "x2.safetensors"}}',
    "a file without a name": '{"weight_map": {"a": ""}}',
    "the folder itself": '{"weight_map": {"a": "."}}',
    "the folder above": '{"weight_map": {"a": ".."}}',
    "a name with a zero": r'{"weight_map": {"a": "x\u0000"}}',
    "a name that is too long": json.dumps({"weight_map": {"a": "é" * 300}}),
    "half a character": r'{"weight_map": {"a": "\ud800"}}',
    "a number for a file": '{"weight_map": {"a": 1}}',
    "a list for a file": '{"weight_map": {"a": [1]}}',
    "nested 100,000 deep": "[" * 100_000,
    "not UTF-8": b"\xff\xff",
    "itself": '{"weight_map": {"a": "x.safetensors.index.json"}}',
}


def safe(content, name="x.safetensors"):
    def read(folder):
        from tlkeras.weights import safetensors_file

        path = folder / name
        if callable(content):
            content(path)
        else:
            written(folder, name, content)
        return safetensors_file.read(path)

    return read


def safetensors():
    yield from (Case("safetensors", name, safe(content)) for name, content in SAFETENSORS.items())
    yield from (Case("safetensors", f"index: {name}", safe(content, "x.safetensors.index.json")) for name, content in INDEX.items())
    yield Case("safetensors", "a pipe", safe(os.mkfifo))
    yield Case("safetensors", "/dev/zero", safe(lambda path: path.symlink_to("/dev/zero")))
    yield Case("safetensors", "an index that is a pipe", safe(os.mkfifo, "x.safetensors.index.json"))
    whole = tensors({"a": entry(0, 8, [2]), "b": entry(8, 16, [1, 2])}, bytes(16))
    yield from (Case("safetensors", f"cut at byte {end}", safe(whole[:end]), slow=end % 20 > 0) for end in range(len(whole)))
    for seed in range(100):
        data = bytearray(whole)
        data[seed * 7 % len(data)] ^= 1 << seed % 8
        yield Case("safetensors", f"a bit changed {seed}", safe(bytes(data)), EITHER, slow=seed >= 5)


def cases():
    yield from torch()
    yield from safetensors()
