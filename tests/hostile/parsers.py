"""Every parser of ours, what is tried on it, and what it may answer: for `test_fuzz.py`, and `guided.py`."""

import functools
import io
import json
import tempfile
import time
import zipfile
from pathlib import Path

from hypothesis import strategies as st

from tests.hostile import arrays, artifacts, checkpoints, hdf5, images, parquet, records, tables
from tlkeras import files
from tlkeras.config import RunConfig, read_yaml
from tlkeras.config.fields import keys
from tlkeras.data import sheets
from tlkeras.data.cells import clean, label_texts, number, parsed_list
from tlkeras.data.labels import read_labels
from tlkeras.data.sources.columns import Columns
from tlkeras.data.sources.encoding import decode_text, detect_encoding
from tlkeras.data.sources.idx import read_idx
from tlkeras.data.sources.listing import absent, readable
from tlkeras.data.sources.table import read_table
from tlkeras.errors import TlkerasError, is_obeyed, printable, shown
from tlkeras.modalities.images import headers
from tlkeras.modalities.images.formats import decodable
from tlkeras.modalities.sources import open_source
from tlkeras.tasks.markup import code, fenced, plain
from tlkeras.weights import pickle_machine, safetensors_file, torch_pickle
from tlkeras.weights.keras_file import config_in

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))

# === What is tried ===

TEXTS = st.text(max_size=200)
BYTES = st.binary(max_size=2000)
INSTRUCTIONS = st.lists(
    st.sampled_from([*pickle_machine.INSTRUCTIONS, *(bytes([i]) for i in range(256)), *checkpoints.LIES.values()]), max_size=60
)
PICKLES = st.one_of(BYTES, INSTRUCTIONS.map(lambda parts: b"\x80\x02" + b"".join(parts) + b"."))
MARKS = (
    "\n",
    "\r",
    "\r\n",
    ",",
    ";",
    "\t",
    "|",
    '"',
    '""',
    "\0",
    "\ufeff",
    "text",
    "label",
    "path",
    "1",
    "nan",
    "[",
    "]",
    "{",
    "}",
    ":",
    "- ",
    "&a",
    "*a",
)
TABLES = st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=5)), max_size=80).map("".join)
IMAGES = st.tuples(
    st.sampled_from(sorted(images.FORMATS)),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12),
    st.integers(0, 100),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=30,
)
VALUES = st.dictionaries(st.sampled_from([key.key for key in keys(RunConfig)]), JSON, max_size=4)
ROWS = st.lists(st.dictionaries(st.text(min_size=1, max_size=8), TEXTS, min_size=1, max_size=4), min_size=1, max_size=5)


