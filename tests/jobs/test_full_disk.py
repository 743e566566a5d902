"""What happens when the disk becomes full: each file is whole under its final name, and work goes on once there is space."""

import json
import subprocess

import keras
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.faults import fault
from tests.jobs.test_damage import ONE_EPOCH, command, mounted, one_line, photos, trained
from tlkeras import files
from tlkeras.config import read_yaml
from tlkeras.data import sheets
from tlkeras.export import open_artifact
from tlkeras.training import states
from tlkeras.zoo.store import Zoo

pytestmark = pytest.mark.slow
FULL = "No space left on device"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Images, and a run on them with its artifacts, on a disk with space."""
    folder = tmp_path_factory.mktemp("whole")
    photos(folder / "photos")
    done = trained(folder / "photos", folder / "run", formats="saved_model,tflite,onnx")
    assert done.returncode == 0, done.stderr
    return folder


# How a file is read that has its final name.
READ = {
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".yaml": read_yaml,
    ".csv": lambda path: [row for row in sheets.read_rows(path) if not all(row.values())],
    ".keras": lambda path: keras.saving.load_model(path, compile=False),
    ".state": states._read,
    ".npz": files.read_npz,
    ".tflite": open_artifact,
    ".onnx": open_artifact,
    ".pb": lambda path: path.name == "fingerprint.pb" or open_artifact(path.parent),
    ".html": lambda path: path.read_text(encoding="utf-8").index("</html>"),
}


def every_file_is_whole(folder):
    """Reads every file, and returns their names."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in folder.rglob(".*-*")], "what was being written is left"
    for path in paths:
        if path.suffix in READ:
            READ[path.suffix](path)
    return {path.name for path in paths}


def weights(run):
    return keras.saving.load_model(run / "model.keras", compile=False).get_weights()


@fault(
    "the disk is full",
    "while a run is written",
    "one line; every file that has its final name is whole; with space it goes on to the same weights",
)
@pytest.mark.parametrize("size", [24, 60, 120, 200, 400])
def test_a_disk_that_becomes_full_costs_nothing_that_was_written(size, whole, tmp_path):
    with mounted(tmp_path / "disk", f"size={size}k") as disk:
        assert FULL in one_line(trained(whole / "photos", disk / "run"))
        every_file_is_whole(disk)
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        resumable = (disk / "run/checkpoints/asked.yaml").exists()
        done = command("finetune", "--resume", disk / "run") if resumable else trained(whole / "photos", disk / "run")
        assert done.returncode == 0, done.stderr
        for left, right in zip(weights(disk / "run"), weights(whole / "run"), strict=True):
            np.testing.assert_array_equal(left, right)
        assert (disk / "run/predictions.csv").read_text() == (whole / "run/predictions.csv").read_text()


@fault("the disk is full", "while artifacts are exported", "one line; every artifact that is there is whole")
@pytest.mark.parametrize("size", [100, 300, 500])
def test_a_disk_that_becomes_full_leaves_no_half_artifact(size, whole, tmp_path):
    with mounted(tmp_path / "disk", f"size={size}k") as disk:
        assert FULL in one_line(command("export", whole / "run", "--formats", "saved_model,tflite,onnx", "--out", disk / "exports"))
        every_file_is_whole(disk)


@fault("the disk is full", "while a run is published", "one line, and no version")
@pytest.mark.parametrize("size", [100, 500])
def test_a_disk_that_becomes_full_leaves_no_half_version(size, whole, tmp_path):
    with mounted(tmp_path / "disk", f"size={size}k") as disk:
        more = ["--data-licence", "CC0", "--data-source", "made up"]
        assert FULL in one_line(command("zoo", "publish", whole / "run", "--name", "net", "--zoo", disk / "zoo", *more))
        assert not Zoo(disk / "zoo").names() and not every_file_is_whole(disk)


@fault("the disk of the cache is full", "from the start", "nothing is kept, and the run ends as it would with a cache")
def test_a_full_disk_of_the_cache_does_not_matter(whole, tmp_path):
    with mounted(tmp_path / "disk", "size=16k") as disk:
        begin = ["finetune", "--data", whole / "photos", "--out", tmp_path / "run", *ONE_EPOCH, "--export", "none"]
        variables = {
            "TLKERAS_CACHE": str(disk / "cache"),
            "TLKERAS_CACHE_SIZE": "100MB",
            "TLKERAS_TEST_MOMENTS": str(tmp_path / "moments.txt"),
        }
        done = command(*begin, python=(str(ROOT / "tests" / "killing.py"),), **variables)  # which keeps rows however fast they are
        assert done.returncode == 0, done.stderr
        assert not list(disk.rglob("rows.bin"))
    assert (tmp_path / "run/predictions.csv").read_text() == (whole / "run/predictions.csv").read_text()
