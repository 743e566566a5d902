"""Files that tlkeras itself writes as JSON, with values that it never writes, as a careless or a hostile hand may leave them.

Where a file has the hash of its content, the hash is made anew: who changes the content can do that too.
"""

import copy
import functools
import hashlib
import io
import itertools
import json
import math
import os
import tempfile
from pathlib import Path

import matplotlib.font_manager  # noqa: F401  # once it writes what fonts there are: before the first case, not in its sandbox
import numpy as np

from tests.hostile.cases import EITHER, READ, Case

WRONG = {
    "null": None,
    "true": True,
    "-1": -1,
    "10^400": 10**400,
    "NaN": math.nan,
    "a text": "x",
    "a text of 10,000 letters": "x" * 10_000,
    "an escape": "\x1b]0;x\x07\n",
    "half a character": "\ud800",
    "a list": [],
    "a list of lists": [[[1]], 2],
    "an object": {},
    "an object of objects": {"a": {"b": {}}, "../x": 1},
}
ABSENT = object()
SHARE = 41  # one case of so many is in every test run
CATEGORY = "files that tlkeras writes"


def places(value, path=()):
    """Yields where something stands in a value: each key of objects, the first of lists."""
    inner = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    for key, held in inner:
        yield (*path, key)
        yield from places(held, (*path, key))


def changed(value, path, wrong):
    """Returns a value with something else in a place; without it where `wrong` is ABSENT."""
    value = copy.deepcopy(value)
    *parents, last = path
    holder = functools.reduce(lambda held, key: held[key], parents, value)
    if wrong is ABSENT:
        del holder[last]
    else:
        holder[last] = wrong
    return value


# === What is predicted ===

SCORES = {"threshold": 0.5, "n": 40, "alpha": 0.1, "coverage": 0.9}
CLASS = {
    "kind": "class",
    "name": "label",
    "labels": ["a", "b"],
    "facts": {
        "conformal": {**SCORES, "method": "aps"},
        "rejection": {**SCORES, "method": "probability"},
    },
}
SET = {
    "kind": "labels",
    "name": "tags",
    "labels": ["a", "b"],
    "facts": {"thresholds": [0.5, 0.4], "positive_weights": [1.0, 2.0], "conformal": {**SCORES, "method": "risk"}},
}
NUMBERS = {
    "kind": "numbers",
    "name": "size",
    "labels": ["w", "h"],
    "facts": {
        **{name: [1.0, 2.0] for name in ("mean", "std", "low", "high", "interval")},
        "loss": "squared",
        "interval_coverage": 0.9,
    },
}
SEVERAL = {"kind": "several", "name": "label", "parts": [CLASS, SET, NUMBERS], "facts": {"weights": {"label": 1.0}}}


def target(content, folder):
    from tlkeras.jobs import run_folder
    from tlkeras.jobs.run_folder import Run
    from tlkeras.tasks.certainty import check_target
    from tlkeras.tasks.registry import task_for

    (folder / "target.json").write_text(json.dumps(content))
    read = run_folder.read_target(Run(folder))
    check_target(task_for(read.kind), read)


# === Runs ===

METRICS = {
    "format": 1,
    "val": {"n": 0},
    "test": {"n": 50, "accuracy": 0.9, "loss": 0.3},
    "timing": {"total": 12.0},
    "data": {"fingerprint": "a" * 64},
    "exports": {"onnx": {"path": "model.onnx", "bytes": 3_000_000, "latency_ms": 2.0}},
    "config": {"backbone": "cnn", "recipe": "full", "task": "classification", "data": "photos", "export": ["onnx"]},
}


def runs(content, folder):
    """Compares a run with another one."""
    import tlkeras

    for name, summary in (("whole", METRICS), ("changed", content)):
        run = folder / name
        run.mkdir()
        (run / "config.yaml").write_text(json.dumps(METRICS["config"]))
        (run / "labels.txt").write_text("a\nb\n")
        (run / "metrics.json").write_text(json.dumps(summary))
    tlkeras.compare([folder / "whole", folder / "changed"], out=folder / "page.html").rows()


GALLERY = {"version": 1, "noun": "image", "thumbnails": {"a.png": "<img>"}, "map": {"method": "PCA", "points": [["a.png", 0.5, 1.0]]}}


def gallery(content, folder):
    from tlkeras.evaluation.report_data import read_gallery

    (folder / "examples.json").write_text(json.dumps(content))
    read_gallery(folder / "examples.json")


