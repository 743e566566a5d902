"""Few steps of a small network are not traced: which those are, and that they compute the same."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import pictures, tiny_model
from tests.training.test_phases import PHASE, train
from tlkeras.training import eager

STEPS = 16


@pytest.fixture(autouse=True)
def as_for_users(monkeypatch):
    monkeypatch.setattr(eager, "STEPS", STEPS)


def network_of(*, size=16, width=8, recurrent=False):
    inputs = x = keras.Input((size, size, 3))
    x = layers.Conv2D(width, 3)(x)
    x = layers.Reshape((-1, width))(x)
    x = layers.LSTM(2)(x) if recurrent else layers.Dense(2)(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    ("settings", "steps", "pays"),
    [
        ({}, STEPS, False),
        ({}, STEPS + 1, True),
        ({"size": 300}, 1, True),
        ({"width": 150_000}, 1, True),
        ({"recurrent": True}, 1, True),
    ],
    ids=["few steps", "many steps", "large images", "many weights", "loops over time"],
)
def test_only_few_steps_of_a_small_network_without_loops_are_not_worth_tracing(settings, steps, pays):
    assert eager.worth_tracing(network_of(**settings), steps=steps, batch_size=8) is pays


def test_a_model_that_does_not_tell_its_layers_is_traced():
    class Own(keras.Model):
        def call(self, x):
            return x

    assert eager.worth_tracing(Own(), steps=1, batch_size=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate": 2, "clip_norm": 0.5, "class_weights": {0: 2.0, 1: 0.5, 2: 1.0}},
        {"mixup": 0.4, "label_smoothing": 0.1, "augment": "light", "phase": {"ema": 0.9}},
        {"phase": {"unfreeze": "last:1", "repeats": 2}},
    ],
    ids=["parts of a batch", "mixtures and a moving average", "soup of cached features"],
)
def test_steps_that_are_not_traced_train_the_same_weights(settings, tmp_path, monkeypatch):
    settings = dict(settings)
    phase = {"epochs": 2, **settings.pop("phase", {})}
    results = []
    for steps in (STEPS, 0):
        monkeypatch.setattr(eager, "STEPS", steps)
        results.append(train(tmp_path / str(steps), dataclasses.replace(PHASE, **phase), **settings))
    few, many = results
    for a, b in zip(few.phases[0].history, many.phases[0].history, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    for a, b in zip(few.task.model.get_weights(), many.task.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_answers_are_the_same_with_and_without_tracing():
    model, _ = tiny_model()
    batch = pictures(5)[0].astype("float32")
    few = eager.answers(model, batch, steps=1)
    assert model.predict_function is None
    np.testing.assert_allclose(eager.answers(model, batch, steps=STEPS + 1), few, atol=1e-6)
    assert model.predict_function is not None
