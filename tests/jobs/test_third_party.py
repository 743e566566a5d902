"""Models that others trained: what their scores, labels and inputs become in an artifact."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image
from typer.testing import CliRunner

from tlkeras.cli.main import app
from tlkeras.cli.screen import search_lines
from tlkeras.config import ExportModelConfig
from tlkeras.errors import ConfigError, ExportError, UnsupportedOps
from tlkeras.export import open_artifact
from tlkeras.export.formats import FORMATS
from tlkeras.jobs.export_model import default_folder, export_model
from tlkeras.jobs.foreign_model import as_classifier
from tlkeras.progress import Reporter


class Said(Reporter):
    """Remembers what is said."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def network(units, activation=None, *, shape=(8, 8, 3), **options):
    keras.utils.set_random_seed(1)
    inputs = keras.Input(shape, name="image", **options)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(inputs)))
    # Weights that make scores differ much and logits leave 0 to 1.
    return keras.Model(
        inputs, layers.Dense(units, activation=activation, kernel_initializer=keras.initializers.RandomNormal(stddev=9.0))(x)
    )


def images(n=4, shape=(8, 8, 3)):
    return np.random.default_rng(1).integers(0, 256, (n, *shape)).astype("float32")


def answers(model, folder, labels, **options):
    """Returns what the ONNX file of a model answers, and what was said on the way."""
    said = Said()
    export_model(model, folder, ExportModelConfig(formats=["onnx"], labels=labels, **options), reporter=said)
    return open_artifact(folder / "model.onnx").scores(images()), said.lines


def classified(model, labels, **options):
    """Returns what a model answers as `answers` has it, without writing a file."""
    said = Said()
    return as_classifier(model, ExportModelConfig(formats=["onnx"], labels=labels, **options), said)(images()).numpy(), said.lines


# === Scores ===


def test_one_sigmoid_output_becomes_the_scores_of_two_labels(tmp_path):
    model = network(1, "sigmoid")
    p = np.asarray(model(images()))
    scores, said = answers(model, tmp_path / "out", ["cat", "dog"])
    np.testing.assert_allclose(scores, np.concatenate([1 - p, p], -1), atol=1e-5)
    assert any("score of 'dog', 1 - p that of 'cat'" in line for line in said)


def test_one_logit_gets_a_sigmoid_before_it_becomes_two_scores():
    model = network(1)
    p = tf.sigmoid(model(images())).numpy()
    np.testing.assert_allclose(classified(model, ["cat", "dog"])[0], np.concatenate([1 - p, p], -1), atol=1e-5)


def test_one_output_without_labels_is_exported_as_it_is(tmp_path):
    model = network(1, "sigmoid")
    scores, said = answers(model, tmp_path / "out", None)
    np.testing.assert_allclose(scores, model(images()), atol=1e-5)
    assert not said


@pytest.mark.parametrize("labels", [["cat"], ["cat", "dog", "owl"]])
def test_one_output_takes_two_labels_and_no_other_number(tmp_path, labels):
    with pytest.raises(ConfigError, match="second of two labels"):
        answers(network(1, "sigmoid"), tmp_path / "out", labels)


def test_logits_with_labels_become_probabilities_and_it_is_reported(tmp_path):
    model = network(3)
    scores, said = answers(model, tmp_path / "out", ["a", "b", "c"])
    np.testing.assert_allclose(scores, tf.nn.softmax(model(images())), atol=1e-5)
    assert any("added softmax" in line for line in said)


def far_below_zero(x):
    return x - 1000.0


def inside(model):
    """A model as a layer of another, as transfer learning ends."""
    return keras.Sequential([keras.Input((8, 8, 3)), model, layers.Activation("linear")])


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: inside(network(3)), "softmax"),
        (lambda: inside(network(3, "softmax")), None),
        (lambda: keras.Sequential([network(3), layers.Softmax()]), None),
        (lambda: network(3, "sigmoid"), None),
        (lambda: network(3, "tanh"), "softmax"),
        (lambda: network(3, far_below_zero), "softmax"),
    ],
    ids=[
        "logits of an inner model",
        "probabilities of an inner model",
        "a Softmax layer",
        "independent classes",
        "scores from -1 to 1",
        "a function of the user's",
    ],
)
def test_what_the_scores_are_is_seen_in_the_last_layer_or_in_the_answers(build, expected):
    model = build()
    scores, said = classified(model, ["a", "b", "c"])
    raw = model(images())
    np.testing.assert_allclose(scores, raw if expected is None else tf.nn.softmax(raw), atol=1e-5)


