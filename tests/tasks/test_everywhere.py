"""Every task with every modality: from data to an entry of the zoo, each artifact evaluated and asked in its own runtime."""

import json
import re
import zipfile
from dataclasses import replace

import numpy as np
import onnx
import pytest

import tlkeras
import tlkeras.zoo
from tests.modalities.test_registry import ARTIFACTS, DATASETS, NETWORKS, RUNTIMES, passed
from tests.targets import TARGETS, values
from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset, Example
from tlkeras.data.target import Target
from tlkeras.jobs import finetune, publish
from tlkeras.modalities.registry import MODALITIES
from tlkeras.tasks.registry import DEFAULT, TASKS
from tlkeras.zoo.check import verify
from tlkeras.zoo.store import Zoo

# tests/modalities asks the same of the default task. By default, images with the task that has all kinds of targets stand for the others.
*SOME, LAST = [task.name for task in TASKS if task.name != DEFAULT]
PAIRS = [
    pytest.param((modality, task), id=f"{modality}-{task}", marks=pytest.mark.slow if task in SOME or modality != "image" else ())
    for modality in MODALITIES.names()
    for task in (*SOME, LAST)
]
DONE = ("image", LAST)  # tests/tasks/test_several.py looks at the same run
INT8 = "tflite-int8"


def dataset_of(modality, task):
    """Returns the examples of a modality, with values of the kind that a task predicts."""
    dataset, kind = DATASETS[modality](), TASKS.get(task).target
    wanted = values(kind, len(dataset.examples))
    examples = tuple(replace(example, label=value) for example, value in zip(dataset.examples, wanted, strict=True))
    return replace(dataset, examples=examples, target=TARGETS[kind])


def same(answer, expected):
    """Whether two answers are the same but for rounding."""
    if isinstance(expected, dict):
        return set(answer) == set(expected) and all(same(answer[key], value) for key, value in expected.items())
    if isinstance(expected, (list, tuple)):
        return len(answer) == len(expected) and all(same(*pair) for pair in zip(answer, expected, strict=True))
    return answer == pytest.approx(expected, abs=1e-3, rel=1e-3) if isinstance(expected, float) else answer == expected


@pytest.fixture(scope="module", params=PAIRS)
def run(request, tmp_path_factory):
    modality, task = request.param
    if (modality, task) == DONE:
        return modality, task, request.getfixturevalue("run_of_several_targets")
    settings = {**NETWORKS[modality], "weights": "none", "recipe": "full", "epochs": 2, "export": ",".join(ARTIFACTS)}
    out = tmp_path_factory.mktemp(f"{modality}-{task}") / "run"
    config = RunConfig.from_dict({**settings, "learning_rate": 0.01, "out": str(out)})
    return modality, task, finetune.finetune(config, dataset=dataset_of(modality, task), reporter=None)


def test_the_task_follows_from_the_data(run):
    _, task, result = run
    assert result.config.model.task == task and result.metrics["config"]["task"] == task


def test_every_artifact_answers_and_evaluates_as_the_keras_model(run):
    modality, task, result = run
    dataset = dataset_of(modality, task)
    expected = [answer.to_dict() for answer in tlkeras.load(result.run.root).predict(passed(dataset))]
    figures = tlkeras.evaluate(result.run.root, dataset, part="all").score.to_dict()
    assert set(result.metrics["exports"]) == set(ARTIFACTS) and all(one["verified"] for one in result.metrics["exports"].values())
    for file in ARTIFACTS.values():
        answers = [answer.to_dict() for answer in tlkeras.load(result.run.exports / file).predict(passed(dataset))]
        assert same(answers, expected)
        assert same(tlkeras.evaluate(result.run.exports / file, dataset, part="all").score.to_dict(), figures)


