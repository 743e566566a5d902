"""Config files, label files and values that are broken, or that lie."""

import functools
import os

from tests.hostile.cases import READ, Case, written

BILLION = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
FILES = {
    "a call": "data: !!python/object/apply:os.system ['touch canary']\n",
    "a new object": "data: !!python/object/new:subprocess.Popen [['touch', 'canary']]\n",
    "a name": "data: !!python/name:os.system\n",
    "a module": "data: !!python/module:os\n",
    "an unknown tag": "data: !evil x\n",
    "binary": "data: !!binary aGk=\n",
    "a set": "data: !!set {a, b}\n",
    "ten billion aliases": BILLION,
    "ten billion aliases in a value": BILLION.replace("\nj:", "\nexport:"),
    "a list that contains itself": "data: &a [*a]\n",
    "an anchor": "data: &a x\nout: *a\n",
    "a merge of lists": "<<: [1, 2]\n",
    "a key twice": "epochs: 1\nepochs: 2\n",
    "5,000 brackets": "data: " + "[" * 5000,
    "5,000 pairs of brackets": "data: " + "[" * 5000 + "]" * 5000,
    "5,000 braces": "data: " + "{a: " * 5000,
    "5,000 dashes": "- " * 5000 + "x",
    "NaN": "learning_rate: .nan\n",
    "infinity": "learning_rate: .inf\n",
    "a rate beyond floats": "learning_rate: 1e999\n",
    "a whole rate beyond floats": "learning_rate: " + "9" * 400 + "\n",
    "a number of 5,000 digits": "seed: " + "9" * 5000 + "\n",
    "a number of base 60": "seed: " + ":".join(["59"] * 1000) + "\n",
    "a seed below 0": "seed: -1\n",
    "a seed of 2^32": f"seed: {2**32}\n",
    "10^30 epochs": f"epochs: {10**30}\n",
    "10^30 as a text": "epochs: '1e30'\n",
    "a date": "data: 2020-13-45\n",
    "a date as a path": "data: 2020-12-25\n",
    "a key that is a list": "? [a]\n: b\n",
    "a key that is a number": "1: 2\n",
    "a key with an escape": '"\\e[31m": 2\n',
    "20,000 keys": "{" + ", ".join(chr(0xA1 + number // 100) + str(number % 100) for number in range(20_000))[: 2**16 - 9] + "}",
    "20,000 keys twice": "{" + "ab," * 20_000 + "}",
    "20,000 lists": "data: [" + "[]," * 20_000 + "]",
    "a list": "- a\n",
    "a text": "just a text\n",
    "two documents": "seed: 1\n---\nseed: 2\n",
    "a directive": "%YAML 9.9\n---\nseed: 1\n",
    "zeros": bytes(100),
    "a zero": b"data: a\0b\n",
    "latin-1": "data: größe\n".encode("latin-1"),
    "UTF-16 without a mark": "seed: 1\n".encode("utf-16-le"),
    "random bytes": bytes(range(128, 256)) * 10,
    "10 MB": "# " + "x" * 10_000_000 + "\nseed: 1\n",
    "tabs": "\tseed: 1\n",
    "a quotation mark that is never closed": "data: 'x\n",
    "a rule of another form": "freeze_rules: [[[[1]]]]\n",
    "an unknown key of 100,000 letters": "k" * 100_000 + ": 1\n",
    "a value of 100,000 letters for a number": "epochs: " + "x" * 100_000 + "\n",
    "an empty path": "data: ''\n",
    "true for a number": "epochs: true\n",
}
FINE = {
    "nothing": "",
    "comments": "# nothing\n",
    "a merge": "<<: {seed: 1}\n",
    "JSON": '{"seed": 1}',
    "a mark of UTF-8": "\ufeffseed: 1\n",
    "names in every script": "data: 猫/قطة\n",
}


def config(content):
    def read(folder):
        from tlkeras.config import RunConfig, read_yaml

        return RunConfig.from_dict(read_yaml(written(folder, "c.yaml", content)))

    return read


def path_of(make):
    def read(folder):
        from tlkeras.config import read_yaml

        path = folder / "c.yaml"
        return read_yaml(make(path) or path)

    return read


PATHS = {
    "a pipe": lambda path: os.mkfifo(path),
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a folder": lambda path: path.mkdir(),
    "absent": lambda path: None,
    "a zero character": lambda path: "a\0b",
    "half a character": lambda path: "a\udcffb",
    "5,000 characters": lambda path: "a" * 5000,
}
VALUES = {
    "seed": [-1, 2**32, 10**5000, 1.5, "0", None, True, [1]],
    "epochs": [0, -1, 10**30, "many", float("inf"), 2.5],
    "learning_rate": [float("nan"), float("inf"), -1.0, "fast", 10**400],
    "val_split": [float("nan"), 0.95, -0.1],
    "dropout": [float("nan"), 1.0],
    "batch_size": [0, 10**12],
    "mixup": [float("inf"), float("nan")],
    "max_minutes": [float("inf"), -1.0],
    "patience": [10**30],
    "limit": [1, 10**30],
    "image_size": [7, 4097],
    "resize": ["squash", "", "x" * 100_000],
    "export": [[""], [1], {"a": 1}],
    "backbone_options": ["a", "=1", "a="],
}


def value(name, content):
    def read(folder):
        from tlkeras.config import RunConfig

        return RunConfig.from_dict({name: content})

    return read


LABELS = {
    "nothing": b"",
    "blanks": b"\n \n",
    "a label twice": b"a\na\n",
    "latin-1": "größe\n".encode("latin-1"),
    "UTF-16 cut in half": "ab".encode("utf-16")[:-1],
    "17 MB": b"a\n" * (9 * 1024**2),
}


def labels(make):
    def read(folder):
        from tlkeras.data.labels import read_labels

        path = folder / "labels.txt"
        if callable(make):
            path = make(path) or path
        else:
            path.write_bytes(make)
        return read_labels(path)

    return read


def cases():
    yield from (Case("config file", name, config(content)) for name, content in FILES.items())
    yield from (Case("config file", name, config(content), READ) for name, content in FINE.items() if name != "a mark of UTF-8")
    yield from (Case("config file", f"path: {name}", path_of(make)) for name, make in PATHS.items())
    for name, contents in VALUES.items():
        for index, content in enumerate(contents):
            yield Case("config value", f"{name} {index}", value(name, content))
    yield from (Case("file of labels", name, labels(content)) for name, content in LABELS.items())
    yield from (Case("file of labels", f"path: {name}", labels(functools.partial(make))) for name, make in PATHS.items())
