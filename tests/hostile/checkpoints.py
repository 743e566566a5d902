"""Files of weights and models that are damaged, lie, or hold code."""

import functools
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import h5py
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


# === Keras ===


@functools.cache
def _network():
    from tlkeras.backbones import load as loading

    return loading.load("cnn", image_size=8, weights="none", options={"filters1": 2, "filters2": 2, "dense": 2}).model


@functools.cache
def _file(ending):
    import tempfile
    import warnings

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        path = Path(folder) / f"x{ending}"
        (_network().save_weights if ending == ".weights.h5" else _network().save)(path)
        return path.read_bytes()


def filled(ending, change):
    """Returns what fills a network from a file of weights that a function changes."""

    def read(folder):
        from tlkeras.backbones.registry import BACKBONES
        from tlkeras.weights import formats

        path = written(folder, f"x{ending}", _file(ending))
        change(path)
        return formats.load_file(BACKBONES.get("cnn"), _network(), str(path))

    return read


def h5(change):
    def changed(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return changed


def first(file):
    """Returns the group and the name of the first array."""
    names = []
    file.visititems(lambda name, entry: names.append(name) if isinstance(entry, h5py.Dataset) else None)
    parent, _, name = names[0].rpartition("/")
    return (file[parent] if parent else file), name


def replaced(make):
    def change(file):
        group, name = first(file)
        shape, dtype = group[name].shape, group[name].dtype
        del group[name]
        make(group, name, shape, dtype)

    return h5(change)


def _virtual(group, name, shape, dtype):
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", shape, dtype)
    group.create_virtual_dataset(name, layout)


HDF5 = {
    "nothing": lambda path: path.write_bytes(b""),
    "a web page": lambda path: path.write_text("<html>"),
    "only a mark": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"),
    "a link out of it": replaced(lambda group, name, shape, dtype: group.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/x"))),
    "a link inside it": replaced(lambda group, name, shape, dtype: group.__setitem__(name, h5py.SoftLink("/"))),
    "a link to itself": replaced(lambda group, name, shape, dtype: group.__setitem__(name, h5py.SoftLink(f"{group.name}/{name}"))),
    "values in another file": replaced(
        lambda group, name, shape, dtype: group.create_dataset(name, shape, dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
    ),
    "a virtual data set": replaced(_virtual),
    "4 TB without content": replaced(lambda group, name, shape, dtype: group.create_dataset(name, (1 << 40,), "f4", chunks=(1 << 20,))),
    "texts": replaced(lambda group, name, shape, dtype: group.create_dataset(name, shape, h5py.string_dtype())),
    "a structure": replaced(lambda group, name, shape, dtype: group.create_dataset(name, shape, [("a", "f4")])),
    "a group in its place": replaced(lambda group, name, shape, dtype: group.create_group(name)),
    "another shape": replaced(lambda group, name, shape, dtype: group.create_dataset(name, (9, 9), "f4")),
    "an array missing": replaced(lambda group, name, shape, dtype: None),
    "1,000 groups inside each other": h5(lambda file: functools.reduce(lambda group, _: group.create_group("g"), range(1000), file)),
    "a group that contains itself": h5(lambda file: file.create_group("layers2").__setitem__("loop", file["/"])),
}


def keras_archive(change):
    """Returns what reads a `.keras` file whose members a function changes, as `export` does."""

    def read(folder):
        from tlkeras.jobs.model_files import read as read_model

        return read_model(changed(folder, change))

    return read


def changed(folder, change):
    with zipfile.ZipFile(io.BytesIO(_file(".keras"))) as source:
        members = {name: source.read(name) for name in source.namelist()}
    compression = change(members) or zipfile.ZIP_STORED
    path = folder / "x.keras"
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return path


def layered(layer):
    """Puts a layer of this config in the place of the last layer of the network."""

    def change(members):
        config = json.loads(members["config.json"])
        last = config["config"]["layers"][-1]
        last.update({**layer, "name": last["name"], "config": {**layer["config"], "name": last["name"]}})
        members["config.json"] = json.dumps(config).encode()

    return change


def whole(config):
    return lambda members: members.__setitem__("config.json", config if isinstance(config, bytes) else json.dumps(config).encode())


def called(module, name, *args, **kwargs):
    """The config of a function that is called on a tensor: keras.ops and other functions of a functional model."""
    return {"module": module, "class_name": "function", "config": name, "registered_name": name, "args": args, "kwargs": kwargs}


def lambda_layer():
    import base64
    import marshal

    code = marshal.dumps(compile("lambda x: __import__('os').system('touch canary')", "x", "eval").co_consts[0])
    return {
        "module": "keras.layers",
        "class_name": "Lambda",
        "registered_name": None,
        "config": {
            "function": {"class_name": "__lambda__", "config": {"code": base64.b64encode(code).decode(), "defaults": None, "closure": None}}
        },
    }


def nested(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


def _object(module, name, config):
    return {"module": module, "class_name": name, "registered_name": None, "config": config}


LAYERS = {
    "Lambda (CVE-2024-3660)": lambda_layer,
    "TFSMLayer": lambda: _object("keras.layers", "TFSMLayer", {"filepath": "/tmp/evil", "call_endpoint": "serve"}),
    "TorchModuleWrapper (CVE-2025-49655)": lambda: _object(
        "keras.layers", "TorchModuleWrapper", {"module": "gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg=="}
    ),
    "a class of os (CVE-2025-1550)": lambda: _object("os", "system", {"command": "touch canary"}),
    "a function of os as an activation (CVE-2025-1550)": lambda: _object(
        "keras.layers",
        "Activation",
        {"activation": {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}},
    ),
    "subprocess as an initialiser (CVE-2025-1550)": lambda: _object(
        "keras.layers", "Dense", {"units": 2, "kernel_initializer": _object("subprocess", "Popen", {"args": ["touch", "canary"]})}
    ),
    "get_file as an activation (CVE-2025-8747)": lambda: _object(
        "keras.layers",
        "Activation",
        {"activation": {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"}},
    ),
    "the switch of unsafe reading (CVE-2025-9906)": lambda: _object(
        "keras.layers",
        "Activation",
        {
            "activation": {
                "module": "keras.config",
                "class_name": "function",
                "config": "enable_unsafe_deserialization",
                "registered_name": None,
            }
        },
    ),
    "a vocabulary at a path (CVE-2025-12058)": lambda: _object("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
    "a vocabulary at an address (CVE-2025-12058)": lambda: _object(
        "keras.layers", "TextVectorization", {"vocabulary": "https://x.invalid/v.txt"}
    ),
    "an unknown layer": lambda: _object("evil.layers", "Evil", {}),
    "a registered name of nothing": lambda: {**_object("builtins", "Evil", {}), "registered_name": "evil>Evil"},
    "eval of builtins": lambda: _object("builtins", "eval", {"source": "1"}),
    "a module of tlkeras": lambda: _object("tlkeras.files", "write", {"path": "canary", "content": "x"}),
    "numpy": lambda: _object("numpy", "fromfile", {"file": "/etc/passwd"}),
    "a class of Keras that is no layer": lambda: _object("keras.callbacks", "CSVLogger", {"filename": "canary"}),
    "a tensor of 4 TB": lambda: _object(
        "keras.layers", "Rescaling", {"scale": {"class_name": "__tensor__", "config": {"value": [1.0], "dtype": "evil"}}}
    ),
    "a slice of nothing": lambda: _object(
        "keras.layers", "Activation", {"activation": {"class_name": "__typespec__", "spec_name": "evil", "module": "os"}}
    ),
    "10^12 units": lambda: _object("keras.layers", "Dense", {"units": 10**12}),
    "-1 units": lambda: _object("keras.layers", "Dense", {"units": -1}),
}
ARCHIVES = {
    "no config": lambda members: members.pop("config.json") and None,
    "an empty config": whole(b""),
    "a config that is a list": whole([]),
    "a config that is a number": whole(1),
    "a config that is not UTF-8": whole(b"\xff\xfe{"),
    "a config nested 500 deep": whole(nested(500)),
    "a config nested 100,000 deep": whole(nested(100_000)),
    "a config of 65 MB": lambda members: members.__setitem__("config.json", b" " * (65 * 1024**2)),
    "a config of 280 MB in 280 kB": lambda members: (members.__setitem__("config.json", b" " * (280 << 20)), zipfile.ZIP_DEFLATED)[1],
    "weights of 280 MB in 280 kB": lambda members: (members.__setitem__("model.weights.h5", bytes(280 << 20)), zipfile.ZIP_DEFLATED)[1],
    "no weights": lambda members: members.pop("model.weights.h5") and None,
    "weights that are none": lambda members: members.__setitem__("model.weights.h5", b"junk"),
    "metadata that is none": lambda members: members.__setitem__("metadata.json", b"["),
    "a version that is a list": lambda members: members.__setitem__("metadata.json", b'{"keras_version": ["3"]}'),
}
LEAVING = (
    "../canary",
    "../../canary",
    "/tmp/tlkeras_canary",
    "assets/../../canary",
    "assets/x/../../../canary",
    "..\\canary",
    "C:\\canary",
)


def keras_files():
    for ending in (".weights.h5", ".h5"):
        for name, change in HDF5.items():
            odd = name.startswith(("1,000", "a group that contains"))
            yield Case(f"HDF5 ({ending})", name, filled(ending, change), EITHER if odd else "rejected")
        for percent in range(0, 100, 1):
            cut = functools.partial(lambda p, path: path.write_bytes(path.read_bytes()[: path.stat().st_size * p // 100]), percent)
            yield Case(f"HDF5 ({ending})", f"cut at {percent} %", filled(ending, cut), slow=percent % 20 > 0)
        for seed in range(100):
            yield Case(f"HDF5 ({ending})", f"a byte changed {seed}", filled(ending, functools.partial(_byte, seed)), EITHER, slow=seed >= 3)
    for name, layer in LAYERS.items():
        yield Case(".keras: layer", name, keras_archive(lambda members, layer=layer: layered(layer())(members)))
        yield Case(".keras: layer", f"{name}, as weights", filled(".keras", functools.partial(_relayered, layer)))
    yield from (
        Case(".keras: archive", name, keras_archive(change)) for name, change in ARCHIVES.items() if not name.startswith("a version")
    )
    yield from (
        Case(".keras: archive", name, keras_archive(change), EITHER) for name, change in ARCHIVES.items() if name.startswith("a version")
    )
    for name in LEAVING:
        # The member is not unpacked where nothing asks for it.
        yield Case(".keras: archive", f"member {name}", keras_archive(lambda members, name=name: members.__setitem__(name, b"x")), EITHER)
    yield Case(
        "Keras 2", "Lambda in HDF5 (CVE-2025-9905)", hdf5_model(lambda config: config["config"]["layers"][-1].update(lambda_of_keras_2()))
    )
    yield Case("Keras 2", "no config", hdf5_model(None))
    yield Case("Keras 2", "a config nested 100,000 deep", hdf5_model("[" * 100_000))
    yield Case("Keras 2", "a config that is a list", hdf5_model("[]"))
    yield Case(
        "Keras 2",
        "a class of os (CVE-2025-1550)",
        hdf5_model(lambda config: config["config"]["layers"][-1].update(_object("os", "system", {}))),
    )
    yield Case("Keras 2", "a pipe", _special(os.mkfifo))
    yield Case("Keras 2", "/dev/zero", _special(lambda path: path.symlink_to("/dev/zero")))


def _special(make):
    def read(folder):
        from tlkeras.jobs.model_files import read as read_model

        make(folder / "x.h5")
        return read_model(folder / "x.h5")

    return read


def lambda_of_keras_2():
    layer = lambda_layer()
    function = layer["config"].pop("function")["config"]["code"]
    return {
        "class_name": "Lambda",
        "module": "keras.layers",
        "registered_name": None,
        "config": {"name": "evil", "function": [function, None, None], "function_type": "lambda"},
    }


def hdf5_model(change):
    def read(folder):
        from tlkeras.jobs.model_files import read as read_model

        path = written(folder, "x.h5", _file(".h5"))
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            if change is None:
                del file.attrs["model_config"]
            elif callable(change):
                change(config)
                file.attrs["model_config"] = json.dumps(config)
            else:
                del file.attrs["model_config"]
                file.attrs.create("model_config", change if len(change) < 60_000 else change[:60_000])
        return read_model(path)

    return read


def _relayered(layer, path):
    changed(path.parent, lambda members: layered(layer())(members))


def _byte(seed, path):
    data = bytearray(path.read_bytes())
    data[int(np.random.default_rng(seed).integers(len(data)))] ^= 0xFF
    path.write_bytes(data)


def cases():
    yield from torch()
    yield from safetensors()
    yield from keras_files()
