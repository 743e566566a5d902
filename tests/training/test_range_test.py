"""The learning-rate range test: rising rates, a suggestion, and weights as they were."""

import csv
import dataclasses

import numpy as np
import pytest

from tests.helpers import BLOCKS
from tests.training.test_phases import PHASE, splits, tiny_task
from tlkeras.config import RunConfig
from tlkeras.errors import ConfigError
from tlkeras.jobs import plan, preflight
from tlkeras.jobs.find_lr import find_learning_rate
from tlkeras.progress import SILENT
from tlkeras.training import phases as training
from tlkeras.training.freeze_rules import parse
from tlkeras.training.range_test import HIGHEST, LOWEST, RangeTest, range_test
from tlkeras.training.recipes.registry import Phase, Recipe


def test_the_test_of_a_head_suggests_a_rate_and_leaves_the_weights(tmp_path):
    task = tiny_task()
    before = task.model.get_weights()
    phases = [(PHASE, parse("none", list(BLOCKS)))]
    result = range_test(task, phases, splits(), training.Options(batch_size=8, checkpoints=tmp_path))
    for a, b in zip(before, task.model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert result.rates[0] == LOWEST and np.all(np.diff(result.rates) > 0) and result.rates[-1] <= HIGHEST * 1.001
    assert result.suggestion is not None and 1e-5 < result.suggestion <= 0.1
    assert min(result.smoothed) < result.smoothed[0]


def test_no_rate_is_suggested_where_the_loss_only_rises():
    rates = tuple(10.0 ** (step / 10 - 7) for step in range(30))
    assert RangeTest(phase="s", rates=rates, losses=tuple(1.0 + rate for rate in rates)).suggestion is None
    assert RangeTest(phase="s", rates=rates[:3], losses=(1.0, 0.9, 0.8)).suggestion is None  # too few to say


def test_a_head_that_is_solved_exactly_has_no_learning_rate(tmp_path):
    head = Phase(name="head", unfreeze="none", epochs=1, learning_rate=1.0, solver="exact")
    with pytest.raises(ConfigError, match="'head', is solved exactly and has no learning rate"):
        range_test(tiny_task(), [(head, ())], splits(), training.Options(checkpoints=tmp_path))


def test_earlier_phases_run_before_the_test_on_the_model_that_the_recipe_makes(tmp_path):
    calls = []
    recipe = Recipe(
        name="r", phases=lambda sections, facts: (), transform=lambda task: calls.append("transform") or task, why="", source=""
    )
    head = dataclasses.replace(PHASE, name="head", epochs=1)
    phases = [(head, parse("none", list(BLOCKS))), (PHASE, parse("none", list(BLOCKS)))]
    result = range_test(tiny_task(), phases, splits(), training.Options(batch_size=21, checkpoints=tmp_path), recipe=recipe)
    alone = range_test(tiny_task(), phases[1:], splits(), training.Options(batch_size=21, checkpoints=tmp_path))
    assert calls == ["transform"] and result.losses[0] != pytest.approx(alone.losses[0], rel=1e-3)


def test_the_job_writes_a_table_and_a_plot_and_no_run(tmp_path):
    config = RunConfig(
        backbone="cnn", weights="none", image_size=16, limit=60, batch_size=8, out=str(tmp_path / "rates"), scale_learning_rate="linear"
    )
    planned = plan.resolve(config)
    result = find_learning_rate(planned, preflight.open_examples(planned), reporter=SILENT)
    assert sorted(path.name for path in (tmp_path / "rates").iterdir()) == ["data_audit.json", "learning_rates.csv", "learning_rates.png"]
    with result.table.open() as file:
        rows = list(csv.DictReader(file))
    best = min(rows[10:], key=lambda row: float(row["smoothed_loss"]))
    assert result.suggestion == pytest.approx(float(best["learning_rate"]) / 10 / (8 / 32))  # the setting, before it is scaled
    assert result.plot.read_bytes().startswith(b"\x89PNG")
