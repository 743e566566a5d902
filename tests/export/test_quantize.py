"""Quantised formats: what they hold, what they may lose, and what happens when they lose more."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.export.helpers import classifier
from tests.helpers import pictures
from tlkeras.errors import ConfigError, ExportError, ExportMismatch
from tlkeras.export import tflite
from tlkeras.export.budget import Budget
from tlkeras.export.calibration import Calibration, stratified
from tlkeras.export.export import export
from tlkeras.export.formats import FORMATS
from tlkeras.export.options import OnnxOptions, TFLiteOptions
from tlkeras.export.parity import Samples
from tlkeras.export.spec import ExportSpec
from tlkeras.tasks.registry import TARGET

QUANTISED = [row.name for row in FORMATS if row.quantised]


@pytest.fixture(scope="module")
def trained():
    """A small network that tells the mean colour, trained until it is right."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((16, 16, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Dense(64, activation="relu")(x)))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    x, y = pictures(240)
    model.fit(x.astype("float32"), y, epochs=8, verbose=0)
    return model


@pytest.fixture(scope="module")
def held_out():
    x, y = pictures(60, seed=7)
    return Samples(inputs={"image": x[:4].astype("float32")}, score_inputs=x, score_targets={TARGET: y})


def calibration(scale=1.0, n=32):
    return Calibration(inputs={"image": pictures(n, seed=3)[0].astype("float32") * scale}, chosen={"seed": 3})


SPEC = ExportSpec(**classifier(("red", "green", "blue")))


@pytest.fixture(scope="module")
def written(trained, held_out, tmp_path_factory):
    """Returns a function: format -> its artifact of the trained network, calibrated, written once."""
    artifacts = {}

    def get(name):
        if name not in artifacts:
            folder = tmp_path_factory.mktemp("written")
            (artifacts[name],) = export(trained, SPEC, folder, held_out, formats=(name,), budget=Budget(calibration=calibration()))
        return artifacts[name]

    return get


@pytest.mark.parametrize("name", QUANTISED)
def test_a_quantised_file_keeps_the_accuracy_and_says_what_it_lost(written, name):
    artifact = written(name)
    assert artifact.verdict.drop <= 0.02 and artifact.verdict.accuracy >= 0.98
    record = artifact.to_dict()
    assert record["agreement"] is not None and record["options"]["quantize"] == artifact.options["quantize"]


@pytest.mark.parametrize(
    ("quantize", "holds"), [(None, "FLOAT32"), ("fp16", "FLOAT16"), ("dynamic", "INT8"), ("int8", "INT8"), ("int16x8", "INT8")]
)
def test_a_tflite_file_holds_what_its_name_says(trained, held_out, tmp_path, quantize, holds):
    options = TFLiteOptions(quantize=quantize, calibration=calibration() if quantize in ("int8", "int16x8") else None)
    (artifact,) = export(trained, SPEC, tmp_path, held_out, formats=("mobile",), budget=Budget(options={"mobile": options}))
    held = tflite.composition(artifact.path.read_bytes())
    assert held[holds] > 0.9 * sum(held.values())


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_a_full_integer_file_can_have_integer_inputs_and_outputs(trained, held_out, tmp_path, io):
    from ai_edge_litert.interpreter import Interpreter

    (artifact,) = export(trained, SPEC, tmp_path, held_out, formats=("tflite-int8",), budget=Budget(calibration=calibration(), io=io))
    interpreter = Interpreter(model_path=str(artifact.path))
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert {detail["dtype"] for detail in details} == {np.dtype(io).type}
    assert tflite.activations(artifact.path.read_bytes())["FLOAT32"] == 0


def test_a_full_integer_file_quantises_weights_per_channel(written):
    from ai_edge_litert.interpreter import Interpreter

    scales = [
        len(one["quantization_parameters"]["scales"])
        for one in Interpreter(model_path=str(written("tflite-int8").path)).get_tensor_details()
    ]
    assert 16 in scales and 32 in scales


@pytest.mark.parametrize("name", ["tflite-int8", "onnx-int8"])
def test_full_integer_without_calibration_is_an_error(trained, held_out, tmp_path, name):
    with pytest.raises(ConfigError, match="needs calibration"):
        export(trained, SPEC, tmp_path, held_out, formats=(name,))
    assert not list(tmp_path.iterdir())


def test_T23_too_few_calibration_examples_are_an_error():
    with pytest.raises(ConfigError, match="1 calibration examples are too few"):
        calibration(n=1)


@pytest.mark.parametrize("name", ["tflite-int8", "onnx-int8", "mobile"])
def test_T23_calibration_examples_of_the_wrong_range_are_an_error(trained, held_out, tmp_path, name):
    with pytest.raises(ExportError, match="calibrate on raw inputs"):
        export(trained, SPEC, tmp_path, held_out, formats=(name,), budget=Budget(calibration=calibration(scale=1 / 255)))


def fragile():
    """A network whose answer hangs on a difference far below an 8-bit step of its activations."""
    inputs = keras.Input((16, 16, 3), name="image")
    x = layers.GlobalAveragePooling2D()(inputs)  # means of 60 to 180
    x = layers.Dense(64, use_bias=False, name="mix", kernel_initializer=keras.initializers.RandomNormal(1, 1e-2, seed=0))(x)
    x = layers.Dense(3, use_bias=False, name="last", kernel_initializer=keras.initializers.RandomNormal(0, 1, seed=2))(x)
    return keras.Model(inputs, layers.Softmax()(layers.BatchNormalization(name="norm")(x)))