def test_its_entry_is_verified_described_and_answers_as_the_run_in_every_runtime(run, tmp_path):
    modality, task, result = run
    inputs = passed(dataset_of(modality, task))
    expected = [answer.to_dict() for answer in tlkeras.load(result.run.root).predict(inputs)]
    entry = publish.publish(result.run.root, "entry", Zoo(tmp_path / "zoo"), data_licence="CC0", data_source="made up", reporter=None)
    assert not [check.problem for check in verify(entry) if check.problem]
    card = (entry.path / "README.md").read_text(encoding="utf-8")
    assert f"{modality} {task}" in card and "curl -s" in card and "grpc" in card
    assert all((entry.path / name).is_file() for name in re.findall(r"`(client/[^`]+|labels.txt)`", card))
    for runtime in RUNTIMES:
        answers = tlkeras.zoo.load("entry", runtime=runtime, root=tmp_path / "zoo").predict(inputs)
        assert same([answer.to_dict() for answer in answers], expected)


def test_the_target_travels_with_every_artifact(run):
    _, task, result = run
    target = Target.from_dict(json.loads(result.run.target.read_text(encoding="utf-8")))
    manifest = json.loads((result.run.exports / "manifest.json").read_text(encoding="utf-8"))
    assert Target.from_dict(json.loads(manifest["metadata"]["target"])) == target and target.kind == TASKS.get(task).target
    with zipfile.ZipFile(result.run.exports / ARTIFACTS["tflite"]) as archive:
        assert Target.from_dict(json.loads(archive.read("target.json"))) == target
    metadata = onnx.load(result.run.exports / ARTIFACTS["onnx"]).metadata_props
    assert Target.from_dict(json.loads(next(entry.value for entry in metadata if entry.key == "target"))) == target


# === Quantised ===


def patches(task, n=160):
    """Returns images of three patches that are bright or dark, and a grey that is brighter or darker: all of it can be learnt."""
    rng = np.random.default_rng(0)
    on, grey = rng.integers(0, 2, (n, 3)), rng.uniform(0, 1, n)
    x = rng.integers(0, 20, (n, 24, 24, 3)) + (grey * 100)[:, None, None, None]
    for patch in range(3):
        x[:, 8 * patch : 8 * patch + 8, :12] += 120 * on[:, patch, None, None, None]
    columns = {
        "class": [str(int(row.sum() > 1)) for row in on],
        "labels": [tuple(name for name, is_on in zip("abc", row, strict=True) if is_on) for row in on],
        "numbers": [(float(100 * value),) for value in grey],
    }
    targets = {
        "class": Target(kind="class", labels=("0", "1"), name="many"),
        "labels": Target(kind="labels", labels=("a", "b", "c"), name="lit"),
        "numbers": Target(kind="numbers", labels=("grey",), name="grey"),
    }
    kind = TASKS.get(task).target
    target = targets.get(kind) or Target.several(list(targets.values()))
    wanted = columns[kind] if kind in columns else list(zip(*columns.values(), strict=True))
    examples = tuple(
        Example(id=f"{i}", label=value, array=image.astype("uint8")) for i, (image, value) in enumerate(zip(x, wanted, strict=True))
    )
    return Dataset(name="patches", examples=examples, target=target)


@pytest.mark.parametrize("task", [pytest.param(name, marks=pytest.mark.slow if name in SOME else ()) for name in (*SOME, LAST)])
def test_int8_and_the_smallest_file_are_judged_by_the_figure_of_the_task(task, tmp_path):
    settings = {"backbone": "cnn", "image_size": 24, "weights": "none", "recipe": "full", "epochs": 30, "learning_rate": 0.003}
    config = RunConfig.from_dict({**settings, "export": f"tflite,{INT8},mobile", "max_drop": 0.1, "out": str(tmp_path / "run")})
    exports = finetune.finetune(config, dataset=patches(task), reporter=None).metrics["exports"]
    assert len(exports) >= 2
    for name, record in exports.items():
        assert record["verified"] and record["accuracy"] is not None and record["drop"] <= (0.1 if name != "tflite" else 0.01)
