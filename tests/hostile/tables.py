"""Tables and folders of texts that are broken, or that lie."""

import functools
import os

import numpy as np

from tests.hostile.cases import READ, Case, written
from tests.hostile.images import NAMES, SPECIAL
from tlkeras.errors import is_obeyed

GOOD = "text,label\nfine,pos\nbad,neg\n"


def table(content, name="x.csv", check=None):
    """Returns what opens a table as `finetune` does."""

    def read(folder):
        from tlkeras.modalities.sources import open_source

        dataset = open_source(str(written(folder, name, content() if callable(content) else content)))
        assert not any(is_obeyed(char) for note in dataset.notes for char in note.path + note.reason), dataset.notes
        assert check is None or check(dataset), dataset
        if dataset.examples[0].path is not None:
            from tlkeras.modalities.images.formats import check_files

            check_files(dataset)
        return dataset

    return read


def count(number):
    return lambda dataset: len(dataset.examples) == number


READABLE = {
    "a mark of UTF-8": ("\ufeff" + GOOD, 2),
    "UTF-16": (GOOD.encode("utf-16"), 2),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"), 2),
    "UTF-32": (GOOD.encode("utf-32"), 2),
    "latin-1 with commas at the ends": ("text,label,,\nd\xe9j\xe0,pos,,\nbad,neg,,\n".encode("latin-1"), 2),
    "semicolons": ("text;label\nfine, really;pos\nbad;neg\n", 2),
    "tabs": ("text\tlabel\nfine\tpos\nbad\tneg\n", 2),
    "line ends of old systems": (GOOD.replace("\n", "\r"), 2),
    "line ends of every system": ("text,label\r\nfine,pos\rbad,neg\n", 2),
    "blank lines": ("\n\n" + GOOD.replace("\n", "\n\n"), 2),
    "5,000 columns of labels": (
        lambda: "text," + ",".join(f"c{number}" for number in range(5000)) + "\n" + f"a{',1' * 5000}\nb{',0' * 5000}\n" * 9,
        18,
    ),
    "a cell of 10 MB": (lambda: f"text,label\n{'x' * 10_000_000},pos\nbad,neg\n", 2),
    "a quoted cell of 10 MB": (lambda: f'text,label\n"{"x" * 10_000_000}",pos\nbad,neg\n', 2),
    "a row with too many cells": ("text,label\nfine,pos\nbad,neg\ngood, but long,pos\n", 2),
    "a row with too few cells": (GOOD + "lost\n", 2),
    "a quotation mark that is never closed": (GOOD + '"never closed,pos\n' + "more,neg\n" * 20, 22),
    "labels with HTML": ("text,label\nfine,<img src=x onerror=alert(1)>\nbad,<script>\n", 2),
    "labels with Markdown": ("text,label\nfine,`a` [b](javascript:x)\nbad,**c** | d\n", 2),
    "labels with a joiner": ("text,label\nfine,می‌خواهم\nbad,👩‍🔬\n", 2),
    "labels with a hard space": ("text,label\nfine,New\u00a0York\nbad,b\n", 2),
    "labels that are formulas": ("text,label\nfine,=cmd|'/C calc'!A0\nbad,@SUM(1)\n", 2),
    "labels that are NaN": ("text,label\nfine,pos\nbad,neg\nlost,NaN\nlost,\n", 2),
    "a label of 5,000 brackets": ("text,label\nfine," + "[" * 5000 + "\nbad,neg\n", 2),
    "a label of 5,000 pairs of brackets": ("text,label\nfine," + "[" * 5000 + "]" * 5000 + "\nbad,neg\n", 2),
    "a label that is a list of two million": (lambda: 'text,label\nfine,"[' + "1," * 2_000_000 + ']"\nbad,neg\n', 2),
    "a label that is a call": ("text,label\nfine,[__import__('os').system('touch canary')]\nbad,neg\n", 2),
    "1,000 columns": (
        "text,label," + ",".join(f"c{i}" for i in range(1000)) + "\n" + ("a,b" + "," * 1000 + "\n") + ("c,d" + "," * 1000 + "\n"),
        2,
    ),
    "bytes that are no text in one row": (GOOD.encode() + b"\xff\xfe\xfd,pos\n" + "größe,pos\n".encode() * 20, 22),
}
BROKEN = {
    "nothing": "",
    "one line": "text,label\n",
    "blanks": " \n \n",
    "only zeros": bytes(1000),
    "zeros in a label": "text,label\nfine,p\0os\nbad,neg\n",
    "an escape in a label": "text,label\nfine,\x1b[31mpos\nbad,neg\n",
    "a direction in a label": "text,label\nfine,\u202epos\nbad,neg\n",
    "a separator of lines in a label": "text,label\nfine,a\u2028b\nbad,neg\n",
    "no label": "text,other\nfine,pos\nbad,neg\n",
    "one class": "text,label\nfine,pos\ngood,pos\n",
    "a column twice": "text,label,label\nfine,pos,neg\nbad,neg,pos\n",
    "every label empty": "text,label\nfine,\nbad,\n",
    "100,000 columns": lambda: "text," + ",".join(f"c{number}" for number in range(100_000)) + "\n" + f"a{',5' * 100_000}\n" * 9,
    "100,000 columns without names": lambda: f"1{',5' * 100_000}\n" * 9,
    "pixels of 5,000 digits": "label," + ",".join(f"pixel{number}{'9' * 5000}" for number in range(16)) + f"\na{',1' * 16}\nb{',2' * 16}\n",
    "a split of 10 MB": lambda: f"text,label,split\nfine,pos,{'x' * 10_000_000}\nbad,neg,test\n",
    "an unknown split": "text,label,split\nfine,pos,trian\nbad,neg,test\n",
    "random bytes": lambda: np.random.default_rng(0).bytes(5000),
    "paths that leave the folder": "path,label\n../../../../etc/passwd,a\n/etc/shadow,b\n",
    "paths to devices": "path,label\n/dev/zero,a\n/dev/random,b\n",
    "paths with zeros": "path,label\na\0.png,a\nb\0.png,b\n",
    "paths that are too long": "path,label\n" + "a" * 5000 + ".png,a\n" + "b" * 5000 + ".png,b\n",
    "another kind of file": b"PK\x03\x04" + bytes(500),
    "a workbook": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
}
LINES = {
    "nothing": "",
    "a list": "[1, 2]\n",
    "a number": "1\n",
    "broken": '{"text": "a", "label": \n',
    "nested 100,000 deep": "[" * 100_000 + "\n",
    "objects nested 100,000 deep": '{"a":' * 100_000 + "1" + "}" * 100_000 + "\n",
    "a number of 5,000 digits": '{"text": "a", "label": ' + "9" * 5000 + "}\n",
    "a label that is an object": '{"text": "a", "label": {"x": 1}}\n{"text": "b", "label": {"x": 2}}\n',
    "a text that is a list": '{"text": ["a"], "label": "x"}\n{"text": ["b"], "label": "y"}\n',
    "a name with zeros": '{"te\\u0000xt": "a", "la\\u0000bel": "x"}\n',
    "20,000 keys of as many rows": lambda: "".join(f'{{"c{number}": 1}}\n' for number in range(20_000)),
    "a step of 400 digits": f'{{"id": "a", "step": {"9" * 400}, "x": 1, "label": "a"}}\n{{"id": "a", "step": 2, "x": 1, "label": "a"}}\n',
    "zeros": bytes(300),
    "UTF-16 cut in half": '{"text": "a"}\n'.encode("utf-16")[:-1],
}


