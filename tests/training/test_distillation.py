"""Distillation: what the loss is, and that a run learns from the scores of another one."""

import csv
import dataclasses

import numpy as np
import pytest

from tests.helpers import BLOCKS
from tests.targets import CLASS, SET
from tests.training.test_phases import splits, tiny_task, train
from tlkeras.config import RunConfig
from tlkeras.data.examples import from_arrays
from tlkeras.errors import ConfigError
from tlkeras.jobs import finetune
from tlkeras.tasks.registry import TASKS
from tlkeras.training import distillation
from tlkeras.training.recipes.registry import RECIPES, Facts

T = 3.0
RECIPE = RECIPES.get("distill").with_settings({"teacher": "run", "temperature": T})
TINY = {"backbone": "cnn", "weights": "none", "image_size": 16, "export": "none"}
RNG = np.random.default_rng(0)


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def test_the_loss_of_classes_is_half_that_of_the_labels_and_half_that_of_softened_scores():
    teacher, student = RNG.normal(size=(2, 5, 3)).astype("float32")
    y = np.array([0, 1, 2, 0, 1], "int32")
    loss = distillation.loss(CLASS, task=TASKS.get("classification"), temperature=T)
    values = loss(distillation.with_scores(y, softmax(teacher)), softmax(student))
    hard = -np.log(softmax(student)[np.arange(5), y])
    soft = -(softmax(teacher / T) * np.log(softmax(student / T))).sum(-1)
    np.testing.assert_allclose(values, 0.5 * hard + 0.5 * T**2 * soft, rtol=1e-4)


def test_the_loss_of_sets_of_labels_softens_each_label():
    teacher, student = RNG.normal(size=(2, 5, 3)).astype("float32")
    y = RNG.integers(0, 2, (5, 3)).astype("uint8")
    loss = distillation.loss(SET, task=TASKS.get("multilabel"), temperature=T)
    values = loss(distillation.with_scores(y, sigmoid(teacher)), sigmoid(student))

    def crossentropy(p, q):
        return -(p * np.log(q) + (1 - p) * np.log(1 - q)).mean(-1)

    expected = 0.5 * crossentropy(y, sigmoid(student)) + 0.5 * T**2 * crossentropy(sigmoid(teacher / T), sigmoid(student / T))
    np.testing.assert_allclose(values, expected, rtol=1e-4)


def test_a_run_learns_what_the_teacher_says_where_the_labels_say_nothing(tmp_path):
    parts = splits()
    for name in ("train", "val"):
        y = parts[name].y
        certain = np.eye(3, dtype="float32")[(y + 1) % 3]  # another class than the examples have
        random = RNG.integers(0, 3, len(y))
        parts[name] = dataclasses.replace(parts[name], y=distillation.with_scores(random, certain))
    task = dataclasses.replace(tiny_task(), target=CLASS)
    head, tune = RECIPE.phases_for(BLOCKS, Facts())
    weights = {0: 1.0, 1: 1.0, 2: 1.0}
    result = train(tmp_path, head, dataclasses.replace(tune, epochs=1), task=task, parts=parts, recipe=RECIPE, class_weights=weights)
    assert (result.scores["val"].argmax(1) == (splits()["val"].y + 1) % 3).mean() > 0.8
    assert result.task.task is TASKS.get("classification")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Returns the folder of a run on the digits."""
    settings = {**TINY, "recipe": "linear-probe", "limit": 80, "out": str(tmp_path_factory.mktemp("teacher") / "run")}
    return str(finetune.finetune(RunConfig.from_dict(settings), reporter=None).run.root)


def test_a_run_is_taught_by_the_model_of_another_that_reads_images_of_another_size(teacher, tmp_path):
    settings = {**TINY, "image_size": 8, "recipe": "distill", "epochs": 1, "limit": 80, "teacher": teacher}
    result = finetune.finetune(RunConfig.from_dict({**settings, "out": str(tmp_path / "run")}), reporter=None)
    assert result.config.train.temperature == 2.0 and result.metrics["timing"]["teacher"] >= 0
    with result.run.history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["phase"] for row in rows] == ["tune"] and float(rows[0]["val_loss"]) > 0


def test_a_teacher_of_other_labels_is_an_error(teacher):
    dataset = from_arrays(np.zeros((6, 8, 8, 3), "uint8"), list("ababab"))
    with pytest.raises(ConfigError, match=r"predicts 10 classes \(0, 1.*the data have 2 classes \(a, b\)"):
        finetune.finetune(RunConfig.from_dict({**TINY, "recipe": "distill", "teacher": teacher}), dataset=dataset, reporter=None)


@pytest.mark.parametrize(("settings", "words"), [({}, "needs teacher"), ({"teacher": "nowhere"}, "'nowhere', which is not the folder")])
def test_a_distillation_needs_a_teacher(settings, words):
    with pytest.raises(ConfigError, match=words):
        finetune.finetune(RunConfig.from_dict({**TINY, "recipe": "distill", **settings}), reporter=None)
