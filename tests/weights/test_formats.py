"""Files of weights: every format gives the same network, or says what differs; nothing is loaded in part."""

import dataclasses
import hashlib
import pickle
import re
import socket

import h5py
import keras
import numpy as np
import pytest

from tests.helpers import outputs
from tlkeras.backbones import load as loading
from tlkeras.backbones.registry import BACKBONES
from tlkeras.errors import WeightsMismatch, WeightsUnavailable
from tlkeras.weights import formats as files
from tlkeras.weights import torch_pickle


def load(*arguments, **options):
    return loading.load(*arguments, **options).model


def test_a_checkpoint_that_wants_to_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(torch_pickle.MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + pickle.dumps({"w": Evil()}, 2))
    with pytest.raises(WeightsMismatch, match="builtins.print|__builtin__.print"):
        torch_pickle.read(path)


@pytest.mark.parametrize("content", [b"", b"<html>", pickle.dumps(torch_pickle.MAGIC, 2), pickle.dumps({"a": 1}, 2)])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsMismatch):
        torch_pickle.read(path)


@pytest.fixture(scope="module")
def b0_file(tmp_path_factory):
    """A file as an air-gapped user has it: weights without classifier, with statistics of its own in the normalisation."""
    keras.utils.set_random_seed(0)
    base = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3))
    for layer in base.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.adapt_mean.assign([0.485, 0.456, 0.406])
            layer.adapt_variance.assign([0.229, 0.224, 0.225])
    path = tmp_path_factory.mktemp("b0") / "b0_notop.weights.h5"
    base.save_weights(path)
    return path


def test_T19_efficientnet_v1_from_a_local_file_equals_weights_imagenet(b0_file, monkeypatch, no_sockets):
    from keras.src.applications import efficientnet

    path = b0_file
    monkeypatch.setattr(efficientnet.file_utils, "get_file", lambda *a, **k: str(path))
    theirs = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(64, 64, 3))
    ours = load("efficientnet_b0", image_size=64, weights=str(path))
    plain = load("efficientnet_b0", image_size=64, weights="none")
    x = np.random.default_rng(1).integers(0, 255, (2, 64, 64, 3)).astype("float32")
    expected = outputs(theirs, x)
    np.testing.assert_allclose(outputs(ours, x), expected, atol=1e-5 * np.abs(expected).max())
    rescalings = [sum(isinstance(layer, keras.layers.Rescaling) for layer in model.layers) for model in (theirs, ours, plain)]
    assert rescalings == [2, 2, 1]
    # Without the layer that keras.applications leaves out for local files, it is another network.
    unscaled = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3))
    unscaled.load_weights(path)
    assert np.abs(outputs(unscaled, x) - expected).max() > 0.01 * np.abs(expected).max()


def test_T19_a_file_with_its_hash_is_checked(b0_file, no_sockets):
    path = b0_file
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    load("efficientnet_b0", image_size=64, weights=f"{path}#sha256={digest}")
    with pytest.raises(WeightsMismatch, match="has sha256"):
        load("efficientnet_b0", image_size=64, weights=f"{path}#sha256={'0' * 64}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("page.h5", b"<!DOCTYPE html><html>Sign in</html>", "is a web page"),
        ("cut.weights.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 200, "cannot be read as a HDF5 file"),
        ("junk.h5", b"junk", "not a complete HDF5"),
        ("junk.keras", b"junk", "not a complete Keras archive"),
        ("w.pth", b"junk", "not a complete PyTorch checkpoint"),
        ("w.pth", b"PK\x03\x04junk", "accepts no PyTorch checkpoints"),
        ("page.safetensors", b" <html>", "is a web page"),
        ("w.npz", b"junk", "an unknown kind"),
    ],
)
def test_T19_a_file_that_is_no_weights_is_one_clear_error(tmp_path, no_sockets, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsMismatch, match=message):
        load("vgg16", image_size=32, weights=str(tmp_path / name))


def test_T19_the_weights_of_another_network_are_refused(b0_file, no_sockets):
    path = b0_file
    with pytest.raises(WeightsMismatch, match="does not fit mobilenet_v3_small, a backbone without classifier"):
        load("mobilenet_v3_small", image_size=64, weights=str(path))


