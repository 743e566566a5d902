"""Every row of the registry is true; weights come from where they are said to, or not at all."""

import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.conftest import refuse_sockets
from tests.helpers import outputs
from tlkeras.backbones import contracts
from tlkeras.backbones import load as loading
from tlkeras.backbones.builders import efficientnet_lite
from tlkeras.backbones.registry import BACKBONES
from tlkeras.backbones.row import Backbone
from tlkeras.backbones.sections import section_of
from tlkeras.errors import ConfigError, FreezeError, UnknownName, WeightsMismatch, WeightsUnavailable
from tlkeras.registry import Registry
from tlkeras.weights.keras_file import read_keras


def load(*given, **options):
    return loading.load(*given, **options).model


QUICK = ("efficientnet_lite0", "efficientnet_b0", "mobilenet_v3_small", "vgg16", "deit_tiny", "cnn", "vae")
OTHERS = [row.name for row in BACKBONES if row.modality == "image" and row.name not in QUICK]
ROWS = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]


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


LARGEST = "swin_tiny"  # of these presets: its windows need images of 224 pixels


@pytest.fixture(scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name == LARGEST)) for name in SMALL_PRESETS])
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
    np.testing.assert_allclose(outputs(ours.model, pictures(size)), expected, atol=1e-5)
    assert ours.sections[-1][0] == SMALL_PRESETS[name][1]


def test_a_network_of_keras_hub_is_saved_and_loads_equal_without_a_warning(small, tmp_path):
    _, size, _, ours = small
    ours.model.save(tmp_path / "m.keras")
    again = read_keras(tmp_path / "m.keras")
    np.testing.assert_array_equal(outputs(again, pictures(size)), outputs(ours.model, pictures(size)))


def test_mobilenet_v5_has_the_figures_of_keras_hub_s_converter():
    from keras_hub.src.utils.timm.convert_mobilenetv5 import MODEL_CONFIGS

    told = dict(MODEL_CONFIGS["mobilenetv5_300m"])
    assert BACKBONES.get("mobilenet_v5_300m").figures == told.pop("backbone") | told


def test_the_normalisation_that_a_preset_says_itself_comes_first(tmp_path, no_sockets):
    theirs = tiny_preset(tmp_path / "preset", "deit_tiny", {"image_size": (32, 32), "scale": 1 / 64, "offset": [-2.0, -1.0, 0.0]})
    ours = load("deit_tiny", image_size=32, weights=str(tmp_path / "preset"))
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    expected = outputs(theirs, x / 64 + np.array([-2, -1, 0], "float32"))
    np.testing.assert_allclose(outputs(ours, x), expected, atol=1e-5)


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


def test_a_hub_that_cannot_be_reached_is_one_line_with_the_other_ways(monkeypatch, waited):
    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(WeightsUnavailable) as caught:
        load("swin_tiny")
    text = str(caught.value)
    assert sum(waited) < 30 and "\n" not in text
    assert all(
        part in text for part in ("swin_tiny", "--weights FOLDER", "--weights FILE", "--backbone efficientnet_lite0", "--weights none")
    )


def test_two_builds_have_equal_layer_names_whatever_was_built_before(loaded_elsewhere):
    keras.layers.Dense(2), keras.layers.Rescaling(2.0), keras.layers.ReLU()
    for name, (*_, names) in loaded_elsewhere.items():
        again = load(name, image_size=32, weights="none", options=few_layers(BACKBONES.get(name)))
        assert [layer.name for layer in again.layers] == names


LOADED = """
import pathlib, sys, keras, numpy as np
folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.glob("*.keras")):
    np.save(path.with_suffix(".npy"), keras.saving.load_model(path)(np.load(folder / "inputs.npy"), training=False))
assert "tlkeras" not in sys.modules
"""


@pytest.fixture(scope="module", params=[QUICK[::2], pytest.param(QUICK[1::2], marks=pytest.mark.slow)], ids=" ".join)
def loaded_elsewhere(request, tmp_path_factory):
    """Name -> what a saved backbone answers here, and in a process without tlkeras, which loads them all, and the names of its layers."""
    folder = tmp_path_factory.mktemp("loaded")
    x = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype("float32")
    np.save(folder / "inputs.npy", x)
    here = {}
    for name in request.param:
        model = load(name, image_size=32, weights="none", options=few_layers(BACKBONES.get(name)))
        model.save(folder / f"{name}.keras")
        here[name] = np.asarray(model(x, training=False)), [layer.name for layer in model.layers]
    subprocess.run([sys.executable, "-I", "-c", LOADED, str(folder)], check=True, capture_output=True)
    return {name: (here[name][0], np.load(folder / f"{name}.npy"), here[name][1]) for name in request.param}


def test_a_saved_backbone_loads_equal_without_tlkeras(loaded_elsewhere):
    for name, (here, elsewhere, _) in loaded_elsewhere.items():
        np.testing.assert_allclose(elsewhere, here, atol=1e-5, err_msg=name)


def test_an_unknown_backbone_lists_near_names():
    with pytest.raises(UnknownName, match="did you mean 'resnet50'"):
        load("resnet5O")


def test_a_size_below_the_smallest_is_an_error():
    with pytest.raises(ConfigError, match="75 pixels or more"):
        load("inception_v3", image_size=64, weights="none")


def test_registering_a_name_twice_is_an_error():
    with pytest.raises(ValueError, match="already"):
        Registry[Backbone]("backbone", [BACKBONES.get("vgg16"), BACKBONES.get("vgg16")])


def test_a_section_pattern_that_matches_nothing_is_an_error():
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


@pytest.mark.slow
def test_efficientnet_lite_is_layer_for_layer_the_network_of_keras_cv():
    from keras_cv.models import EfficientNetLiteBackbone

    row = BACKBONES.get("efficientnet_lite0")
    ours = efficientnet_lite.build(row, 64)
    theirs = EfficientNetLiteBackbone(
        include_rescaling=False,
        width_coefficient=row.scale[0],
        depth_coefficient=row.scale[1],
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        input_shape=(64, 64, 3),
    )
    theirs = keras.Model(theirs.input, theirs.output)
    assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
    theirs.set_weights(ours.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    np.testing.assert_allclose(outputs(ours, x), outputs(theirs, x), atol=1e-5)
