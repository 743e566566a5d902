"""Quantised files of models that answer in units of the data: factor and offset stay in float."""

from functools import partial

import keras
import numpy as np
import pytest

from tlkeras.data.target import Target
from tlkeras.export import float_tail, tflite
from tlkeras.export.budget import Budget
from tlkeras.export.calibration import Calibration
from tlkeras.export.export import export
from tlkeras.export.graph import Graph
from tlkeras.export.parity import Samples
from tlkeras.export.spec import ExportSpec
from tlkeras.tasks import regression
from tlkeras.tasks.registry import TARGET

MEANS, DEVIATIONS = [2000.0, 3e6, 0.0], [5.0, 1e6, 1e-6]  # years, prices, and a number of another magnitude


def network(*, scale=DEVIATIONS, offset=MEANS, width=3):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu", name="stem")(inputs)
    x = keras.layers.Dense(width, name="logits")(keras.layers.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(inputs, keras.layers.Rescaling(scale, offset, name="scores")(x))


def inputs(n=32):
    rng = np.random.default_rng(0)
    return (rng.uniform(0, 4, (n, 8, 8, 1)) * rng.permutation(np.linspace(0, 1, n))[:, None, None, None]).astype("float32")


@pytest.mark.parametrize("name", ["tflite-int8", "tflite-fp16", "onnx-int8", "onnx-fp16", "mobile"])
def test_numbers_of_any_size_are_answered_by_quantised_files(name, tmp_path):
    model, x = network(), inputs()
    y = model.predict(x, verbose=0)
    target = regression.learn(Target(kind="numbers", labels=("year", "price", "share")), {TARGET: y}, regression.Options())
    samples = Samples(inputs={"image": x[:8]}, score_inputs=x, score_targets={TARGET: y})
    budget = Budget(calibration=Calibration(inputs={"image": x}, chosen={}))
    spec = ExportSpec(judge=partial(regression.judge, target=target))
    (artifact,) = export(model, spec, tmp_path, samples, formats=(name,), budget=budget)
    assert artifact.verdict.accuracy > 0.99


def test_an_int8_file_computes_everything_before_in_integers(tmp_path):
    x = inputs()
    samples, budget = Samples(inputs={"image": x[:8]}), Budget(calibration=Calibration(inputs={"image": x}, chosen={}))
    spec = ExportSpec(judge=partial(regression.judge, target=Target(kind="numbers", labels=("a", "b", "c"))))
    (artifact,) = export(network(), spec, tmp_path, samples, formats=("tflite-int8",), budget=budget)
    assert tflite.activations(artifact.path.read_bytes())["FLOAT32"] == 4  # input, before and after the factor, output


def test_the_last_step_is_found_in_the_graph():
    tail = float_tail.of(Graph(network(), ExportSpec()))
    np.testing.assert_allclose(tail.scale, DEVIATIONS, rtol=1e-6)
    np.testing.assert_allclose(tail.offset, MEANS, rtol=1e-6)


def test_other_models_have_none():
    features = keras.Input((4,))
    for output in (keras.layers.Dense(2)(features), keras.layers.Dense(2, activation="softmax")(features)):
        assert float_tail.of(Graph(keras.Model(features, output), ExportSpec())) is None