def lines():
    for name, content in LINES.items():
        yield Case("JSON lines", name, table(content, "x.jsonl"))
    halves = '{"text": "a\\ud800", "label": "x"}\n{"text": "b", "label": "y"}\n'
    yield Case("JSON lines", "half a character", table(halves, "x.jsonl", count(2)), READ)
    yield Case(
        "JSON lines",
        "NaN",
        table('{"text": "a", "label": NaN}\n{"text": "b", "label": "x"}\n{"text": "c", "label": "y"}\n', "x.jsonl", count(2)),
        READ,
    )
    yield Case(
        "JSON lines", "a key twice", table('{"text": "a", "label": "x", "label": "y"}\n{"text": "b", "label": "z"}\n', "x.jsonl"), READ
    )


# === Folders of texts ===


def texts(make):
    def read(folder):
        from tlkeras.modalities.sources import open_source

        for label in ("cat", "dog"):
            (folder / label).mkdir()
            (folder / label / "good.txt").write_text(f"a {label}")
        make(folder)
        dataset = open_source(str(folder))
        assert not any(is_obeyed(char) for note in dataset.notes for char in note.path + note.reason), dataset.notes
        assert not any(is_obeyed(char) for example in dataset.examples for char in example.id)
        assert dataset.labels == ("cat", "dog")
        return dataset

    return read