@pytest.fixture(scope="module")
def fragile_model(held_out):
    model = fragile()
    below = keras.Model(model.input, model.get_layer("last").output)
    out = below.predict(held_out.score_inputs.astype("float32"), verbose=0)
    model.get_layer("norm").moving_mean.assign(out.mean(0))
    model.get_layer("norm").moving_variance.assign(out.var(0))
    return model


def test_T23_a_file_that_loses_more_than_it_may_is_refused_with_advice_and_leaves_nothing(fragile_model, held_out, tmp_path):
    x = held_out.score_inputs
    agree = Samples(inputs=held_out.inputs, score_inputs=x)
    with pytest.raises(ExportMismatch, match=r"agrees with the model on 0\.\d+ .* allowed 0.02; use tflite-fp16 or tflite-dynamic"):
        export(fragile_model, SPEC, tmp_path, agree, formats=("tflite-int8",), budget=Budget(calibration=calibration()))
    assert not list(tmp_path.iterdir())


def test_mobile_takes_int8_where_that_is_good_enough(written):
    artifact = written("mobile")
    assert [one["attempt"] for one in artifact.tried] == ["int8"] and artifact.options["quantize"] == "int8"


def test_mobile_walks_down_the_ladder_until_a_file_is_inside_the_budget(fragile_model, held_out, tmp_path):
    agree = Samples(inputs=held_out.inputs, score_inputs=held_out.score_inputs)
    budget = Budget(calibration=calibration(), max_drop=0.0)
    (artifact,) = export(fragile_model, SPEC, tmp_path, agree, formats=("mobile",), budget=budget)
    *refused, taken = artifact.tried
    assert refused and all(one["refused"] for one in refused) and refused[0]["attempt"] == "int8" and refused[0]["drop"] > 0
    assert taken["refused"] is None and taken["drop"] == 0 and artifact.verdict.drop == 0


def test_mobile_without_calibration_says_that_int8_was_not_tried(trained, held_out, tmp_path):
    (artifact,) = export(trained, SPEC, tmp_path, held_out, formats=("mobile",))
    assert artifact.tried[0] == {"attempt": "int8", "refused": "needs calibration examples, and there are none"}
    assert artifact.options["quantize"] == "dynamic"


@pytest.mark.parametrize("opset", [13, 15, 17])
def test_an_onnx_file_has_the_opset_that_was_asked_for(trained, held_out, tmp_path, opset):
    import onnx

    (artifact,) = export(trained, SPEC, tmp_path, held_out, formats=("onnx",), budget=Budget(opset=opset))
    assert {one.domain: one.version for one in onnx.load(artifact.path).opset_import}[""] == opset


@pytest.mark.parametrize("name", ["onnx", "onnx-fp16", "onnx-int8"])
def test_an_onnx_file_gives_the_same_labels_in_openvino(trained, written, held_out, name):
    pytest.importorskip("openvino", reason="OpenVINO is not installed; it comes with tlkeras[test]")
    from tlkeras.export import runner

    call, _ = runner.openvino(str(written(name).path), ["image"])
    x = held_out.score_inputs.astype("float32")
    assert (call({"image": x})["scores"].argmax(-1) == trained.predict(x, verbose=0).argmax(-1)).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: TFLiteOptions(quantize="int4"),
        lambda: TFLiteOptions(quantize="int8"),
        lambda: TFLiteOptions(calibration=calibration()),
        lambda: TFLiteOptions(io="int8"),
        lambda: TFLiteOptions(quantize="fp16", float_layers=("a",)),
        lambda: OnnxOptions(quantize="int8"),
        lambda: OnnxOptions(opset=19),
        lambda: Budget(max_drop=2.0),
        lambda: Calibration(inputs={"a": np.zeros((9, 1)), "b": np.zeros((8, 1))}),
    ],
)
def test_options_that_do_not_fit_are_errors(make):
    with pytest.raises(ConfigError):
        make()


def test_the_choice_of_calibration_examples_is_even_over_the_classes_and_repeats():
    y = np.array([0] * 90 + [1] * 9 + [2])
    chosen = stratified(y, 20, seed=1)
    assert np.bincount(y[chosen]).tolist() == [10, 9, 1] and len(set(chosen)) == 20
    assert np.array_equal(chosen, stratified(y, 20, seed=1)) and not np.array_equal(chosen, stratified(y, 20, seed=2))


def test_layer_normalisation_and_gelu_compute_in_integers(tmp_path):
    inputs = keras.Input((6, 32), name="image")
    x = layers.LayerNormalization()(layers.Dense(64)(inputs))
    x = layers.Dense(64, activation="gelu")(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    examples = np.random.default_rng(0).uniform(-1, 1, (40, 6, 32)).astype("float32")
    budget = Budget(calibration=Calibration(inputs={"image": examples[8:]}))
    samples = Samples(inputs={"image": examples[:8]})
    (artifact,) = export(model, ExportSpec(), tmp_path, samples, formats=["tflite-int8"], budget=budget)
    assert tflite.activations(artifact.path.read_bytes())["FLOAT32"] <= 2
