"""A plan: rows instead of names, and one step that fills in what depends on the data."""

import numpy as np
import pytest

from tlkeras.backbones.registry import BACKBONES
from tlkeras.config import PretrainConfig, RunConfig
from tlkeras.data.examples import from_arrays
from tlkeras.errors import ConfigError, UnknownName, ZooError
from tlkeras.export.formats import FORMATS
from tlkeras.jobs import plan
from tlkeras.jobs.backbone_record import find_backbone
from tlkeras.pretraining.objectives import OBJECTIVES
from tlkeras.training.recipes.registry import RECIPES


def arrays(n=12):
    return from_arrays(np.zeros((n, 8, 8, 3), "uint8"), ["ab"[i % 2] for i in range(n)])


def test_a_plan_holds_the_rows_that_its_config_names():
    resolved = plan.resolve(RunConfig(backbone="resnet", recipe="full", export="tflite", channels=1))
    assert resolved.backbone is BACKBONES.get("resnet50") and resolved.recipe is RECIPES.get("full")
    assert resolved.formats == (FORMATS.get("tflite"),) and resolved.adapter.name == "repeat"
    assert resolved.asked.model.backbone == "resnet" and resolved.config.model.backbone == "resnet50"


def test_a_plan_of_an_effective_config_changes_nothing():
    config = plan.resolve(RunConfig(backbone="resnet", unfreeze="last:2")).config
    assert plan.resolve(config).config == config


def test_the_data_fill_in_source_splits_and_length():
    resolved = plan.resolve(RunConfig(backbone="cnn", test_split=0.3))
    config = plan.with_data(resolved, arrays(), out="runs/1", max_length=7).config
    assert (config.data.val_split, config.data.test_split, config.model.max_length, config.out) == (0.15, 0.3, 7, "runs/1")
    assert config.data.source is not None and resolved.config.data.source is None


def test_what_the_data_fill_in_leaves_every_other_setting():
    resolved = plan.resolve(RunConfig(backbone="cnn", freeze_rules=[["a*", True], ["*", False]], max_drop=0.1))
    before, after = resolved.config.to_dict(), plan.with_data(resolved, arrays(), out="x").config.to_dict()
    assert {key for key in before if before[key] != after[key]} == {"data", "val_split", "test_split", "out"}


def test_settings_of_one_recipe_are_filled_in_there_and_an_error_elsewhere():
    resolved = plan.resolve(RunConfig(backbone="cnn", recipe="lora", lora_targets="conv*"))
    assert (resolved.config.train.lora_rank, resolved.config.train.lora_targets) == (8, ("conv*",))
    assert resolved.recipe.settings == {"lora_rank": 8, "lora_targets": ("conv*",)}
    with pytest.raises(ConfigError, match="lora_rank is set, and recipe 'full' has no use for it.*--recipe lora"):
        plan.resolve(RunConfig(backbone="cnn", recipe="full", lora_rank=4))


def test_a_rate_of_a_backbone_is_not_that_of_a_few_of_its_weights():
    rates = {name: plan.resolve(RunConfig(backbone="bert", recipe=name)).config.train.learning_rate for name in ("lp-ft", "lora", "bitfit")}
    assert rates == {"lp-ft": find_backbone("bert").learning_rate, "lora": 1e-3, "bitfit": 1e-3}


def test_a_missing_entry_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_ZOO", str(tmp_path))
    with pytest.raises(ZooError, match="no entry 'gone'"):
        find_backbone("zoo:gone")


@pytest.mark.parametrize("row", [row for row in BACKBONES if row.objective], ids=lambda row: row.name)
def test_a_row_is_pretrained_by_its_own_objective_or_by_labels(row):
    assert plan.resolve_pretraining(PretrainConfig(backbone=row.name)).objective.name == row.objective
    for objective in OBJECTIVES:
        config = PretrainConfig(backbone=row.name, objective=objective.name)
        if objective.fits(row):
            assert plan.resolve_pretraining(config).objective is objective
        else:
            with pytest.raises(ConfigError, match="objective is"):
                plan.resolve_pretraining(config)


def test_a_network_without_an_objective_is_pretrained_on_labels():
    assert plan.resolve_pretraining(PretrainConfig(backbone="cnn")).objective.needs_labels


def test_an_unknown_network_is_not_pretrained():
    with pytest.raises(UnknownName, match="no backbone 'cnm'"):
        plan.resolve_pretraining(PretrainConfig(backbone="cnm"))
