"""Grey pictures and pictures of many bands go through an adapter that is named, can be frozen, and is in every artifact."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.helpers import outputs
from tlkeras import config as configs
from tlkeras import models
from tlkeras.backbones import adapters
from tlkeras.data.examples import from_arrays
from tlkeras.errors import ConfigError, DataError
from tlkeras.export.manifest import read_manifest
from tlkeras.jobs import finetune, opening, plan
from tlkeras.modalities.images import decode
from tlkeras.modalities.images.inputs import Images
from tlkeras.modalities.sources import open_source
from tlkeras.training import feature_cache, freezing
from tlkeras.training.freeze_rules import parse

TINY = {"weights": "none", "image_size": 16, "epochs": 1, "backbone": "cnn", "backbone_options": "filters1=4,filters2=4,dense=8"}


def build(channels, adapter=None, **more):
    return models.build(
        "cnn",
        3,
        image_size=16,
        channels=channels,
        adapter=adapter,
        weights="none",
        options={"filters1": 4, "filters2": 4, "dense": 8},
        **more,
    )


def bands(count, channels, seed=0):
    """Three classes, told apart by which band is bright."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    x = rng.integers(0, 60, (count, 20, 20, channels))
    x[np.arange(count), :, :, y % channels] += (60 * y[:, None, None]).astype(x.dtype)
    return x.astype("uint8"), [f"class{one}" for one in y]


# === The layers ===


@pytest.mark.parametrize(("channels", "adapter"), [(1, "repeat"), (1, "conv"), (2, "conv"), (5, "conv")])
def test_an_adapter_starts_as_the_mean_of_the_channels_on_the_range_of_the_backbone(channels, adapter):
    task = build(channels, adapter)
    rgb = build(3)
    for ours, theirs in zip([w for w in task.model.weights if "adapter" not in w.path], rgb.model.weights, strict=True):
        ours.assign(theirs)
    x = np.random.default_rng(0).integers(0, 256, (4, 16, 16, channels)).astype("float32")
    mean = np.repeat(x.mean(axis=-1, keepdims=True), 3, axis=-1)
    assert task.model.input_shape == (None, 16, 16, channels)
    np.testing.assert_allclose(outputs(task.model, x), outputs(rgb.model, mean), atol=1e-5)


def test_rgb_has_no_adapter():
    assert not any(layer.name.startswith(adapters.PREFIX) for layer in build(3).model.layers)
    with pytest.raises(ConfigError, match="need no adapter"):
        build(3, "repeat")


def test_repeat_is_for_grey_only():
    with pytest.raises(ConfigError, match="is for 1 channel, and channels is 4; use conv"):
        build(4, "repeat")


def test_a_trainable_adapter_is_a_section_that_trains_with_the_head_and_can_be_frozen():
    task = build(4)
    assert task.sections["adapter_conv"] == "adapter" and task.section_names == ["adapter", "conv1", "conv2", "dense"]
    flags = {
        one.path: one.trainable for one in freezing.apply(task.model, parse("none", task.section_names), sections=task.sections).layers
    }
    assert flags["adapter_conv"] and not flags["conv1"]
    assert feature_cache.split(task.model).prefix is None  # nothing below the adapter can be kept
    named = (("section:adapter", False), ("section:head", True), ("*", False))
    flags = {one.path: one.trainable for one in freezing.apply(task.model, named, sections=task.sections).layers}
    assert not flags["adapter_conv"] and feature_cache.split(task.model).prefix is not None


def test_an_adapter_without_weights_is_no_section_and_leaves_the_prefix_alone():
    task = build(1)
    assert task.section_names == ["conv1", "conv2", "dense"] and task.sections["adapter_repeat"] == "adapter"
    freezing.apply(task.model, parse("none", task.section_names), sections=task.sections)
    split = feature_cache.split(task.model)
    x = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 1)).astype("float32")
    np.testing.assert_allclose(outputs(split.suffix, outputs(split.prefix, x)), outputs(task.model, x), atol=1e-5)


@pytest.mark.parametrize("spec", ["all", "from:adapter", "last:4", "last:1", "from:conv2", "none"])
def test_every_way_to_unfreeze_goes_with_an_adapter(spec):
    task = build(4)
    flags = {one.path: one.trainable for one in freezing.apply(task.model, parse(spec, task.section_names), sections=task.sections).layers}
    assert flags["adapter_conv"]


# === Decoding ===


@pytest.mark.parametrize(("mode", "ending"), [("RGB", "png"), ("L", "png"), ("RGBA", "png"), ("RGB", "jpg"), ("L", "jpg")])
def test_grey_is_the_luminance_whatever_the_file_stores_as_pillow_has_it(tmp_path, mode, ending):
    rng = np.random.default_rng(0)
    shape = (24, 24) if mode == "L" else (24, 24, len(mode))
    Image.fromarray(rng.integers(0, 256, shape).astype("uint8"), mode).save(tmp_path / f"p.{ending}")
    got = decode.decode_and_resize(tf.constant((tmp_path / f"p.{ending}").read_bytes()), 24, "stretch", 1).numpy()
    opened = Image.open(tmp_path / f"p.{ending}").convert("RGBA")
    expected = np.asarray(Image.alpha_composite(Image.new("RGBA", opened.size, "white"), opened).convert("L"), int)
    assert got.shape == (24, 24, 1) and np.abs(got[..., 0].astype(int) - expected).max() <= 1


