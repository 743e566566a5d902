"""Who computes the features: equal to TensorFlow's, worth its conversion, and reported."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from tests.helpers import pictures
from tests.training.test_feature_cache import split
from tlkeras.training import engines, feature_cache
from tlkeras.training.engines import Engines, Record
from tlkeras.training.feature_cache import Engine

X, _ = pictures(45)
MANY = 100_000


@pytest.fixture(scope="module")
def prefix():
    return split("last:1")[1].prefix


@pytest.fixture
def speeds(monkeypatch):
    """Times TensorFlow at 10 ms and LiteRT at 1 ms; counts how often anything is timed."""
    timed = []

    def milliseconds(engine, examples):
        timed.append(engine)
        return 10.0 if len(timed) % 2 else 1.0

    monkeypatch.setattr(engines, "_milliseconds", milliseconds)
    return timed


def chosen(prefix, folder=None, count=MANY, **settings):
    lines = []
    settings = {"eligible": True, "folder": folder, "say": lines.append, **settings}
    engine = Engines(prefix=prefix, images=X, **settings)(count)
    return engine, lines


def test_litert_computes_the_features_of_tensorflow_and_is_reported_and_remembered(prefix, speeds, tmp_path):
    engine, (line,) = chosen(prefix, tmp_path)
    expected = feature_cache.compute(prefix, X)
    for ours, theirs in zip(feature_cache.compute(prefix, X, engine), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    assert "features: LiteRT (TensorFlow 10.00 ms" in line and len(speeds) == 2
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text())["litert"] == 1.0
    again, (line,) = chosen(prefix, tmp_path)
    assert again.at_once == engine.at_once and "an earlier run measured" in line and len(speeds) == 2
    few, lines = chosen(prefix, tmp_path, count=engines.FEWEST)
    record = Record(**json.loads(path.read_text()))
    assert record.pays(engines.FEWEST) or (not lines and few.batch_size == feature_cache.batch_size_of(prefix))


def test_features_that_differ_are_refused_loudly_and_tensorflow_computes_them(prefix, speeds, tmp_path, monkeypatch):
    def wrong(function, prefix):
        run = feature_cache.constant_function(prefix)
        return Engine(run=lambda batch: [value * 1.001 for value in run(batch)], batch_size=2)

    monkeypatch.setattr(engines, "litert", wrong)
    engine, (line,) = chosen(prefix, tmp_path)
    assert "features: TensorFlow, as LiteRT cannot be used: its features differ by" in line
    assert all(
        np.array_equal(a, b) for a, b in zip(feature_cache.compute(prefix, X, engine), feature_cache.compute(prefix, X), strict=True)
    )
    assert chosen(prefix, tmp_path)[1] == [] and len(speeds) == 1  # remembered: neither converted nor timed again


def test_a_network_that_cannot_be_converted_is_refused_loudly(speeds):
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3)(x)
    network = keras.Model(inputs, keras.ops.fft2((x, x * 0))[0])  # TFLite has no complex numbers
    engine = Engines(prefix=network, images=np.zeros((45, 8, 8, 3), "uint8"), eligible=True, say=(lines := []).append)(MANY)
    assert lines and "LiteRT cannot be used" in lines[0] and engine(np.zeros((1, 8, 8, 3), "float32"))[0].shape[0] == 1


@pytest.mark.parametrize("settings", [{"count": engines.FEWEST - 1}, {"eligible": False}])
def test_few_examples_and_other_inputs_stay_with_tensorflow_untimed(prefix, speeds, settings):
    assert chosen(prefix, **settings)[1] == [] and not speeds


def test_litert_pays_where_the_examples_save_more_than_its_conversion_costs():
    record = Record(tensorflow=10.0, litert=8.0, conversion=3.0)
    assert not record.pays(1400) and record.pays(1600)
    assert not dataclasses.replace(record, litert=9.5).pays(10**6) and not dataclasses.replace(record, litert=None).pays(10**6)


def test_only_convolutions_over_inputs_of_one_size_on_one_device_are_eligible(prefix):
    assert engines.eligible(prefix, None, one_device=True)
    assert not engines.eligible(prefix, None, one_device=False) and not engines.eligible(prefix, np.ones(45), one_device=True)
    inputs = keras.Input((4,))
    assert not engines.eligible(keras.Model(inputs, keras.layers.Dense(2)(inputs)), None, one_device=True)


def test_weights_are_constants_only_where_there_are_convolutions(prefix):
    inputs = keras.Input((4,))
    dense = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    assert feature_cache.traced(dense).captured_inputs and not feature_cache.traced(prefix).captured_inputs
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    np.testing.assert_allclose(feature_cache.compute(dense, x)[0], dense.predict(x, verbose=0), atol=1e-6)


def test_an_engine_is_timed_per_example():
    engine = Engine(run=lambda batch: [batch], batch_size=4, at_once=2)
    assert 0 < engines._milliseconds(engine, np.zeros((9, 2), "float32")) < 10
