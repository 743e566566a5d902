"""Models in files of Keras that are damaged, lie, or hold code: `.keras` archives, and whole models in `.h5`."""

import functools
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path

import h5py

from tests.hostile.cases import EITHER, REJECTED, Case, written
from tests.hostile.hdf5 import BESIDE, HDF5, byte, filled, h5, one_group, stored


def inside(change):
    """Changes the file of weights in a `.keras` archive."""

    def changed(members):
        with tempfile.TemporaryDirectory() as folder:
            path = written(Path(folder), "x.h5", members["model.weights.h5"])
            change(path)
            members["model.weights.h5"] = path.read_bytes()

    return changed


def whole_h5(change):
    """Returns what reads a whole model in an `.h5` file that a function changes, as `export` does."""

    def read(folder):
        from tlkeras.jobs.model_files import read as read_model

        path = written(folder, "x.h5", stored(".h5"))
        change(path)
        return read_model(path)

    return read


def keras_archive(change):
    """Returns what reads a `.keras` file whose members a function changes, as `export` does."""

    def read(folder):
        from tlkeras.jobs.model_files import read as read_model

        return read_model(changed(folder, change))

    return read


def changed(folder, change):
    with zipfile.ZipFile(io.BytesIO(stored(".keras"))) as source:
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
    "TFSMLayer (CVE-2026-1462)": lambda: _object("keras.layers", "TFSMLayer", {"filepath": "/tmp/evil", "call_endpoint": "serve"}),
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
    "10^9 units": lambda: _object("keras.layers", "Dense", {"units": 10**9}),
    "2^31 - 1 words": lambda: _object("keras.layers", "Embedding", {"input_dim": 2**31 - 1, "output_dim": 8}),
    "a state of 2^31 - 1 numbers": lambda: _object("keras.layers", "GRU", {"units": 2**31 - 1, "stateful": True}),
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


def cases():
    yield from models_in_hdf5()
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


IN_KERAS = ("a link out", "values in another", "a virtual", "4 TB", "3.6 GB")  # cases of HDF5 files that are tried in archives each time


def models_in_hdf5():
    """HDF5 files that are read by Keras' own readers: weights in an archive, and whole models."""
    for name, change in HDF5.items():
        expect = (
            EITHER if name.startswith((*BESIDE, "a structure")) else REJECTED
        )  # NumPy takes the one field of a structure for its numbers
        yield Case(".keras: weights", name, keras_archive(inside(change)), expect, slow=not name.startswith(IN_KERAS))
        yield Case("Keras 2: weights", name, whole_h5(change), EITHER if name.startswith("1,000") else REJECTED)
    yield Case("Keras 2: weights", "1,000 layers with one group", whole_h5(h5(one_group)))
    for seed in range(100):
        change = functools.partial(byte, seed)
        yield Case(".keras: weights", f"a byte changed {seed}", keras_archive(inside(change)), EITHER, slow=True)
        yield Case("Keras 2: weights", f"a byte changed {seed}", whole_h5(change), EITHER, slow=seed >= 3)


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

        path = written(folder, "x.h5", stored(".h5"))
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
