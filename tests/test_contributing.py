"""The examples of CONTRIBUTING.md are whole: each is applied to a copy of the project of its own, and what it adds is used."""

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
BEFORE = """
import json, sys
import numpy as np
import tlkeras
from tlkeras.export.processes import kept

folder, results = sys.argv[1], {}
rng = np.random.default_rng(0)
y = np.arange(60) % 3
x = (rng.integers(0, 40, (60, 16, 16, 3)) + 90 * y[:, None, None, None]).astype("uint8")
images = tlkeras.from_arrays(x, y.astype(str))
small = {"weights": "none", "epochs": 1, "reporter": None}
tiny = {**small, "backbone": "cnn", "image_size": 16, "backbone_options": ["filters1=4", "filters2=4", "dense=8"]}
"""
# What each example adds, used; `results` are looked at by the test of the same name.
USES = {
    "A modality": """
with kept():
    waves = tlkeras.finetune(f"{folder}/recordings", **small, backbone="wave_net", export="tflite", out=f"{folder}/waves")
answers = tlkeras.load(f"{folder}/waves/exports/model.tflite").predict(f"{folder}/recordings")
results["A modality"] = [waves.metrics["data"]["modality"], len(answers)]
""",
    "A task": """
with kept():
    dial = tlkeras.finetune(images, **tiny, recipe="full", task="dial", export="tflite", out=f"{folder}/dial").metrics
results["A task"] = [dial["test"]["mean_error"] is not None, dial["exports"]["tflite"]["verified"]]
""",
    "A backbone": """
from tlkeras.backbones.load import load
results["A backbone"] = [tlkeras.BACKBONES.get("small_cnn").params, load("small_cnn", weights="none").model.count_params()]
""",
    "A format": """
import keras, onnx
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
(artifact,) = tlkeras.export_model(model, f"{folder}/exports", formats="onnx-opset15", labels=["a", "b"], reporter=None)
results["A format"] = [artifact.format, onnx.load(artifact.path).opset_import[0].version]
""",
    "A recipe": """
plain = tlkeras.finetune(images, **tiny, recipe="head-then-all", export="none", out=f"{folder}/plain")
results["A recipe"] = [phase["name"] for phase in plain.metrics["phases"]]
""",
}
# Where a row that an example adds is listed: shown in a copy that has nothing but the example.
ROWS = {
    "A modality": ("tlkeras.modalities.registry:MODALITIES", "wave"),
    "A task": ("tlkeras.tasks.registry:TASKS", "dial"),
    "A backbone": ("tlkeras.backbones.registry:BACKBONES", "small_cnn"),
    "A format": ("tlkeras.export.formats:FORMATS", "onnx-opset15"),
    "A recipe": ("tlkeras.training.recipes.registry:RECIPES", "head-then-all"),
    "A job": ("tlkeras.cli.main:COMMANDS", "count"),
}


def apply(diff, folder):
    subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=folder, check=True, capture_output=True)


def copied(folder, titles):
    """Makes a copy of the project with some of the examples applied; what is compiled already is copied too."""
    for name in ("tlkeras", "export", "zoo"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("models"))
    for title in titles:
        for diff in SECTIONS[title]:
            apply(diff, folder)
    for name in ("export", "zoo"):  # as `package_dir` in setup.cfg places them
        (folder / "tlkeras" / name).symlink_to(folder / name)
    return folder


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the project with all examples applied."""
    return copied(tmp_path_factory.mktemp("copy"), EXAMPLES)


def run(copy, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def use(copy, folder, titles):
    """Returns title -> what came of using what the example adds."""
    rng = np.random.default_rng(0)
    for index in range(24):
        label = folder / "recordings" / ("flat", "up")[index % 2]
        label.mkdir(parents=True, exist_ok=True)
        np.savetxt(label / f"{index}.wave", np.stack([(index % 2) * np.arange(6.0), rng.normal(size=6)], axis=1))
    program = "".join([BEFORE, *(USES[title] for title in titles), "print(json.dumps(results))"])
    return json.loads(run(copy, "-c", program, str(folder)).splitlines()[-1])


@pytest.fixture(scope="module")
def used(copy, tmp_path_factory):
    return use(copy, tmp_path_factory.mktemp("used"), list(USES))


def test_there_is_an_example_of_each_kind():
    assert EXAMPLES == ["A modality", "A task", "A backbone", "A format", "A recipe", "A job"]


@pytest.mark.parametrize(
    ("title", "new", "changed"),
    [("A modality", 1, 2), ("A task", 1, 1), ("A recipe", 1, 1), ("A job", 2, 1), ("A backbone", 0, 1), ("A format", 0, 1)],
)
def test_adding_something_is_a_file_and_a_row(title, new, changed):  # a modality has a backbone, and a job has a command
    diff = "".join(SECTIONS[title])
    assert diff.count("new file mode") == new and diff.count("diff --git") == new + changed
    removed = [line for line in diff.splitlines() if line.startswith("-") and not line.startswith("---")]
    assert not removed


@pytest.mark.parametrize("title", EXAMPLES)
def test_what_an_example_adds_is_listed_where_nothing_else_is_added(title, tmp_path):
    table, name = ROWS[title]
    program = "import sys; from tlkeras.registry import load_function; print(sys.argv[2] in load_function(sys.argv[1]))"
    assert run(copied(tmp_path, [title]), "-c", program, table, name) == "True\n"


def test_a_made_up_backbone_is_built_and_has_the_parameters_of_its_row(used):
    stated, built = used["A backbone"]
    assert stated == built


def test_a_made_up_recipe_trains_its_phases(used):
    assert used["A recipe"] == ["head", "all"]


def test_a_made_up_format_is_written_and_verified(used):
    assert used["A format"] == ["onnx-opset15", 15]


def test_a_made_up_task_trains_scores_and_judges(used):
    assert used["A task"] == [True, True]


def test_a_made_up_modality_is_listed_trained_and_predicted(used):
    assert used["A modality"] == ["wave", 24]


def test_a_made_up_job_is_a_command(copy):
    assert "2  cat" in run(copy, "-m", "tlkeras", "count", str(labelled(copy))) and "count" in run(copy, "-m", "tlkeras", "--help")


@pytest.mark.slow
@pytest.mark.parametrize("title", USES)
def test_what_an_example_adds_is_used_where_nothing_else_is_added(title, used, tmp_path):
    (tmp_path / "copy").mkdir()
    assert use(copied(tmp_path / "copy", [title]), tmp_path / "used", [title])[title] == used[title]


def labelled(folder):
    """Returns a table of three texts."""
    (folder / "texts.csv").write_text("text,label\nmeow,cat\npurr,cat\nwoof,dog\n", encoding="utf-8")
    return folder / "texts.csv"
