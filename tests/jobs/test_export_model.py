"""Models that tlkeras never saw: each is exported and verified, or refused with the reason."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image
from typer.testing import CliRunner

from tests.helpers import pictures
from tlkeras.cli.main import app
from tlkeras.config import ExportModelConfig
from tlkeras.errors import ConfigError, DataError, ExportError, OutputError, UnsupportedOps
from tlkeras.export import open_artifact
from tlkeras.jobs.export_model import export_model, read

ALL = ("saved_model", "tflite", "onnx")


def augmented():
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.RandomFlip(),
            layers.RandomContrast(0.3),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def grouped():
    inputs = keras.Input((16, 16, 4))
    x = layers.Activation("gelu")(layers.Conv2D(8, 3, groups=2)(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def mixed():
    with_policy = {"dtype": "mixed_float16"}
    inputs = keras.Input((16, 16, 3))
    x = layers.Flatten(**with_policy)(layers.Conv2D(4, 3, **with_policy)(inputs))
    return keras.Model(inputs, layers.Dense(3, activation="softmax", dtype="float32")(x))


def two_and_two():
    a, b = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    both = layers.Concatenate()([a, b])
    return keras.Model([a, b], [layers.Dense(2, name="sum")(both), layers.Dense(4, name="kind")(both)])


def convnext():
    return keras.applications.ConvNeXtTiny(
        weights=None, include_top=True, classes=3, input_shape=(32, 32, 3), classifier_activation="softmax"
    )


def on_top(backbone, pooled):
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in backbone.input}
    return keras.Model(inputs, layers.Dense(2)(pooled(backbone(inputs))))


def deberta():
    import keras_hub

    backbone = keras_hub.models.DebertaV3Backbone(
        vocabulary_size=50, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, max_sequence_length=16
    )
    return on_top(backbone, lambda output: output[:, 0])


def fnet():
    import keras_hub

    backbone = keras_hub.models.FNetBackbone(vocabulary_size=50, num_layers=1, hidden_dim=16, intermediate_dim=32, max_sequence_length=16)
    return on_top(backbone, lambda output: output["pooled_output"])


# tests/export/test_export.py writes networks like the first three in every format; here the file that is read is the subject.
FOREIGN = [
    (augmented, ("tflite",)),
    (grouped, ("onnx",)),
    (two_and_two, ("tflite",)),
    (mixed, ("onnx",)),  # its float32 twin is built before any format is written
    (deberta, ("tflite", "onnx")),  # a SavedModel needs none of the repairs
    *(pytest.param(build, ALL, marks=pytest.mark.slow) for build in (augmented, grouped, two_and_two, mixed, deberta)),
]


def name(value):
    return "-".join(value) if isinstance(value, tuple) else value.__name__


@pytest.mark.parametrize(("build", "formats"), FOREIGN, ids=name)
def test_a_foreign_model_file_is_written_in_every_format_and_verified(tmp_path, build, formats):
    build().save(tmp_path / "model.keras")
    artifacts = export_model(tmp_path / "model.keras", tmp_path / "out", ExportModelConfig(formats=formats))
    assert [one.format for one in artifacts] == list(formats) and all(one.verdict.relative_diff < 1e-3 for one in artifacts)


@pytest.mark.slow
@pytest.mark.parametrize("format", ALL)
def test_a_convnext_is_written_and_verified(tmp_path, format):
    (artifact,) = export_model(convnext(), tmp_path / "out", ExportModelConfig(formats=[format]))
    assert artifact.verdict.relative_diff < 1e-3


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_fnet_is_refused_where_its_fourier_transform_does_not_run(tmp_path, format):
    with pytest.raises((UnsupportedOps, ExportError), match="FFT2D|Complex"):
        export_model(fnet(), tmp_path / "out", ExportModelConfig(formats=[format]))
    assert not (tmp_path / "out").exists()


def test_fnet_is_written_as_a_saved_model(tmp_path):
    (artifact,) = export_model(fnet(), tmp_path / "out", ExportModelConfig(formats=["saved_model"]))
    assert artifact.verdict.relative_diff < 1e-3


@pytest.mark.parametrize(
    ("build", "formats"), [(grouped, ALL), (two_and_two, ("onnx",)), pytest.param(two_and_two, ALL, marks=pytest.mark.slow)], ids=name
)
def test_a_saved_model_that_keras_exported_is_read(tmp_path, build, formats):
    model = build()
    model.export(tmp_path / "theirs", verbose=False)
    artifacts = export_model(tmp_path / "theirs", tmp_path / "out", ExportModelConfig(formats=formats))
    assert all(one.verdict.relative_diff < 1e-3 for one in artifacts)


# === What is refused ===


@pytest.fixture
def with_lambda(tmp_path):
    inputs = keras.Input((4,))
    keras.Model(inputs, layers.Lambda(lambda x: x * 2)(inputs)).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_a_lambda_is_refused_unless_trusted(with_lambda, tmp_path):
    with pytest.raises(ConfigError, match="Lambda.*--trust"):
        read(with_lambda)
    (artifact,) = export_model(with_lambda, tmp_path / "out", ExportModelConfig(formats=["onnx"], trust=True))
    assert artifact.verdict


def test_layers_of_its_own_are_imported_by_name(tmp_path, monkeypatch):
    (tmp_path / "theirlayers.py").write_text(
        "import keras\n\n@keras.saving.register_keras_serializable('theirs')\nclass Twice(keras.layers.Layer):\n"
        "    def call(self, x):\n        return x * 2\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import theirlayers

    inputs = keras.Input((4,))
    keras.Model(inputs, theirlayers.Twice()(inputs)).save(tmp_path / "model.keras")
    from keras.src.saving import object_registration

    held = object_registration.GLOBAL_CUSTOM_OBJECTS.pop("theirs>Twice")
    monkeypatch.delitem(__import__("sys").modules, "theirlayers")
    with pytest.raises(ExportError, match="--import MODULE|cannot read"):
        read(tmp_path / "model.keras")
    assert read(tmp_path / "model.keras", modules=["theirlayers"]) and held


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": ["a", "b"]}, ConfigError, "2 labels for outputs of shape"),
        ({"formats": ["tflite-int8"]}, ConfigError, "calibration"),
        ({"calibration": "nowhere"}, DataError, "expected a folder of images"),
        ({"input_range": "0-2"}, ConfigError, "expected 0-255, 0-1, -1-1"),
        ({"modules": ["no_such_module_x"]}, ConfigError, "cannot import"),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(tmp_path, options, error, message):
    augmented().save(tmp_path / "model.keras")
    with pytest.raises(error, match=message):
        export_model(tmp_path / "model.keras", tmp_path / "out", ExportModelConfig(**options))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"text"])
def test_a_file_that_is_no_model_is_told(tmp_path, content):
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(ExportError, match="cannot read"):
        read(tmp_path / "model.keras")


def test_a_folder_that_is_no_saved_model_is_told(tmp_path):
    with pytest.raises(ExportError, match="cannot read"):
        read(tmp_path)


def test_a_saved_model_of_texts_is_refused(tmp_path):
    module = tf.Module()
    module.f = tf.function(lambda x: tf.strings.length(x), input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.f)
    with pytest.raises(ExportError, match="accepts texts"):
        read(tmp_path / "m")


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(OutputError, match="not an empty folder"):
        export_model(augmented(), tmp_path / "out", ExportModelConfig())


# === Real examples ===


@pytest.fixture(scope="module")
def trained():
    """A network for pixels of 0-1, as many are trained, which tells the strongest colour."""
    inputs = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1, use_bias=False, name="same")(inputs))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="out")(x))
    model.get_layer("same").set_weights([np.eye(3, dtype="float32")[None, None]])
    model.get_layer("out").set_weights([20 * np.eye(3, dtype="float32"), np.zeros(3, "float32")])
    return model


@pytest.fixture(scope="module")
def folder_of_pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    x, y = pictures(48, size=24)
    for index, (picture, kind) in enumerate(zip(x, y, strict=True)):
        (root / "rgb"[kind]).mkdir(exist_ok=True)
        Image.fromarray(picture).save(root / "rgb"[kind] / f"{index}.png")
    return root


def test_the_command_calibrates_and_judges_on_a_folder_of_pictures_and_its_saved_model_is_read_too(trained, folder_of_pictures, tmp_path):
    trained.save(tmp_path / "model.keras")
    (tmp_path / "labels.txt").write_text("r\ng\nb\n")
    given = ["export", str(tmp_path / "model.keras"), "--out", str(tmp_path / "out"), "--labels", str(tmp_path / "labels.txt")]
    given += [
        "--formats",
        "saved_model,tflite,tflite-int8,mobile,onnx-int8",
        "--calibration",
        str(folder_of_pictures),
        "--input-range",
        "0-1",
    ]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [one["accuracy"] for one in manifest["artifacts"].values()] == [1.0] * 5
    assert manifest["artifacts"]["tflite-int8"]["options"]["calibration"]["examples"] == 24
    x, y = pictures(6, seed=3)
    assert (open_artifact(tmp_path / "out" / "model_int8.tflite").scores(x).argmax(-1) == y).all()  # raw pixels, 0-255
    assert (tmp_path / "out" / "client" / "classify.py").is_file() and (tmp_path / "out" / "labels.txt").read_text() == "r\ng\nb\n"
    (again,) = export_model(tmp_path / "out" / "saved_model", tmp_path / "second", ExportModelConfig(formats=["onnx"]))
    assert again.verdict.relative_diff < 1e-3


def test_arrays_are_examples_for_models_of_other_things(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "examples.npz", left=rng.uniform(-1, 1, (40, 3)), right=rng.uniform(-1, 1, (40, 2)))
    artifacts = export_model(
        two_and_two(), tmp_path / "out", ExportModelConfig(formats=["tflite-int8"], calibration=tmp_path / "examples.npz")
    )
    assert artifacts[0].options["calibration"]["examples"] == 20


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 3))}, "inputs are left, right"),
        ({"left": np.zeros((4, 5)), "right": np.zeros((4, 2))}, r"expected \(None, 3\)"),
        ({"left": np.zeros((4, 3)), "right": np.zeros((5, 2))}, "different lengths"),
    ],
)
def test_arrays_that_do_not_fit_are_told(tmp_path, arrays, message):
    np.savez(tmp_path / "examples.npz", **arrays)
    with pytest.raises(DataError, match=message):
        export_model(two_and_two(), tmp_path / "out", ExportModelConfig(calibration=tmp_path / "examples.npz"))