@pytest.mark.parametrize("lower", [True, False])
def test_T18_a_legacy_h5_saved_with_layers_frozen_gives_the_same_network(tmp_path, no_sockets, lower):
    base = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(32, 32, 3))
    rng = np.random.default_rng(0)
    for index, layer in enumerate(base.layers):
        layer.trainable = (index < 80) != lower
        layer.set_weights([rng.uniform(0.5, 1.0, w.shape) if "moving" in w.path else w.numpy() for w in layer.weights])
    keras.src.legacy.saving.legacy_h5_format.save_model_to_hdf5(base, tmp_path / "m.h5", include_optimizer=False)
    model = load("mobilenet_v3_small", image_size=32, weights=str(tmp_path / "m.h5"))
    x = rng.integers(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(outputs(model, x), outputs(base, x))


def test_T18_a_legacy_h5_with_the_backbone_as_one_nested_layer_is_refused(tmp_path, no_sockets):
    base = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(32, 32, 3))
    inputs = keras.Input((32, 32, 3))
    nested = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(base(inputs))))
    keras.src.legacy.saving.legacy_h5_format.save_model_to_hdf5(nested, tmp_path / "m.h5", include_optimizer=False)
    with pytest.raises(WeightsMismatch, match="does not fit"):
        load("mobilenet_v3_small", image_size=32, weights=str(tmp_path / "m.h5"))


def as_h5(model, path):
    keras.src.legacy.saving.legacy_h5_format.save_model_to_hdf5(model, path, include_optimizer=False)


WRITERS = {"m.h5": as_h5, "m.keras": lambda model, path: model.save(path), "m.weights.h5": lambda model, path: model.save_weights(path)}


TINY = dataclasses.replace(BACKBONES.get("mobilenet_v3_small"), name="tiny", features=4, classifier=("conv_2", "logits"))


def tiny(top=(), **values):
    """A network as those of keras.applications are, of a few layers; with `top`, with layers of these names above."""
    layers = keras.layers
    inputs = x = keras.Input((8, 8, 3))
    x = layers.Normalization(name="normalization", mean=None)(x)
    x = layers.Conv2D(4, **{"kernel_size": 3, "use_bias": False, **values.get("conv", {})}, name="conv")(x)
    x = layers.BatchNormalization(**values.get("conv_bn", {}), name="conv_bn")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.Sequential([layers.Conv2D(4, 1, name="inner"), layers.LayerNormalization(name="inner_norm")], name="block")(x)
    for width, name in enumerate(top, 5):
        x = layers.Conv2D(width, 1, name=name)(x)
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(len(top))
    for variable in model.weights:
        variable.assign(rng.uniform(0.5, 1, variable.shape).astype(variable.dtype))
    return model


def same(ours, theirs):
    pairs = zip(ours.weights, theirs.weights, strict=False)  # a classifier stands behind all others
    return all(np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_of_the_whole_network_gives_its_features_and_says_what_is_left_out(tmp_path, name):
    whole = tiny(top=("Conv_2", "Logits"))
    WRITERS[name](whole, tmp_path / name)
    model = tiny()
    assert not same(model, whole)
    (note,) = files.fill(TINY, model, tmp_path / name)
    assert "contains the classifier of tiny" in note and "Conv_2, Logits" in note
    assert same(model, whole)
    normalization = model.get_layer("normalization")  # which computes with copies of its weights
    np.testing.assert_array_equal(np.ravel(normalization.mean), normalization.weights[0].numpy())


@pytest.mark.parametrize("top", [("mine", "logits"), ("logits", "conv_2"), ("conv_2", "conv_3", "logits")])
@pytest.mark.parametrize("name", WRITERS)
def test_layers_that_are_not_the_classifier_of_that_network_are_not_left_out(tmp_path, name, top):
    if name == "m.weights.h5" and top == ("logits", "conv_2"):
        pytest.skip("its paths tell no order")
    WRITERS[name](tiny(top=top), tmp_path / name)
    with pytest.raises(WeightsMismatch, match=r"differences?;.*\n(.*\n)*  \+ .*\(1, 1, \d, \d\)  only in the file"):
        files.fill(TINY, tiny(), tmp_path / name)


def test_vgg_with_its_classifier_is_the_one_that_keras_publishes():
    row = BACKBONES.get("vgg16")
    whole = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=2)
    ours = [files.group_of(layer, layer.weights) for layer in load("vgg16", image_size=32, weights="none").layers if layer.weights]
    theirs = [files.group_of(layer, layer.weights) for layer in whole.layers if layer.weights]
    kept, top = files.without_classifier(row, ours, theirs)
    assert top == ["fc1", "fc2", "predictions"] and [group.shapes for group in kept] == [group.shapes for group in ours]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("layer", "values", "line"),
    [
        ("conv", {"use_bias": True}, r"\+ .*\(4,\)  only in the file"),
        ("conv_bn", {"center": False}, r"- conv_bn/\w+ \(4,\)  only in the backbone"),
        ("conv", {"kernel_size": 5}, r"! conv/kernel \(3, 3, 3, 4\)  in the file .* \(5, 5, 3, 4\)"),
    ],
)
def test_what_differs_is_told_layer_by_layer_in_every_format_and_nothing_is_taken(tmp_path, name, layer, values, line):
    WRITERS[name](tiny(top=("logits",), **{layer: values}), tmp_path / name)
    model = tiny()
    before = [variable.numpy() for variable in model.weights]
    with pytest.raises(WeightsMismatch) as told:
        files.fill(TINY, model, tmp_path / name)
    lines = str(told.value).splitlines()
    assert "does not fit tiny" in lines[0] and any(re.search(line, one) for one in lines[1:]), lines
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True))