@pytest.mark.parametrize(("activation", "function"), [("none", tf.identity), ("sigmoid", tf.sigmoid), ("softmax", tf.nn.softmax)])
def test_the_activation_can_be_said(activation, function):
    model = network(3)
    scores, _ = classified(model, ["a", "b", "c"], activation=activation)
    np.testing.assert_allclose(scores, function(model(images())), atol=1e-4)


def test_a_softmax_over_one_output_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="always 1; expected sigmoid"):
        answers(network(1), tmp_path / "out", ["a", "b"], activation="softmax")


def test_an_activation_without_labels_is_refused():
    with pytest.raises(ConfigError, match="--labels"):
        ExportModelConfig(activation="softmax")


def raw():
    return keras.Sequential([keras.Input((8, 8, 3)), layers.RandomFlip(), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(2)])


def divided():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs / 255)))


@pytest.mark.parametrize(
    ("build", "options", "expected"),
    [(raw, {}, True), (raw, {"input_range": "0-255"}, False), (divided, {}, False), (lambda: inside(network(2)), {}, False)],
    ids=["nothing scales", "said", "an operation scales", "a layer inside scales"],
)
def test_a_model_that_scales_no_pixels_is_reported_where_no_range_is_said(tmp_path, build, options, expected):
    said = answers(build(), tmp_path / "out", None, **options)[1]
    assert any("--input-range 0-1 or -1-1" in line for line in said) == expected


# === Texts ===


def texts_model():
    words = layers.TextVectorization(max_tokens=20, output_sequence_length=4, vocabulary=["good", "bad", "film"])
    x = keras.Input((1,), dtype="string", name="text")
    return keras.Model(x, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(layers.Embedding(20, 4)(words(x)))))


def test_a_model_of_texts_becomes_a_saved_model_that_takes_them(tmp_path):
    model = texts_model()
    model.save(tmp_path / "model.keras")
    (artifact,) = export_model(
        tmp_path / "model.keras", tmp_path / "out", ExportModelConfig(formats=["saved_model"], labels=["neg", "pos"])
    )
    serve = tf.saved_model.load(str(artifact.path)).signatures["serving_default"]
    texts = tf.constant([["a good film"], ["bad"]])
    np.testing.assert_allclose(serve(text=texts)["scores"], model(texts), atol=1e-6)
    assert artifact.also  # the C API of TensorFlow too


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_model_of_texts_is_refused_where_the_runtime_has_no_texts(tmp_path, format):
    with pytest.raises(UnsupportedOps, match=f"{format}: the model works on texts .*LookupTable.*export saved_model"):
        export_model(texts_model(), tmp_path / "out", ExportModelConfig(formats=["saved_model", format]))
    assert not (tmp_path / "out").exists()


# === Inputs ===


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize(
    "options",
    [{"shape": (None, None, 3)}, {"shape": (8, 12, 3)}, {"shape": (8, 8, 1)}, {"shape": (8, 8, 3), "dtype": "uint8"}],
    ids=["free sides", "wide", "grey", "uint8"],
)
def test_images_of_every_kind_are_exported_and_read_back(tmp_path, options, format):
    model = network(3, "softmax", **options)
    (artifact,) = export_model(model, tmp_path / "out", ExportModelConfig(formats=[format], labels=["a", "b", "c"]))
    x = images(3, tuple(side or 10 for side in options["shape"]))
    np.testing.assert_allclose(open_artifact(artifact.path).scores(x), model(x.astype(options.get("dtype", "float32"))), atol=1e-5)


def test_random_examples_of_bytes_cover_all_values(tmp_path):
    export_model(network(3, "softmax", dtype="uint8"), tmp_path / "out", ExportModelConfig(formats=["onnx"]))
    with np.load(tmp_path / "out" / "verification.npz") as kept:
        x = kept["inputs/image"]
    assert x.dtype == np.uint8 and x.min() < 10 and x.max() > 245


def test_a_model_for_batches_of_one_gets_a_free_batch_size(tmp_path):
    inputs = keras.Input(batch_shape=(1, 8, 8, 3), name="image")
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(inputs)))
    scores, _ = answers(model, tmp_path / "out", ["a", "b", "c"])
    assert scores.shape == (4, 3)


