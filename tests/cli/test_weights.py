"""`tlkeras weights`: what there is, what is here, and its removal."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT
from tlkeras.backbones import cache
from tlkeras.backbones.registry import BACKBONES
from tlkeras.cli.main import app


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A cache with converted weights of one backbone and the folder of another."""
    monkeypatch.setenv("TLKERAS_CACHE", str(tmp_path))
    lite, bert = BACKBONES.get("efficientnet"), BACKBONES.get("bert")
    (tmp_path / f"{cache.stem(lite, lite.weights[0])}-abc.weights.h5").write_bytes(b"x" * 100)
    cache.folder(bert.weights[0]).mkdir()
    (cache.folder(bert.weights[0]) / "model.safetensors").write_bytes(b"x" * 50)
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