def test_layers_in_another_order_are_found_by_their_names(tmp_path):
    whole, model = tiny(top=("x",)), tiny()
    as_h5(keras.Model(whole.input, whole.get_layer("block").output), tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        file["model_weights"].attrs["layer_names"] = file["model_weights"].attrs["layer_names"][::-1]
    assert files.fill(TINY, model, tmp_path / "m.h5") == () and same(model, whole)


@pytest.mark.parametrize("kind", ["external", "soft"])
@pytest.mark.parametrize("name", ["m.h5", "m.weights.h5"])
def test_a_link_out_of_an_hdf5_file_is_not_followed(tmp_path, kind, name):
    WRITERS[name](tiny(), tmp_path / f"other_{name}")
    WRITERS[name](tiny(), tmp_path / name)
    root = "model_weights/conv" if name == "m.h5" else "layers"
    with h5py.File(tmp_path / name, "r+") as file:
        if kind == "soft":
            file.move(root, "elsewhere")
        else:
            del file[root]
        file[root] = h5py.SoftLink("/elsewhere") if kind == "soft" else h5py.ExternalLink(str(tmp_path / f"other_{name}"), root)
    with pytest.raises(WeightsMismatch, match="Not allowed: H5 file with (Soft|External)Link"):
        files.fill(TINY, tiny(), tmp_path / name)


def test_a_bfloat16_file_gives_float32_weights(tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("bfloat16")
    try:
        rounded = tiny()
    finally:
        keras.config.set_dtype_policy(before)
    rounded.save_weights(tmp_path / "m.weights.h5")
    model = tiny(top=("other",))
    model = keras.Model(model.input, model.get_layer("block").output)
    files.fill(TINY, model, tmp_path / "m.weights.h5")
    kernel = model.get_layer("conv").kernel
    assert kernel.dtype == "float32"
    np.testing.assert_array_equal(kernel.numpy(), np.asarray(rounded.get_layer("conv").kernel, "float32"))


def test_a_network_of_sequences_takes_a_file_too(tmp_path, no_sockets):
    told = {"time": 4, "features": 2, "mean": [0.0, 0.0], "std": [1.0, 1.0]}
    first = load("rnn", weights="none", data=told)
    first.save_weights(tmp_path / "m.weights.h5")
    again = load("rnn", weights=str(tmp_path / "m.weights.h5"), data=told)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(first.weights, again.weights, strict=True))


def test_a_keras_file_gives_its_weights(tmp_path, no_sockets):
    base = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3))
    base.save(tmp_path / "m.keras")
    model = load("mobilenet", image_size=32, weights=str(tmp_path / "m.keras"))
    x = np.random.default_rng(1).integers(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(outputs(model, x), outputs(base, x), atol=1e-6)


def test_weights_that_cannot_be_had_say_so_at_once_and_name_the_alternatives(monkeypatch, tmp_path, waited):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.src.utils.file_utils.config, "keras_home", lambda: str(tmp_path), raising=False)

    def blocked(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", blocked)
    with pytest.raises(WeightsUnavailable, match="--weights FILE.*--backbone efficientnet_lite0.*--weights none"):
        load("densenet121", image_size=32)
    assert sum(waited) < 10


def test_a_missing_file_and_a_wheel_that_no_row_has_are_errors():
    with pytest.raises(WeightsUnavailable, match="no weights file"):
        load("vgg16", image_size=32, weights="nowhere.h5")
    with pytest.raises(WeightsUnavailable, match="has no weights of the kind 'wheel'; instead: "):
        load("vgg16", image_size=32, weights="wheel")
