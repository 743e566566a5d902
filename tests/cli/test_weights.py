"""`tlkeras weights`: what there is, what is here, and its removal."""

import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT
from tlkeras.backbones.registry import BACKBONES
from tlkeras.cli.main import app


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A cache with converted weights of one backbone and the folder of another."""
    monkeypatch.setenv("TLKERAS_CACHE", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path.parent / "keras"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path.parent / "kagglehub"))
    lite, bert = BACKBONES.get("efficientnet"), BACKBONES.get("bert")
    (tmp_path / f"{lite.weights[0].stem(lite)}-abc.weights.h5").write_bytes(b"x" * 100)
    bert.weights[0].cached.mkdir()
    (bert.weights[0].cached / "model.safetensors").write_bytes(b"x" * 50)
    (tmp_path / "mine.txt").write_text("kept")
    return tmp_path


def run(*arguments):
    done = CliRunner().invoke(app, ["weights", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_every_source_of_every_backbone_is_listed_with_its_licence(kept):
    rows = json.loads(run("list", "--json"))
    assert {row["backbone"] for row in rows} == {row.name for row in BACKBONES if row.weights}
    assert all(row["licence"] and row["state"] for row in rows)
    assert {row["backbone"]: row["bytes"] for row in rows if row["state"] == "cached"} == {"efficientnet_lite0": 100, "minilm_l6": 50}


def theirs(tmp_path, source):
    """Where the library that downloads this source keeps it."""
    if source.kind == "keras":
        return tmp_path.parent / "keras" / "models" / source.file
    return tmp_path.parent / "kagglehub" / "models" / "keras" / "any" / "keras" / source.preset / "2" / "model.weights.h5"


@pytest.mark.parametrize("name", ["resnet50", "bert_base"])
def test_what_keras_and_kerashub_keep_is_shown_and_never_deleted(kept, name):
    row = BACKBONES.get(name)
    source = next(one for one in row.weights if one.kind in ("keras", "hub"))
    assert {one["state"] for one in json.loads(run("list", name, "--json")) if one["kind"] == source.kind} == {"to download"}
    path = theirs(kept, source)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 3_000_000)
    (found,) = [one for one in json.loads(run("list", name, "--json")) if one["kind"] == source.kind]
    assert (found["state"], found["bytes"]) == ("cached by it", 3_000_000)
    assert "3.0 MB" in run("list", name)
    assert run("clear", name).startswith("0.0 MB freed") and path.exists()


SMALL = ("mobilenet", "mobilenet_v3_small", "vgg16")  # names with sizes, with a minimal variant, and of one file
DOWNLOADED = [(row, one) for row in BACKBONES for one in row.weights if one.kind == "keras"]


@pytest.mark.parametrize(
    ("row", "source"), [pytest.param(*one, id=one[0].name, marks=[] if one[0].name in SMALL else pytest.mark.slow) for one in DOWNLOADED]
)
def test_keras_downloads_the_file_whose_name_the_row_knows(row, source, monkeypatch):
    import keras
    from keras.src.utils import file_utils

    class Asked(Exception):
        pass

    def asked(name, *rest, **more):
        raise Asked(name)

    monkeypatch.setattr(file_utils, "get_file", asked)
    with pytest.raises(Asked, match=rf"^{re.escape(source.file)}$"):
        getattr(keras.applications, row.app)(include_top=False, weights="imagenet", input_shape=(row.input_size, row.input_size, 3))
    keras.backend.clear_session()


def test_a_backbone_that_takes_foreign_files_says_so(kept):
    assert "PyTorch or safetensors" in run("list", "resnet50_torch")


def test_a_backbone_without_sources_says_what_there_is(kept):
    assert "tlkeras pretrain" in run("list", "cnn")


def test_the_folder_is_told(kept):
    assert run("path").strip() == str(kept)


@pytest.mark.parametrize(("name", "left"), [("bert", 2), (None, 1)])
def test_what_is_cached_is_cleared_and_nothing_else(kept, name, left):
    run("clear", *([name] if name else []))
    assert len(list(kept.iterdir())) == left and (kept / "mine.txt").exists()


def test_an_unknown_backbone_is_told_with_near_names():
    command = [sys.executable, "-m", "tlkeras.cli.main", "weights", "list", "efficientnett"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1 and "efficientnet" in done.stderr