def changed(content, changes, percent):
    data = bytearray(content[: len(content) * percent // 100])
    for place, value in changes if data else ():
        data[place % len(data)] = value
    return bytes(data)


def file(content, name):
    path = FOLDER / name
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return path


def written(rows):
    sheets.write_rows(FOLDER / "rows.csv", rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    assert sheets.read_rows(FOLDER / "rows.csv") == [{name: row.get(name, "") for name in names} for row in rows]


def marked(text):
    line = printable(text)
    assert not any(map(is_obeyed, line)) and len(line.splitlines()) <= 1
    assert len(shown(text, 50)) <= 50
    span, block = code(text), fenced(text)
    fence = span[: len(span) - len(span.lstrip("`"))]
    assert span.endswith(fence) and fence not in span[len(fence) : -len(fence)].replace(fence + "`", "")
    assert block.count(block.split("\n")[0]) == 2 and "<" not in plain(text).replace("\\<", "")


def image(change):
    name, changes, percent = change
    return decodable(changed(images.image(name), changes, percent))


def header(data):
    for kind in headers.SIZES:
        headers.check(data, kind)
    headers.first_frame(b"GIF89a" + data)


def archive(parts):
    config, changes = parts
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr("config.json", config)
    with zipfile.ZipFile(io.BytesIO(changed(buffer.getvalue(), changes, 100))) as held:
        config_in(held)


def encoded(content):
    encoding = detect_encoding(content)
    decode_text(content, encoding)


def cell(text):
    parsed_list(text)
    number(text)
    clean(text)
    label_texts([text, "a"], where=["x:1", "x:2"], names=None, known=())


def artifact(kind, changes):
    artifacts.read(kind, lambda: changed(artifacts.GOOD[kind](), changes, 100))(FOLDER)


def record(name, change):
    number, value = change
    content = records.RECORDS[name][0]()
    every = list(records.places(content))
    in_a_folder(records.record(name, every[number % len(every)], value))


def in_a_folder(read):
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        read(Path(folder))


def weights(changes):
    in_a_folder(hdf5.filled(".h5", lambda file: file.write_bytes(changed(file.read_bytes(), changes, 100))))


def path(text):
    absent(text)
    readable(text)
    open_source(text)


OURS = (TlkerasError,)
OF_ARCHIVES = (TlkerasError, ValueError, OSError, zipfile.BadZipFile, KeyError, RuntimeError, EOFError, NotImplementedError)
PLACES = st.tuples(st.integers(0, 100), JSON)
CHANGES = st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=8)
# Name -> what is tried, the parser, and the errors that its docstring names.
PARSERS = {
    "pickle of PyTorch in an archive": (PICKLES, lambda data: torch_pickle.read(file(checkpoints.archive(data), "x.pth")), OURS),
    "pickle of PyTorch": (PICKLES, lambda data: torch_pickle.read(file(checkpoints.legacy(data), "x.pth")), OURS),
    "archive of PyTorch": (
        CHANGES,
        lambda c: torch_pickle.read(file(changed((checkpoints.GOLDEN / "zip.pth").read_bytes(), c, 100), "x.pth")),
        OURS,
    ),
    "safetensors": (BYTES, lambda data: safetensors_file.read(file(checkpoints.tensors(data), "x.safetensors")), OURS),
    "index of safetensors": (
        JSON,
        lambda value: safetensors_file.read(file(json.dumps({"weight_map": value}), "x.safetensors.index.json")),
        OURS,
    ),
    "config in a Keras archive": (st.tuples(JSON.map(json.dumps) | BYTES, CHANGES), archive, OF_ARCHIVES),
    **{f"operations of {kind}": (CHANGES, functools.partial(artifact, kind), OURS) for kind in artifacts.GOOD},
    "headers of images": (BYTES, header, OURS),
    "images": (IMAGES, image, OURS),
    "delimited table": (TABLES, lambda text: read_table(file(text, "x.csv"), "x.csv", Columns()), OURS),
    "table": (TABLES, lambda text: open_source(str(file("text,label\n" + text, "x.csv"))), OURS),
    "JSON lines": (st.lists(JSON.map(json.dumps) | TEXTS).map("\n".join), lambda text: open_source(str(file(text, "x.jsonl"))), OURS),
    "encoding": (BYTES, encoded, OURS),
    "cell": (st.lists(st.sampled_from(MARKS) | TEXTS, max_size=20).map("".join), cell, OURS),
    "idx": (BYTES, lambda data: read_idx(file(b"\0\0\x08\x03" + data, "x"), 3), OURS),
    "npz": (CHANGES, lambda changes: files.read_npz(file(changed(arrays.good(), changes, 100), "x.npz")), (ValueError, OSError)),
    "npy": (BYTES, lambda data: files.read_npy(io.BytesIO(b"\x93NUMPY\x01\x00" + data)), (ValueError, OSError)),
    "HDF5": (CHANGES, weights, OURS),
    "Parquet": (CHANGES, lambda changes: in_a_folder(tables.table(changed(parquet.good(), changes, 100), "x.parquet")), OURS),
    **{f"our own files: {name}": (PLACES, functools.partial(record, name), OURS) for name in records.RECORDS},
    "config file": (TABLES | TEXTS, lambda text: RunConfig.from_dict(read_yaml(file(text, "c.yaml"))), OURS),
    "config values": (VALUES, lambda values: RunConfig.from_dict(values).to_dict(), OURS),
    "file of labels": (BYTES | TEXTS, lambda content: read_labels(file(content, "labels.txt")), OURS),
    "name of a source": (TEXTS, path, OURS),
    "csv that we write": (ROWS, written, ()),
    "texts on cards and screens": (TEXTS, marked, ()),
}


def check(name, value):
    """Reads a value with a parser, which answers in time, or says on one line why it cannot."""
    _, parse, expected = PARSERS[name]
    started = time.process_time()
    try:
        parse(value)
    except expected as error:
        if isinstance(error, TlkerasError):
            text = str(error)
            assert len(text.splitlines()) == 1 and not any(map(is_obeyed, text)), text
    assert time.process_time() - started < 2