BACKBONE = {"name": "zoo:x/1", "row": "cnn", "licence": "Apache-2.0", "source": "here", "sections": [["all", ".*"]]}


def backbone(content, folder):
    from tlkeras.jobs import backbone_record
    from tlkeras.jobs.run_folder import Run

    (folder / "backbone.json").write_text(json.dumps(content))
    backbone_record.read(Run(folder))


# === Manifests ===

METADATA = {
    "task": "classification",
    "modality": "images",
    "image_size": "32",
    "resize": "crop",
    "channels": "3",
    "target": json.dumps(CLASS),
}
RECORD = {
    "path": "model.onnx",
    "bytes": 1,
    "sha256": hashlib.sha256(b"x").hexdigest(),
    "accuracy": 0.9,
    "latency_ms": 1.0,
    "runtime": "onnxruntime 1.23",
    "also": [],
    "verified": True,
}
MANIFEST = {
    "format": 1,
    "tlkeras": "1.0",
    "labels": ["a", "b"],
    "inputs": [{"name": "image", "shape": [None, 32, 32, 3], "dtype": "float32"}],
    "outputs": ["scores"],
    "metadata": METADATA,
    "artifacts": {"onnx": RECORD},
}


def exported(content, folder):
    from tlkeras.evaluation.prediction import known_target
    from tlkeras.export import manifest as manifests
    from tlkeras.modalities import inputs
    from tlkeras.tasks.certainty import check_target
    from tlkeras.tasks.registry import task_of

    (folder / "model.onnx").write_bytes(b"x")
    (folder / "manifest.json").write_text(json.dumps(content))
    manifest = manifests.read_manifest(folder)
    manifests.interface_of(manifest)
    with manifests.unchanged(folder, folder / "model.onnx"):
        check_target(task_of(manifest["metadata"]), known_target(manifest, folder / "model.onnx"))
        inputs.of_metadata(manifest["metadata"], folder)


ENTRY = {
    **MANIFEST,
    "artifacts": {"onnx": RECORD},
    "config": {"backbone": "cnn", "recipe": "full"},
    "data": {"source": "photos", "issues": {}, "train": 10, "val": 0, "test": 5, "skipped": 0, "fingerprint": "a" * 64},
    "licences": {"backbone weights": {"licence": "Apache-2.0", "source": "here"}},
    "metrics": {"test": {"n": 5, "accuracy": 0.9}},
    "sections": [["all", ".*"]],
    "backbone": {name: value for name, value in BACKBONE.items() if name != "sections"},
    "files": {name: {"bytes": 1, "sha256": RECORD["sha256"]} for name in ("model.onnx", "model.keras", "README.md")},
    "entry": {"name": "photos", "version": 1, "published": "2026-11-28T00:00:00Z"},
}


def entry(content, folder):
    """Does with an entry what reads its manifest and not its artifacts."""
    from tlkeras.cli.zoo import _figure
    from tlkeras.evaluation.prediction import known_target
    from tlkeras.export.manifest import interface_of
    from tlkeras.modalities import inputs
    from tlkeras.tasks.certainty import check_target
    from tlkeras.tasks.registry import task_of
    from tlkeras.zoo import bundle, manifest, store
    from tlkeras.zoo.compare import diff
    from tlkeras.zoo.store import Zoo

    home = folder / "photos" / "1"
    home.mkdir(parents=True)
    for name in ENTRY["files"]:
        (home / name).write_bytes(b"x")
    if isinstance(content.get("entry"), dict):
        content = {**content, "entry": {**content["entry"], "sha256": manifest.digest(content)}}
    (home / "manifest.json").write_text(json.dumps(content))
    zoo = Zoo(folder)
    read = zoo.get("photos")
    assert [str(one) for one in zoo.list()] == ["photos/1"]
    diff(read, read)
    _figure(read.manifest)
    bundle.take_out(read, folder / "taken")
    with store.copied(read, read.files):
        interface_of(read.manifest)
        check_target(task_of(read.manifest["metadata"]), known_target(read.manifest, home))
        inputs.of_metadata(read.manifest["metadata"], home)


def network(content, folder):
    """Takes an entry as a backbone."""
    from tlkeras.zoo import network as networks

    entry(content, folder)
    os.environ["TLKERAS_ZOO"] = str(folder)
    try:
        networks.row("photos")
    finally:
        del os.environ["TLKERAS_ZOO"]