def as_text(make):
    """Makes what the images' cases make, with names of texts."""

    def made(folder):
        make(folder)
        for parent, _, names in os.walk(folder):
            for name in names:
                if name.endswith(".png"):
                    os.rename(os.path.join(parent, name), os.path.join(parent, name[:-4] + ".txt"))

    return made


TEXTS = {
    "empty": b"",
    "not a text": bytes(range(256)) * 10,
    "UTF-16": "text".encode("utf-16"),
    "cut in the middle of a character": "größe".encode()[:3],
    "zeros": bytes(100),
    "65 MB": b"x" * (65 * 1024**2),
}


def folders():
    for name, make in SPECIAL.items():
        if name != "what systems leave":
            yield Case("file of a folder of texts", name, texts(as_text(make)), READ)
    for name, text in NAMES.items():
        yield Case(
            "file of a folder of texts",
            f"named with {name}",
            texts(functools.partial(lambda text, folder: written(folder / "cat", f"{text}.txt".replace("/", "_"), "text"), text)),
            READ,
        )
    for name, content in TEXTS.items():
        yield Case(
            "file of a folder of texts",
            name,
            texts(functools.partial(lambda c, folder: written(folder / "cat", "x.txt", c), content)),
            READ,
        )


def source(value):
    def read(folder):
        from tlkeras.modalities.sources import open_source

        return open_source(value(folder) if callable(value) else value)

    return read


def special(make, name):
    def value(folder):
        make(folder / name)
        return str(folder / name)

    return value


SOURCES = {
    "a zero character": "a\0b",
    "half a character": "a\udcffb",
    "a line break": "a\nb",
    "5,000 characters": "a" * 5000,
    "an unknown user": "~nobody_at_all/x",
    "nothing": "",
    "blanks": "  ",
    "an address": "https://example.com/data.zip",
    "a command": "$(touch canary)",
    "a pipe": special(os.mkfifo, "x.csv"),
    "a link to /dev/zero": special(lambda path: path.symlink_to("/dev/zero"), "x.csv"),
    "a link to itself": special(lambda path: path.symlink_to(path.name), "x.csv"),
    "a link to nowhere": special(lambda path: path.symlink_to("/nowhere"), "x.csv"),
    "a folder named as a table": special(lambda path: path.mkdir(), "x.csv"),
    "an empty folder": special(lambda path: path.mkdir(), "x"),
}


def cases():
    yield from (Case("table", name, table(content, check=count(rows)), READ) for name, (content, rows) in READABLE.items())
    yield from (Case("table", name, table(content)) for name, content in BROKEN.items())
    for name in ("a newline", "an escape", "half a character", "markup", "a formula"):
        file = NAMES[name].replace("/", "_") + ".csv"
        yield Case("name of a table", name, table(GOOD + "lost\n", file, count(2)), READ)
        yield Case("name of a table", f"{name}, JSON lines", table("[]\n", file[:-4] + ".jsonl"))
    for name in NAMES:
        cells = f'path,label\n"{NAMES[name]}.png",a\n"{NAMES[name]}2.png",b\n'
        yield Case("path in a table", name, table(cells.encode("utf-8", "surrogateescape")))
    yield from lines()
    yield from folders()
    yield from (Case("name of a source", name, source(value)) for name, value in SOURCES.items())