def test_a_model_that_cannot_take_other_batches_is_refused(tmp_path):
    inputs = keras.Input(batch_shape=(2, 8))
    fixed = layers.Reshape((4,))(layers.Dense(4)(inputs))
    model = keras.Model(inputs, keras.ops.reshape(keras.ops.reshape(fixed, (8,)), (2, 4)))
    with pytest.raises(ExportError, match="batches of exactly 2.*free batch size"):
        export_model(model, tmp_path / "out", ExportModelConfig(formats=["onnx"]))


def test_a_saved_model_of_wide_images_decodes_them_upright(tmp_path):
    inputs = keras.Input((4, 6, 3), name="image")
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(layers.Flatten()(layers.Rescaling(1 / 255)(inputs))))
    (artifact,) = export_model(model, tmp_path / "out", ExportModelConfig(formats=["saved_model"], labels=["a", "b"]))
    serve = tf.saved_model.load(str(artifact.path)).signatures["serving_default"]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype("uint8")
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    plain, turned = tmp_path / "plain.png", tmp_path / "turned.png"
    Image.fromarray(pixels).save(plain)
    Image.fromarray(np.rot90(pixels).copy()).save(turned, exif=exif)
    out = serve(image_bytes=tf.constant([plain.read_bytes(), turned.read_bytes()]))
    expected = model(pixels[None].astype("float32"))
    np.testing.assert_allclose(out["scores"], np.repeat(expected, 2, 0), atol=1e-5)
    assert out["label"].numpy()[0].decode() == "ab"[int(np.argmax(expected))]


# === The command ===


def run(*arguments):
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_the_folder_has_a_name_where_none_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network(2, "softmax").save(tmp_path / "flowers.keras")
    done = run("flowers.keras", "--formats", "onnx")
    assert done.exit_code == 0 and "artifacts: flowers-export" in done.output
    assert (tmp_path / "flowers-export" / "model.onnx").is_file() and str(default_folder("flowers.keras")) == "flowers-export-2"


def test_a_labels_file_of_teachable_machine_names_the_folders_of_the_examples(tmp_path):
    network(2, "softmax").save(tmp_path / "model.keras")
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbf0 Class 1\r\n1 Nothing\r\n")
    for name in ("Class 1", "Nothing"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(3):
            Image.fromarray(images(1)[0].astype("uint8")).save(tmp_path / "photos" / name / f"{index}.png")
    done = run(
        *(tmp_path / "model.keras", "--labels", tmp_path / "labels.txt", "--calibration", tmp_path / "photos"),
        *("--formats", "onnx", "--out", tmp_path / "out"),
    )
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["labels"] == ["Class 1", "Nothing"] and manifest["artifacts"]["onnx"]["accuracy"] is not None


@pytest.mark.parametrize(("alias", "name"), [("savedmodel", "saved_model"), ("lite", "tflite"), ("tflite-float16", "tflite-fp16")])
def test_a_format_has_its_other_spellings(alias, name):
    assert FORMATS.get(alias).name == name


def record(**attempts):
    return {"mobile": {"tried": [{"attempt": name, **figures} for name, figures in attempts.items()]}, "onnx": {"tried": []}}


def test_the_rung_that_won_is_shown_with_its_figures_and_what_was_not_needed():
    won = {"bytes": 4_000_000, "accuracy": 0.941, "agreement": 0.987, "drop": 0.0, "refused": None}
    (line,) = search_lines(record(int8=won))
    assert line.startswith("mobile: int8, 4.0 MB, accuracy 0.941 (float 0.941); safer rungs not needed (") and "dynamic" in line


def test_a_rung_that_was_judged_by_numbers_shows_how_near_it_is():
    won = {"bytes": 3_300_000, "accuracy": None, "agreement": None, "drop": None, "relative_diff": 2e-4, "refused": None}
    assert search_lines(record(int8=won))[0].startswith("mobile: int8, 3.3 MB, within 2.0e-04 of the largest output")


def test_the_rungs_that_were_refused_are_shown_with_the_reason():
    lost = {"bytes": 9, "accuracy": 0.8, "agreement": 0.8, "drop": 0.141, "refused": "mobile is correct on 0.800"}
    won = {"bytes": 3_700_000, "accuracy": 0.94, "drop": 0.001, "refused": None}
    (line,) = search_lines(record(int8=lost, int16x8={"refused": "no kernel"}, dynamic=won))
    assert "rejected: int8 (lost 0.141 accuracy); int16x8 (no kernel)" in line and "not needed (fp16, float32)" in line
