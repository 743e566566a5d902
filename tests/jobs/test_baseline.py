"""Transfer against training from scratch."""

import json

import keras
import numpy as np
import pytest

import tlkeras
from tests.helpers import pictures
from tests.modalities.test_registry import NETWORKS
from tlkeras import models
from tlkeras.backbones.load import load
from tlkeras.config import RunConfig, read_yaml
from tlkeras.data.examples import from_arrays
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError
from tlkeras.jobs import baseline, plan, single
from tlkeras.training.recipes import full


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Settings of a network whose weights stand in a file."""
    path = tmp_path_factory.mktemp("weights") / "backbone.keras"
    load("cnn", image_size=16, weights="none", options={"filters1": 4, "filters2": 4, "dense": 8}).model.save(path)
    return {**NETWORKS["image"], "weights": str(path), "export": "none"}


@pytest.fixture(scope="module")
def result(pretrained, tmp_path_factory):
    x, y = pictures(80, classes=2, seed=1)
    out = tmp_path_factory.mktemp("baseline") / "run"
    dataset = from_arrays(x, np.array(["red", "green"])[y])
    return tlkeras.finetune(dataset=dataset, **pretrained, recipe="linear-probe", baseline="scratch", out=str(out), reporter=None)


def test_the_same_network_is_trained_from_random_weights_on_the_same_splits_and_compared(result):
    found, scratch = result.metrics["baseline"], result.run.root / "scratch"
    metrics = json.loads((scratch / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["data"]["fingerprint"] == result.metrics["data"]["fingerprint"]
    row = found["targets"]["label"]["figures"]["accuracy"]
    assert row["first"] == result.metrics["test"]["accuracy"] and row["second"] == pytest.approx(metrics["test"]["accuracy"])
    assert found["targets"]["label"]["n"] == result.metrics["test"]["n"] and "mcnemar" in found["targets"]["label"]
    assert found["run"]["epochs"] == 1 and found["scratch"]["epochs"] == sum(phase["epochs"] for phase in metrics["phases"]) > 1
    assert json.loads(result.run.metrics.read_text(encoding="utf-8"))["baseline"] == json.loads(json.dumps(found))


def test_the_whole_network_trains_from_weights_that_are_not_the_pretrained_ones(result, pretrained):
    config = read_yaml(result.run.root / "scratch" / "config.yaml")
    assert [config[key] for key in ("weights", "recipe", "unfreeze", "baseline")] == ["none", "full", "all", None]
    metrics = json.loads((result.run.root / "scratch" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["phases"][0]["trainable_parameters"] > result.metrics["phases"][0]["trainable_parameters"]


def test_the_report_says_what_the_pretrained_weights_gain(result):
    page = result.run.report.read_text(encoding="utf-8")
    assert baseline.TITLE in page and result.metrics["baseline"]["targets"]["label"]["words"] in page
    assert "from random weights for" in page and "<th>from scratch</th>" in page


def test_untrained_models_have_the_same_layers_and_other_weights():
    task = models.build("cnn", 3, image_size=16, weights="none", options={"filters1": 4, "filters2": 4, "dense": 8})
    fresh = models.untrained(task)
    assert [layer.name for layer in fresh.model.layers] == [layer.name for layer in task.model.layers]
    kernels = [(a, b) for a, b in zip(task.model.weights, fresh.model.weights, strict=True) if a.name == "kernel"]
    assert kernels and all(np.abs(keras.ops.convert_to_numpy(a) - keras.ops.convert_to_numpy(b)).max() > 0 for a, b in kernels)
    x = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3))
    assert fresh.model(x).shape == (2, 3)


SETTINGS = [
    ({"recipe": "auto", "max_minutes": 3.0}, 4, 10, full.PHASE.learning_rate),
    ({"recipe": "linear-probe"}, 1, 10, full.PHASE.learning_rate),
    ({"recipe": "lora", "lora_rank": 4}, 25, 25, full.PHASE.learning_rate),
    ({"recipe": "feature-extraction", "learning_rate": 0.5}, 12, 12, full.PHASE.learning_rate),
    ({"recipe": "full", "epochs": 20, "learning_rate": 0.01}, 14, 14, 0.01),
]


@pytest.mark.parametrize(("settings", "took", "epochs", "rate"), SETTINGS, ids=[settings["recipe"] for settings, *_ in SETTINGS])
def test_whatever_the_recipe_the_run_from_scratch_is_planned_as_full_training(settings, took, epochs, rate, tmp_path):
    config = plan.effective(RunConfig.from_dict({**settings, "baseline": "scratch", "backbone": "efficientnet"}))
    planned = plan.resolve(baseline.config_of(config, took, tmp_path)).config.train
    assert (planned.recipe, planned.unfreeze, planned.batch_norm, planned.baseline) == ("full", "all", "train", None)
    assert (planned.epochs, planned.learning_rate) == (epochs, rate)


@pytest.mark.parametrize("config_of", ["baseline", "single"])
def test_a_run_beside_another_one_is_neither_cross_validated_nor_compared_again(config_of, tmp_path):
    asked = {"backbone": "efficientnet", "cross_validate": "5x2", "baseline": "scratch", "compare_single": True, "relabel": "fixed.csv"}
    config = RunConfig.from_dict({**asked, "data": "photos", "group_column": "patient", "limit": 50})
    if config_of == "baseline":
        beside = baseline.config_of(config, 3, tmp_path)
    else:
        beside = single.config_of(config, Target(kind="class", labels=("a", "b")), tmp_path)
    train, data = beside.train, beside.data
    assert (train.cross_validate, train.baseline, train.compare_single) == (None, None, False)
    assert (data.source, data.relabel, data.group_column, data.limit) == (None, None, None, None) and beside.export.formats == ()


def test_a_network_that_has_random_weights_already_is_not_compared_with_itself():
    with pytest.raises(ConfigError, match="baseline is 'scratch', and weights is 'none' already"):
        plan.resolve(RunConfig(backbone="cnn", weights="none", baseline="scratch"))
    with pytest.raises(ConfigError, match="baseline is 'nothing'; expected scratch"):
        RunConfig(baseline="nothing")