# === Caches and states ===


def index(content, folder):
    from tlkeras.data.row_cache import RowCache

    pack = folder / "rows" / "contract" / "pack"
    pack.mkdir(parents=True)
    (pack / "rows.bin").write_bytes(bytes(32))
    text = json.dumps(content)
    (pack / "index.json").write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}", encoding="utf-8")
    cache = RowCache(folder=folder / "rows", limit=10**6)
    for read in cache.packs():
        collection = cache.collection(read.kind, read.contract, 16)
        collection.include(read)
        collection.read("a", np.zeros(4, "float32"))
        collection.key_of(Path("/photos/a.png"))
        collection.touch()
    cache.room(10)


INDEX = {
    "kind": "features",
    "contract": "a contract",
    "row_bytes": 16,
    "rows": {"a": [0, 1, {"fact": 1}], "b": [1, 2, None]},
    "sources": {"/photos/a.png": [[1, 2, 3], "a"]},
}


def state(content, folder):
    """Reads a checkpoint whose description is changed; a damaged one costs a warning."""
    from tlkeras.training.states import MAGIC, States

    body = io.BytesIO()
    described = np.frombuffer(json.dumps(content).encode(), "uint8")
    np.savez(body, described=described, **{"model/000000": np.zeros(3)})
    data = body.getvalue()
    (folder / "fit-0@000001.state").write_bytes(MAGIC + hashlib.sha256(data).digest() + data)
    States(folder=folder).load("fit-0")


STATE = {"counts": {"model": 1}, "facts": {"rows": [{"epoch": 1}], "best": {}, "done": False}}


@functools.cache
def vocabulary():
    """A folder with a vocabulary, as files: name -> content."""
    from tlkeras.modalities.texts import tokens
    from tlkeras.modalities.texts.tokenizers import TOKENIZERS

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b"]
        (folder / "vocabulary.txt").write_text("".join(f"{word}\n" for word in words))
        kind = TOKENIZERS.get("word_piece")
        tokenizer = kind.load(folder, {})
        tokens.Tokens(kind=kind, tokenizer=tokenizer, start=2, end=3, pad=0, length=8).save(folder)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def tokens_record():
    return json.loads(vocabulary()["tokens.json"])


def tokenizer(content, folder):
    from tlkeras.modalities.texts import tokens

    for name, data in vocabulary().items():
        (folder / name).write_bytes(data)
    (folder / "tokens.json").write_text(json.dumps(content))
    tokens.load(folder)


LATENCY = {"format": 1, "float": 2.0}


def kept(content, folder):
    from tlkeras.selection.cost import read_latency
    from tlkeras.training.engines import _remembered

    (folder / "x.json").write_text(json.dumps(content))
    read_latency(folder / "x.json")
    _remembered(folder / "x.json")


# Name -> the content as it is written, and what reads it.
RECORDS = {
    "target of a class": (lambda: CLASS, target),
    "target of sets": (lambda: SET, target),
    "target of numbers": (lambda: NUMBERS, target),
    "several targets": (lambda: SEVERAL, target),
    "metrics of a run": (lambda: METRICS, runs),
    "examples of a report": (lambda: GALLERY, gallery),
    "backbone of a run": (lambda: BACKBONE, backbone),
    "manifest of artifacts": (lambda: MANIFEST, exported),
    "manifest of an entry": (lambda: ENTRY, entry),
    "manifest of a network": (lambda: ENTRY, network),
    "index of a cache": (lambda: INDEX, index),
    "checkpoint": (lambda: STATE, state),
    "tokenizer": (tokens_record, tokenizer),
    "what is kept": (lambda: LATENCY, kept),
}


def record(name, path, wrong):
    """Returns what reads a file of ours with something else in a place."""

    def read(folder):
        make, reader = RECORDS[name]
        return reader(changed(make(), path, wrong), folder)

    return read


def cases():
    count = itertools.count(1)
    for name, (make, reader) in RECORDS.items():
        yield Case(CATEGORY, f"{name} as we write it", functools.partial(_whole, make, reader), READ)
        for path in places(make()):
            for kind, wrong in {**WRONG, "absent": ABSENT}.items():
                where = ".".join(map(str, path))
                yield Case(CATEGORY, f"{name}: {where} is {kind}", record(name, path, wrong), EITHER, slow=next(count) % SHARE > 0)


def _whole(make, reader, folder):
    reader(make(), folder)
