"""A phase within so many minutes."""

import dataclasses
import time

import numpy as np
import pytest

from tests.helpers import BLOCKS
from tests.training.test_phases import PHASE, splits, tiny_task, train
from tlkeras.training import budget
from tlkeras.training.budget import Costs
from tlkeras.training.freeze_rules import parse

COSTS = Costs(step=0.01, forward=0.002, shares={"s0": 0.5, "s1": 0.3, "s2": 0.2})
RULES = parse("all", list(BLOCKS))


@pytest.mark.parametrize(
    ("seconds", "epochs", "unfreeze"), [(1000, 10, "all"), (50, 5, "all"), (20, 3, "from:s1"), (7.7, 3, "from:s2"), (5, None, None)]
)
def test_epochs_are_reduced_first_then_sections_then_it_is_left_out(seconds, epochs, unfreeze):
    phase = dataclasses.replace(PHASE, unfreeze="all", epochs=10)
    result = budget.fitted(phase, RULES, list(BLOCKS), COSTS, examples=1000, seconds=seconds)
    assert (None, None) == (epochs, unfreeze) if result is None else (result[0].epochs, result[0].unfreeze) == (epochs, unfreeze)
    assert result is None or result[1] == parse(unfreeze, list(BLOCKS))


def test_times_are_measured_without_changing_a_weight():
    task = tiny_task()
    before = task.model.get_weights()
    costs = budget.measured(task, splits()["train"])
    assert costs.step > 0 and costs.forward > 0 and sum(costs.shares.values()) == pytest.approx(1)
    assert set(BLOCKS) <= set(costs.shares)
    for a, b in zip(before, task.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_phase_that_does_not_fit_is_left_out_and_said(tmp_path):
    said = []
    head = dataclasses.replace(PHASE, name="head", epochs=1)
    tune = dataclasses.replace(PHASE, name="tune", unfreeze="all", epochs=500, minutes=1e-6)
    result = train(tmp_path, head, tune, say=said.append)
    assert [phase.name for phase in result.phases] == ["head"] and len(result.scores["test"]) == 5
    assert len(said) == 1 and "--max-minutes" in said[0]


def test_a_phase_that_takes_far_longer_than_measured_is_stopped(tmp_path):
    started = time.monotonic()
    endless = dataclasses.replace(PHASE, unfreeze="all", epochs=100_000, minutes=1 / 60, keep="last")
    train(tmp_path, endless)
    assert time.monotonic() - started < 60
