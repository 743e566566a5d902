"""Rates by section, and weight decay towards the weights at the start."""

import dataclasses
import functools

import keras
import numpy as np
import pytest

from tests.helpers import BLOCKS, pictures, tiny_model
from tests.training.test_phases import tiny_task, train
from tlkeras.distribution.strategies import ONE_DEVICE, open_distribution
from tlkeras.training import freezing, optimizer
from tlkeras.training.freeze_rules import parse
from tlkeras.training.optimizer import FlatAdamW, Pull, PulledAdamW
from tlkeras.training.rates import pull_of
from tlkeras.training.recipes.registry import Phase

pytestmark = pytest.mark.usefixtures("graphs")

PHASE = Phase(name="s", unfreeze="all", epochs=1, learning_rate=1e-2)


def trained(adam, factors_of=None, epochs=2):
    """Returns how far each weight of a tiny network moved, and the weights before."""
    keras.utils.set_random_seed(2)
    model = tiny_model()[0]
    before = [np.asarray(variable.value) for variable in model.trainable_variables]
    x, y = pictures(24)
    adam.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(adam, "sparse_categorical_crossentropy")
    model.fit(x / np.float32(255), y, batch_size=8, epochs=epochs, verbose=0, shuffle=False)
    return [np.asarray(v.value) - b for v, b in zip(model.trainable_variables, before, strict=True)], before


def test_each_section_learns_at_a_fraction_of_the_rate_above_it():
    task = tiny_task()
    freezing.apply(task.model, parse("all", list(BLOCKS)), sections=task.sections)
    factors = pull_of(task, dataclasses.replace(PHASE, layer_decay=0.5), task.model).factors
    by_path = dict(zip((variable.path for variable in task.model.trainable_variables), factors, strict=True))
    assert by_path["head_logits/kernel"] == 1.0
    assert [by_path[f"conv_{name}/kernel"] for name in BLOCKS] == [0.125, 0.25, 0.5]
    assert pull_of(task, PHASE, task.model).usual


def count():
    return len(tiny_model()[0].trainable_variables)


@pytest.fixture(scope="module")
def pull():
    """A rate and a start for each variable; the first one has no rate at all."""
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=v.shape).astype("float32") if i % 2 else None for i, v in enumerate(tiny_model()[0].trainable_variables)]
    return Pull(factors=[0.0, *(0.5 ** (i % 4) for i in range(1, count()))], start=starts)


@pytest.fixture(scope="module")
def moved_of(pull):
    """Returns a function: class of the optimizer, largest group -> how far each variable moved, trained once."""

    @functools.cache
    def moved(kind, bucket):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optimizer, "BUCKET", bucket)
            return trained(kind(1e-2, weight_decay=0.5, pull=pull))[0]

    return moved


# tests/training/test_optimizer.py compares one group of all weights with Keras' own class.
@pytest.mark.parametrize("bucket", [pytest.param(1 << 24, marks=pytest.mark.slow), 500])
def test_the_flat_update_treats_variables_as_the_one_by_one_does(bucket, moved_of):
    for a, b in zip(moved_of(FlatAdamW, bucket), moved_of(PulledAdamW, 500), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


@pytest.mark.parametrize("kind", [FlatAdamW, PulledAdamW])
def test_a_variable_whose_factor_is_0_stays(kind, moved_of):
    moved = moved_of(kind, 500)
    assert np.abs(moved[0]).max() == 0 and np.abs(moved[-1]).max() > 0


def test_decay_pulls_towards_the_start_and_not_towards_0():
    task = tiny_task()
    freezing.apply(task.model, parse("all", list(BLOCKS)), sections=task.sections)
    pull = pull_of(task, dataclasses.replace(PHASE, towards_start=True, weight_decay=0.1), task.model)
    by_path = dict(zip((variable.path for variable in task.model.trainable_variables), pull.start, strict=True))
    assert by_path["head_logits/kernel"] is None
    np.testing.assert_array_equal(by_path["conv_s0/kernel"], task.model.get_layer("conv_s0").kernel)
    far = [np.asarray(variable.value) + 1 for variable in tiny_model()[0].trainable_variables]
    adam = FlatAdamW(1e-2, weight_decay=1.0, pull=Pull(start=far))
    moved, before = trained(adam, epochs=20)
    kernels = [i for i, value in enumerate(before) if value.ndim > 1]
    assert all(moved[i].mean() > 0.2 for i in kernels)


def test_two_devices_treat_variables_as_one_does(tmp_path):
    settings = {"layer_decay": 0.5, "towards_start": True, "weight_decay": 0.5, "ema": 0.5}
    phase = dataclasses.replace(PHASE, epochs=2, warmup=0.2, **settings)
    one, two = (train(tmp_path, phase, distribution=where, patience=9) for where in (ONE_DEVICE, open_distribution("mirrored:2")))
    for a, b in zip(one.task.model.weights, two.task.model.weights, strict=True):
        np.testing.assert_allclose(np.asarray(b.value), np.asarray(a.value), atol=1e-3, err_msg=a.path)


def test_the_moving_average_is_what_a_phase_ends_with(tmp_path):
    last, average = (train(tmp_path, dataclasses.replace(PHASE, epochs=3, keep="last", ema=ema), patience=9) for ema in (0.0, 0.9))
    assert [row["loss"] for row in last.history] == pytest.approx([row["loss"] for row in average.history], rel=1e-3)
    differing = [
        np.abs(np.asarray(a.value) - np.asarray(b.value)).max()
        for a, b in zip(last.task.model.weights, average.task.model.weights, strict=True)
    ]
    assert max(differing) > 1e-4