def test_a_grey_array_and_its_file_give_the_same(tmp_path):
    x, y = bands(6, 3)
    Image.fromarray(x[0]).save(tmp_path / "p.png")
    pictures = Images(size=10, resize="stretch", channels=1)
    store = pictures.materialise(from_arrays(x, y))
    assert store.inputs.shape == (6, 10, 10, 1)
    assert np.abs(pictures.read(str(tmp_path / "p.png"))[0].astype(int) - store.inputs[0]).max() <= 1


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_bands_are_resized_each_as_by_itself(resize):
    x, y = bands(3, 5)
    whole = Images(size=8, resize=resize, channels=5).materialise(from_arrays(x, y)).inputs
    for band in range(5):
        one = Images(size=8, resize=resize, channels=1).materialise(from_arrays(x[..., band], y)).inputs
        np.testing.assert_array_equal(whole[..., band], one[..., 0])


# === Errors ===


def test_picture_files_of_four_channels_are_an_error_that_says_what_to_give(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((8, 8, 3), "uint8")).save(tmp_path / name / "1.png")
    with pytest.raises(DataError, match=r"channels is 4, and .*1.png' is an image file.*\.npz with x uint8"):
        Images(size=8, resize="stretch", channels=4).materialise(open_source(str(tmp_path)))


def test_arrays_of_other_channels_are_an_error_that_names_both():
    x, y = bands(6, 5)
    with pytest.raises(DataError, match="has 5 channels.*the model accepts 3: set channels to 5"):
        Images(size=8, resize="stretch").materialise(from_arrays(x, y))


def test_channels_are_for_pictures_only():
    with pytest.raises(ConfigError, match="channels is 1; rnn accepts sequences"):
        plan.effective(configs.RunConfig.from_dict({"backbone": "rnn", "weights": "none", "channels": 1}))


def test_the_effective_config_names_the_adapter():
    def told(**values):
        return plan.effective(configs.RunConfig.from_dict({**TINY, **values})).model.channel_adapter

    assert (told(), told(channels=1), told(channels=2)) == (None, "repeat", "conv")


# === From end to end ===


def run(tmp_path, channels, dataset=None, **more):
    values = {**TINY, "channels": channels, "export": "saved_model,tflite,onnx", "out": str(tmp_path / "run"), **more}
    return finetune.finetune(configs.RunConfig.from_dict(values), dataset=dataset)


def test_bands_from_an_npz_file_are_trained_exported_evaluated_and_predicted(tmp_path):
    x, y = bands(60, 4)
    np.savez(tmp_path / "bands.npz", x=x, y=y)
    result = run(tmp_path, 4, data=str(tmp_path / "bands.npz"))
    exports = result.run.exports
    manifest = read_manifest(exports)
    assert manifest["inputs"][0]["shape"] == [None, 16, 16, 4] and manifest["metadata"]["channels"] == "4"
    kernel = keras.saving.load_model(result.run.model).get_layer("adapter_conv").kernel.numpy()
    assert np.abs(kernel - 0.25).max() > 1e-4  # it has trained
    signatures = tf.saved_model.load(str(exports / "saved_model")).signatures
    assert set(signatures) == {"serving_default", "predict_tensor"}
    np.save(tmp_path / "one.npy", x[0])
    answers = []
    for name in (result.run.root, exports / "saved_model", exports / "model.tflite", exports / "model.onnx"):
        target = opening.open_target(name)
        answers.append(target.scores(target.inputs.read(str(tmp_path / "one.npy"))))
        np.testing.assert_allclose(answers[-1], answers[0], atol=1e-5)
    assert not (exports / "client").exists()


def test_grey_files_are_decoded_to_one_channel_in_training_and_in_the_saved_model(tmp_path):
    x, y = bands(45, 3)
    for i, (picture, label) in enumerate(zip(x, y, strict=True)):
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "photos" / label / f"{i}.png")
    result = run(tmp_path, 1, data=str(tmp_path / "photos"), export="saved_model,tflite")
    exports = result.run.exports
    manifest = json.loads((exports / "manifest.json").read_text())
    assert manifest["inputs"][0]["shape"] == [None, 16, 16, 1] and manifest["metadata"]["channels"] == "1"
    content = (tmp_path / "photos" / y[0] / "0.png").read_bytes()
    served = tf.saved_model.load(str(exports / "saved_model")).signatures["serving_default"](image_bytes=tf.constant([content]))
    target = opening.open_target(result.run.root)
    given = target.inputs.read(str(tmp_path / "photos" / y[0] / "0.png"))
    assert given.shape == (1, 16, 16, 1)
    np.testing.assert_allclose(served["scores"].numpy(), target.scores(given), atol=1e-5)
    client = exports / "client" / "classify.py"
    assert 'convert("L")' in client.read_text() and not (exports / "client" / "Classifier.kt").exists()
