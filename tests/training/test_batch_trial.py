"""The batch size at which training is fastest."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import BLOCKS, pictures
from tests.training.test_phases import PHASE, tiny_task
from tlkeras.config import RunConfig, TrainConfig, read_yaml
from tlkeras.distribution.strategies import Distribution
from tlkeras.errors import ConfigError, OutOfMemory
from tlkeras.jobs import batch_size, finetune
from tlkeras.training import batch_trial
from tlkeras.training.batch_trial import BatchTrial
from tlkeras.training.freeze_rules import parse
from tlkeras.training.phases import Examples, Options

X, Y = pictures(360)


def trial(folder, unfreeze="all", **changes):
    task = tiny_task()
    phase = dataclasses.replace(PHASE, unfreeze=unfreeze, **changes)
    before = [np.array(variable.value) for variable in task.model.variables]
    options = Options(checkpoints=folder)
    result = batch_trial.batch_trial(task, [(phase, parse(unfreeze, list(BLOCKS)))], Examples(inputs=X, y=Y), options)
    same = all(np.array_equal(a, b.value) for a, b in zip(before, task.model.variables, strict=True))
    return result, same


def test_sizes_are_powers_of_two_that_leave_an_epoch_ten_steps():
    assert batch_trial.sizes(5) == [8] and batch_trial.sizes(360) == [8, 16, 32] and batch_trial.sizes(10**6)[-1] == 1024


def test_the_smallest_size_that_is_nearly_as_fast_as_the_fastest_is_chosen():
    assert BatchTrial(phase="s", rates={8: 50.0, 16: 96.0, 32: 100.0, 64: 90.0}).chosen == 16


@pytest.mark.parametrize("unfreeze", ["all", "none"])
def test_a_trial_measures_every_size_and_leaves_no_trace(unfreeze, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_trial, "SECONDS", 0.0)
    monkeypatch.setattr(batch_trial, "PATIENCE", 99)
    result, same = trial(tmp_path, unfreeze)
    assert list(result.rates) == [8, 16, 32] and min(result.rates.values()) > 0 and same


def test_a_size_that_does_not_fit_ends_the_trial_and_the_smallest_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_trial, "SECONDS", 0.0)
    plain = batch_trial.training_batches

    def limited(task, suffix, train, options):
        if options.batch_size > most:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        return plain(task, suffix, train, options)

    monkeypatch.setattr(batch_trial, "training_batches", limited)
    most = 8
    result, same = trial(tmp_path)
    assert result.chosen == 8 and result.does_not_fit == 16 and "16 does not fit" in result.described and same
    most = 4
    with pytest.raises(OutOfMemory, match="--batch-size 4"):
        trial(tmp_path)


def test_what_is_solved_exactly_has_no_batch_size(tmp_path):
    assert trial(tmp_path, solver="exact")[0] is None


def test_the_config_accepts_a_number_or_auto_and_nothing_else():
    assert [RunConfig(batch_size=value).train.batch_size for value in (8, "16", "auto")] == [8, 16, "auto"]
    assert TrainConfig(batch_size="auto").examples_per_batch == 32
    for value in ("fast", 0, 2.5, True):
        with pytest.raises(ConfigError, match="batch_size"):
            RunConfig(batch_size=value)


def test_several_devices_need_a_number():
    with pytest.raises(ConfigError, match="one device.*mirrored.*--batch-size 32"):
        batch_size.check(RunConfig(batch_size="auto"), Distribution(name="mirrored", strategy=object()))


def test_a_run_records_the_number_and_a_run_with_that_number_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_trial, "SECONDS", 0.0)
    values = {"backbone": "cnn", "weights": "none", "image_size": 16, "limit": 240, "recipe": "full", "epochs": 1, "export": "none"}
    first = finetune.finetune(RunConfig.from_dict({**values, "batch_size": "auto", "out": str(tmp_path / "first")}))
    stored = read_yaml(first.run.config)
    assert stored["batch_size"] in (8, 16) and stored["scale_learning_rate"] == "sqrt"
    second = finetune.finetune(RunConfig.from_dict({**stored, "out": str(tmp_path / "second")}))
    assert first.run.history.read_bytes() == second.run.history.read_bytes()
