"""The examples of CONTRIBUTING.md are whole: each is applied to a copy of the project, and what it adds is used."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT

SECTIONS = {
    title: re.findall(r"```diff\n(.*?)```", body, re.DOTALL)
    for title, body in re.findall(
        r"^### (.*?)\n(.*?)(?=^##|\Z)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
}
EXAMPLES = [title for title, diffs in SECTIONS.items() if diffs]
USES = """
import json, sys
import numpy as np, onnx
import tlkeras
from tlkeras import BACKBONES
from tlkeras.backbones.load import load
from tlkeras.export.formats import FORMATS
from tlkeras.export.processes import kept

folder, recordings = sys.argv[1:]
rng = np.random.default_rng(0)
y = np.arange(60) % 3
x = (rng.integers(0, 40, (60, 16, 16, 3)) + 90 * y[:, None, None, None]).astype("uint8")
images = tlkeras.from_arrays(x, y.astype(str))
small = {"backbone": "small_cnn", "weights": "none", "image_size": 16, "epochs": 1, "reporter": None}
with kept():
    plain = tlkeras.finetune(images, **small, recipe="head-then-all", export="onnx-opset15", out=f"{folder}/plain")
    dial = tlkeras.finetune(images, **small, recipe="full", task="dial", export="tflite", out=f"{folder}/dial")
    made_up = {"backbone": "wave_net", "weights": "none", "epochs": 1, "export": "tflite", "reporter": None}
    waves = tlkeras.finetune(recordings, **made_up, out=f"{folder}/waves")
print(json.dumps({
    "parameters": [BACKBONES.get("small_cnn").params, load("small_cnn", weights="none").model.count_params()],
    "phases": [phase["name"] for phase in plain.metrics["phases"]],
    "opset": onnx.load(plain.run.exports / FORMATS.get("onnx-opset15").path).opset_import[0].version,
    "dial": [dial.metrics["test"]["mean_error"] is not None, dial.metrics["exports"]["tflite"]["verified"]],
    "waves": [waves.metrics["data"]["modality"], len(tlkeras.load(f"{folder}/waves/exports/model.tflite").predict(recordings))],
}))
"""


def apply(diff, folder):
    subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project with all examples applied."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("tlkeras", "export", "zoo"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "models"))
    for diffs in SECTIONS.values():
        for diff in diffs:
            apply(diff, folder)
    for name in ("export", "zoo"):  # as `package_dir` in setup.cfg places them
        (folder / "tlkeras" / name).symlink_to(folder / name)
    return folder


def run(copy, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def used(copy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("used")
    rng = np.random.default_rng(0)
    for index in range(24):
        place = folder / "recordings" / ("flat", "up")[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        np.savetxt(place / f"{index}.wave", np.stack([(index % 2) * np.arange(6.0), rng.normal(size=6)], axis=1))
    return json.loads(run(copy, "-c", USES, str(folder), str(folder / "recordings")).splitlines()[-1])


def test_there_is_an_example_of_each_kind():
    assert EXAMPLES == ["A modality", "A task", "A backbone", "A format", "A recipe", "A job"]


@pytest.mark.parametrize(
    ("title", "new", "changed"),
    [("A modality", 1, 1), ("A task", 1, 1), ("A recipe", 1, 1), ("A job", 2, 1), ("A backbone", 0, 1), ("A format", 0, 1)],
)
def test_adding_something_is_a_file_and_a_row(title, new, changed):
    diff = SECTIONS[title][0]
    assert diff.count("new file mode") == new and diff.count("diff --git") == new + changed
    removed = [line for line in diff.splitlines() if line.startswith("-") and not line.startswith("---")]
    assert len(removed) <= (title == "A job")  # the word of a job stands in the line of the other commands


def test_a_made_up_backbone_is_built_and_has_the_parameters_of_its_row(used):
    stated, built = used["parameters"]
    assert stated == built


def test_a_made_up_recipe_trains_its_phases(used):
    assert used["phases"] == ["head", "all"]


def test_a_made_up_format_is_written_and_verified(used):
    assert used["opset"] == 15


def test_a_made_up_task_trains_scores_and_judges(used):
    assert used["dial"] == [True, True]


def test_a_made_up_modality_is_listed_trained_and_predicted(used):
    assert used["waves"] == ["wave", 24]


def test_a_made_up_job_is_a_command(copy):
    assert "2  cat" in run(copy, "-m", "tlkeras", "count", str(labelled(copy))) and "count" in run(copy, "-m", "tlkeras", "--help")


def labelled(folder):
    """Returns a table of three texts."""
    (folder / "texts.csv").write_text("text,label\nmeow,cat\npurr,cat\nwoof,dog\n", encoding="utf-8")
    return folder / "texts.csv"
