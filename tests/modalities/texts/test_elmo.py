"""ELMo: against a NumPy forward pass on files of AllenNLP's layout, exported, pretrained, fine-tuned; its words."""

import importlib.util
import json
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import outputs
from tests.modalities.texts.conftest import STRANGE, check_raw_strings, reviews, sentences
from tlkeras import models
from tlkeras.backbones.builders import elmo
from tlkeras.backbones.load import load
from tlkeras.backbones.registry import BACKBONES
from tlkeras.config import RunConfig
from tlkeras.data.examples import Example, make_dataset
from tlkeras.errors import ConfigError, WeightsMismatch, WeightsUnavailable
from tlkeras.jobs import finetune, opening, predict
from tlkeras.jobs.api import pretrain
from tlkeras.jobs.backbone_record import find_backbone
from tlkeras.modalities.texts.characters import Words
from tlkeras.modalities.texts.tokens import load as load_tokens
from tlkeras.pretraining import language_model
from tlkeras.pretraining.language_model import Vocabulary
from tlkeras.training import freezing
from tlkeras.weights.keras_file import read_keras
from tlkeras.weights.layers import ProjectedLSTM
from tlkeras.zoo import check
from tlkeras.zoo.store import Zoo

# Layout and numbers as AllenNLP publishes them, but tiny.
TOLD = {
    "lstm": {"use_skip_connections": True, "projection_dim": 4, "cell_clip": 0.3, "proj_clip": 0.1, "dim": 6, "n_layers": 2},
    "char_cnn": {
        "activation": "relu",
        "filters": [[1, 2], [2, 3], [3, 4]],
        "n_highway": 2,
        "embedding": {"dim": 5},
        "n_characters": 262,
        "max_characters_per_token": 50,
    },
}
TINY = "units=6,projection=4,highways=1,embedding=5,filters=1x2+2x3+3x4"
OPTIONS = dict(one.split("=") for one in TINY.split(","))


def arrays(told, seed=0):
    """Returns random arrays by their path in the file."""
    rng = np.random.default_rng(seed)
    cnn, lstm = told["char_cnn"], told["lstm"]
    found, out, units = sum(number for _, number in cnn["filters"]), lstm["projection_dim"], lstm["dim"]
    shapes = {"char_embed": (261, cnn["embedding"]["dim"]), "CNN_proj/W_proj": (found, out), "CNN_proj/b_proj": (out,)}
    for place, (width, number) in enumerate(cnn["filters"]):
        shapes |= {f"CNN/W_cnn_{place}": (1, width, cnn["embedding"]["dim"], number), f"CNN/b_cnn_{place}": (number,)}
    for place in range(cnn["n_highway"]):
        for gate in ("carry", "transform"):
            shapes |= {f"CNN_high_{place}/W_{gate}": (found, found), f"CNN_high_{place}/b_{gate}": (found,)}
    for direction in range(2):
        for place in range(lstm["n_layers"]):
            cell = f"RNN_{direction}/RNN/MultiRNNCell/Cell{place}/LSTMCell"
            shapes |= {f"{cell}/W_0": (2 * out, 4 * units), f"{cell}/B": (4 * units,), f"{cell}/W_P_0": (units, out)}
    return {name: rng.normal(0, 0.4, shape).astype("float32") for name, shape in shapes.items()}


def write(folder, told=TOLD, stem="", **changes):
    """Writes a folder as AllenNLP publishes it."""
    folder.mkdir(exist_ok=True)
    (folder / f"{stem}options.json").write_text(json.dumps(told))
    with h5py.File(folder / f"{stem}weights.hdf5", "w") as file:
        for name, value in (arrays(told) | changes).items():
            if value is not None:
                file[name] = value
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("elmo") / "published")


# === The forward pass, by NumPy alone ===


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def word_vector(told, given, ids):
    """Returns the vector of one word: character ids as the file counts them, without the one added for the filling."""
    cnn = told["char_cnn"]
    characters = given["char_embed"].astype("float64")[ids]
    found = []
    for place, (width, number) in enumerate(cnn["filters"]):
        kernel, bias = given[f"CNN/W_cnn_{place}"][0], given[f"CNN/b_cnn_{place}"]
        answers = [
            [sum(float(characters[at + k] @ kernel[k, :, one]) for k in range(width)) + bias[one] for one in range(number)]
            for at in range(len(ids) - width + 1)
        ]
        best = np.max(answers, axis=0)
        found.append(np.tanh(best) if cnn["activation"] == "tanh" else np.maximum(best, 0))
    x = np.concatenate(found)
    for place in range(cnn["n_highway"]):
        at = f"CNN_high_{place}"
        carry = sigmoid(x @ given[f"{at}/W_carry"] + given[f"{at}/b_carry"])
        x = carry * np.maximum(x @ given[f"{at}/W_transform"] + given[f"{at}/b_transform"], 0) + (1 - carry) * x
    return x @ given["CNN_proj/W_proj"] + given["CNN_proj/b_proj"]


def clipped(x, limit):
    return np.clip(x, -limit, limit) if limit else x


def lstm(told, given, direction, place, steps):
    """TensorFlow 1's LSTMCell: gates in the order i, j, f, o; 1 added to the forget gate; memory and output clipped."""
    cell = f"RNN_{direction}/RNN/MultiRNNCell/Cell{place}/LSTMCell"
    sizes = told["lstm"]
    c, m = np.zeros(sizes["dim"]), np.zeros(sizes["projection_dim"])
    out = []
    for x in steps:
        i, j, f, o = np.split(np.concatenate([x, m]) @ given[f"{cell}/W_0"] + given[f"{cell}/B"], 4)
        c = clipped(sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j), sizes["cell_clip"])
        m = clipped((sigmoid(o) * np.tanh(c)) @ given[f"{cell}/W_P_0"], sizes["proj_clip"])
        out.append(m)
    return np.array(out)


def forward_pass(told, given, words):
    """Returns the layers for one text (words, 50), alone, without any filling: 3 x (words, 2 projections)."""
    x = np.stack([word_vector(told, given, ids - 1) for ids in words])
    layers, ahead, back = [np.concatenate([x, x], axis=1)], x, x[::-1]
    for place in range(told["lstm"]["n_layers"]):
        skip = place and told["lstm"]["use_skip_connections"]
        ahead = lstm(told, given, 0, place, ahead) + (ahead if skip else 0)
        back = lstm(told, given, 1, place, back) + (back if skip else 0)
        layers.append(np.concatenate([ahead, back[::-1]], axis=1))
    return layers


TEXTS = ["A great film, it's not dull!", "", "so so", "日本語 " + "x" * 70]
VARIANTS = {
    "published": {},
    "tanh": {"char_cnn": {"activation": "tanh", "n_highway": 1}},
    "no clipping": {"lstm": {"cell_clip": None, "proj_clip": None}},
    "no skip": {"lstm": {"use_skip_connections": False}},
    "one layer": {"lstm": {"n_layers": 1}, "char_cnn": {"n_highway": 0}},
}


def variant(name):
    return {part: {**TOLD[part], **VARIANTS[name].get(part, {})} for part in TOLD}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_layer_is_that_of_a_forward_pass_by_numpy(name, tmp_path):
    told = variant(name)
    base = load("elmo", weights=str(write(tmp_path / "elmo", told)))
    ids = base.tokens(TEXTS)
    got = outputs(base.model, ids)
    lengths = base.tokens.lengths(ids)
    for index, length in enumerate(lengths):
        expected = forward_pass(told, arrays(told), ids[index, :length])
        assert len(expected) == len(got) == told["lstm"]["n_layers"] + 1
        for ours, theirs in zip(got, expected, strict=True):
            np.testing.assert_allclose(ours[index, :length], theirs, atol=2e-5)
            assert not ours[index, length:].any()


def test_clipping_bites_in_what_is_compared_here():
    ids = load("elmo", weights="none", options=OPTIONS).tokens(TEXTS[:1])[0]
    told, free = TOLD, variant("no clipping")
    with_limits, without = forward_pass(told, arrays(told), ids), forward_pass(free, arrays(free), ids)
    assert np.abs(with_limits[1] - without[1]).max() > 0.05 and np.abs(with_limits[1]).max() == pytest.approx(0.1)


def test_pooling_is_the_learned_mix_and_the_mean_over_the_words_without_start_and_end(folder):
    task = models.build("elmo", 2, weights=str(folder))
    mix = task.model.get_layer("scalar_mix")
    mix.set_weights([np.array([0.3, -1.0, 2.0], "float32"), np.float32(1.5)])
    ids = task.tokens(TEXTS)
    got = keras.Model(task.model.input, task.model.get_layer(models.FEATURES).output).predict(ids, verbose=0)
    weights = np.exp([0.3, -1.0, 2.0]) / np.exp([0.3, -1.0, 2.0]).sum()
    for index, length in enumerate(task.tokens.lengths(ids)):
        layers = forward_pass(TOLD, arrays(TOLD), ids[index, :length])
        mixed = 1.5 * sum(weight * layer for weight, layer in zip(weights, layers, strict=True))
        expected = mixed[1:-1].mean(axis=0) if length > 2 else np.zeros(8)
        np.testing.assert_allclose(got[index], expected, atol=2e-5)


def test_training_and_inference_compute_the_same(folder):
    model = load("elmo", weights=str(folder)).model
    ids = load("elmo", weights=str(folder)).tokens(TEXTS)
    for ours, theirs in zip(model(ids, training=True), model(ids, training=False), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_gradients_are_those_of_finite_differences():
    layer = ProjectedLSTM(3, 2, cell_clip=3.0, projection_clip=3.0, backward=True)
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(2, 4, 2)).astype("float32"), np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer([x, mask], training=True) ** 2)
    for variable, gradient in zip(
        layer.trainable_variables, tape.gradient(loss, [v.value for v in layer.trainable_variables]), strict=True
    ):
        before, step = variable.numpy(), np.zeros_like(variable.numpy())
        step.flat[1] = 1e-2
        answers = []
        for sign in (1, -1):
            variable.assign(before + sign * step)
            answers.append(float(tf.reduce_sum(layer([x, mask]) ** 2)))
        variable.assign(before)
        assert (answers[0] - answers[1]) / 2e-2 == pytest.approx(float(gradient.numpy().flat[1]), abs=2e-3)


# === Files ===


@pytest.mark.parametrize("stem", ["", "elmo_2x1024_128_2048cnn_1xhighway_"])
def test_published_names_of_the_files_are_found(tmp_path, stem):
    assert load("elmo", weights=str(write(tmp_path / "e", stem=stem))).model.output_shape[0] == (None, None, 8)


def truncated(folder):
    path = folder / "weights.hdf5"
    path.write_bytes(path.read_bytes()[:600])


def web_page(folder):
    (folder / "weights.hdf5").write_text("<html>Sign in</html>")


def linked(folder):
    with h5py.File(folder / "other.hdf5", "w") as other:
        other["secret"] = arrays(TOLD)["char_embed"]
    with h5py.File(folder / "weights.hdf5", "a") as file:
        del file["char_embed"]
        file["char_embed"] = h5py.ExternalLink("other.hdf5", "secret")


def stored_elsewhere(folder):
    value = arrays(TOLD)["char_embed"]
    (folder / "raw").write_bytes(value.tobytes())
    with h5py.File(folder / "weights.hdf5", "a") as file:
        del file["char_embed"]
        file.create_dataset("char_embed", value.shape, "float32", external=[(str(folder / "raw"), 0, value.nbytes)])


def told_otherwise(part, **values):
    return lambda folder: (folder / "options.json").write_text(json.dumps({**TOLD, part: {**TOLD[part], **values}}))


BROKEN = {
    "truncated": (truncated, "not a complete HDF5 file"),
    "web page": (web_page, "not a complete HDF5 file"),
    "external link": (linked, "link to somewhere else"),
    "external storage": (stored_elsewhere, "not an array of floats in this file"),
    "another width": (told_otherwise("lstm", projection_dim=8), "has the shape"),
    "more layers": (told_otherwise("lstm", n_layers=3), "lacks RNN_0"),
    "no sizes": (told_otherwise("lstm", dim=None), "whole numbers"),
    "another activation": (told_otherwise("char_cnn", activation="gelu"), "relu or tanh"),
    "wide filter": (told_otherwise("char_cnn", filters=[[51, 2]]), "wider than"),
    "no JSON": (lambda folder: (folder / "options.json").write_text("{"), "not an options file of an ELMo"),
    "another JSON": (lambda folder: (folder / "options.json").write_text('{"a": 1}'), "it lacks 'char_cnn'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_hold_something_else_are_refused(name, tmp_path):
    breaks, message = BROKEN[name]
    breaks(write(tmp_path / "elmo"))
    with pytest.raises(WeightsMismatch, match=message):
        load("elmo", weights=str(tmp_path / "elmo"))


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    bad = np.full((4,), np.nan, "float32")
    with pytest.raises(WeightsMismatch, match="not finite"):
        load("elmo", weights=str(write(tmp_path / "elmo", **{"CNN_proj/b_proj": bad})))


@pytest.mark.parametrize("choice", ["pretrained", "hub", "wheel"])
def test_what_cannot_be_fetched_is_told_with_every_way_to_get_it(choice):
    with pytest.raises(WeightsUnavailable, match="--weights FOLDER .*--weights none.*--backbone minilm_l6"):
        load("elmo", weights=choice)


@pytest.mark.parametrize("missing", ["options.json", "weights.hdf5"])
def test_a_folder_that_lacks_a_file_is_told(missing, tmp_path):
    (write(tmp_path / "elmo") / missing).unlink()
    with pytest.raises(WeightsUnavailable, match=f"expected one {missing}.*no such file"):
        load("elmo", weights=str(tmp_path / "elmo"))
    with pytest.raises(WeightsUnavailable, match="no such folder"):
        load("elmo", weights=str(tmp_path / "nowhere"))


def test_two_networks_in_one_folder_are_told(tmp_path):
    write(tmp_path / "elmo"), write(tmp_path / "elmo", stem="other_")
    with pytest.raises(WeightsUnavailable, match="found options.json, other_options.json"):
        load("elmo", weights=str(tmp_path / "elmo"))


@pytest.mark.parametrize("name", [row.name for row in BACKBONES if row.family == "elmo"])
def test_published_sizes_are_those_of_the_rows(name):
    row = BACKBONES.get(name)
    sizes = elmo.sizes_of(row.options)
    assert sizes.parameters == row.params and row.features == 2 * sizes.projection
    # allennlp.org/elmo: parameters in millions, width of memory / output
    told = {"elmo_small": (13.6, 1024, 128), "elmo_medium": (28.0, 2048, 256)}.get(name, (93.6, 4096, 512))
    assert (round(row.params / 1e6, 1), sizes.units, sizes.projection) == told
    assert [section for section, _ in elmo.sections(sizes)] == [section for section, _ in row.sections]


def test_what_is_counted_is_what_is_built():
    model = load("elmo", weights="none", options=OPTIONS).model
    assert model.count_params() == elmo.sizes_of({**BACKBONES.get("elmo").options, **_integers(OPTIONS)}).parameters


def _integers(options):
    return {name: int(value) if value.isdigit() else value for name, value in options.items()}


@pytest.mark.parametrize("value", ["filters=3", "filters=axb", "filters=60x2"])
def test_filters_that_make_no_network_are_told(value):
    with pytest.raises(ConfigError, match="1x32"):
        load("elmo", weights="none", options=dict([value.split("=")]))


# === Words ===


@pytest.fixture(scope="module")
def tokens():
    return load("elmo", weights="none", options=OPTIONS).tokens


def spelling(row):
    """Returns the words of ids (words, 50) as texts, with what marks start and end."""
    names = {257: "<S>", 258: "</S>", 259: "", 260: "", 261: ""}
    words = [b"".join(names[one].encode() if one > 256 else bytes([one - 1]) for one in word) for word in row.tolist() if any(word)]
    return [word.decode("utf-8", "replace") for word in words]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A great film.", "A great film ."),
        ("It's so-so, don't!", "It 's so - so , do n't !"),
        ("'tis 'fine'", "' tis ' fine '"),
        ("“good”…日本", "“ good ” … 日 本"),
        ("a\x00b\u00a0c\u3000d\te", "a b c d e"),
        ("", ""),
    ],
)
def test_texts_are_split_as_the_treebank_does_and_keep_their_case(tokens, text, words):
    assert spelling(tokens([text])[0]) == ["<S>", *words.split(), "</S>"]


def test_ids_are_those_of_allennlp(tokens):
    """`ELMoCharacterMapper`: bytes, 256-260 for the marks, one added to each; 48 bytes of a long word."""
    start, word, long, end = tokens(["Hé " + "y" * 60])[0].tolist()
    assert start == [259, 257, 260, *[261] * 47] and end == [259, 258, 260, *[261] * 47]
    assert word == [259, 73, 0xC3 + 1, 0xA9 + 1, 260, *[261] * 45] and long == [259, *[122] * 48, 260]


def test_T21_strange_texts_are_cut_and_filled(tokens):
    ids = tokens.limited(12)(STRANGE)
    assert ids.dtype == np.int32 and ids.shape == (len(STRANGE), 12, 50)
    lengths = tokens.lengths(ids)
    assert (lengths <= 12).all() and (ids[:, 0, 1] == 257).all() and (ids[np.arange(len(ids)), lengths - 1, 1] == 258).all()


def test_a_text_has_the_same_ids_alone_and_among_others(tokens):
    texts = [text for text, _ in sentences(20)]
    together = tokens(texts)
    for index, text in enumerate(texts):
        alone = tokens([text])[0]
        np.testing.assert_array_equal(together[index, : len(alone)], alone)
        assert not together[index, len(alone) :].any()


def test_what_was_saved_gives_the_same_ids(tokens, tmp_path):
    tokens.limited(16).save(tmp_path)
    np.testing.assert_array_equal(load_tokens(tmp_path)(STRANGE), tokens.limited(16)(STRANGE))


def test_the_function_for_graphs_takes_no_texts_at_all(tokens):
    encode = tf.function(tokens.encode, input_signature=[tf.TensorSpec((None,), tf.string)])
    assert encode(tf.constant([], tf.string)).shape[::2] == (0, 50) and tokens([]).shape[::2] == (0, 50)


# === Fine-tuning, export, clients ===

# tests/modalities/test_registry.py evaluates the run and its artifacts.


def config(out, **more):
    values = {"backbone": "elmo", "weights": "none", "backbone_options": TINY.split(","), "recipe": "full", "out": str(out)}
    return RunConfig.from_dict({**values, "epochs": 8, "learning_rate": 0.02, "export": "saved_model,tflite,onnx", **more})


def trained(root):
    """Returns a run on files of AllenNLP's layout, exported to three formats."""
    told = {**TOLD, "lstm": {**TOLD["lstm"], "cell_clip": 3, "proj_clip": 3, "projection_dim": 8}}
    given = config(root / "run", weights=str(write(root / "elmo", told)), backbone_options=[], epochs=20)
    return finetune.finetune(given, dataset=reviews(120))


@pytest.fixture(scope="module")
def run(run_of):
    return run_of("text")


def test_it_learns_is_exported_to_every_format_and_verified(run):
    assert run.metrics["test"]["accuracy"] >= 0.9
    assert set(run.metrics["exports"]) == {"saved_model", "tflite", "onnx"}
    for one in run.metrics["exports"].values():
        assert one["relative_diff"] < 1e-4 and one["agreement"] == 1.0


def test_T21_the_saved_model_takes_strange_texts(run):
    check_raw_strings(run)


@pytest.mark.parametrize("artifact", ["model.tflite", "model.onnx"])
def test_batch_and_length_are_free_in_the_artifacts(run, artifact):
    model, opened = read_keras(run.run.model), opening.open_target(run.run.exports / artifact)
    tokens = load_tokens(run.run.root / "tokenizer")
    for batch, length in ((1, 3), (2, 9), (3, 31), (5, 2)):
        ids = tokens.limited(length)(["so very good " * 20, "dull", "a film"] * 2)[:batch]
        ids = np.pad(ids, ((0, 0), (0, length - ids.shape[1]), (0, 0)))
        np.testing.assert_allclose(opened.scores(ids), outputs(model, ids), atol=1e-5)


@pytest.fixture(scope="module")
def client(run):
    """The client program as a module, and our tokens of the same run."""
    spec = importlib.util.spec_from_file_location("elmo_client", run.run.exports / "client" / "classify.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, load_tokens(run.run.root / "tokenizer")


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text("n't' sSdDll\x1c\x85\u200b_é.,日", max_size=30))
def test_the_python_client_gives_the_ids_of_any_text(client, text):
    program, tokens = client
    np.testing.assert_array_equal(program.encode(text), tokens([text]))


def test_the_python_client_prints_the_labels_that_we_predict(run):
    texts = [text for text, _ in sentences(6, seed=9)] + ["good " * 50, "don't"]
    command = [sys.executable, "-I", str(run.run.exports / "client" / "classify.py"), *texts]
    done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
    ours = [one.label for one in predict.predict(run.run.exports / "model.tflite", texts)]
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == ours


def test_a_frozen_network_runs_once_per_text_and_its_mix_is_learned(tmp_path, folder):
    given = config(tmp_path / "run", weights=str(folder), backbone_options=[], recipe="feature-extraction", export="none")
    result = finetune.finetune(given, dataset=reviews(60))
    assert result.metrics["phases"][0]["examples_computed_once"] == 60
    scalars, gamma = read_keras(result.run.model).get_layer("scalar_mix").get_weights()
    assert scalars.any() and gamma != 1.0


@pytest.mark.parametrize("section", ["char_cnn", "layer0", "layer1"])
def test_from_every_section_on_it_trains_and_nothing_below_it(folder, section):
    task = models.build("elmo", 2, weights=str(folder))
    before = {layer.name: layer.get_weights() for layer in task.model.layers}
    freezing.apply(task.model, freezing.parse(f"from:{section}", task.section_names), sections=task.sections)
    task.model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)  # a step takes less time than its tracing
    task.model.train_on_batch(task.tokens(TEXTS), np.array([0, 1, 1, 0]))
    order = {name: place for place, name in enumerate([*task.section_names, "head"])}
    for layer in task.model.layers:
        if layer.weights:
            changed = any((a != b).any() for a, b in zip(before[layer.name], layer.get_weights(), strict=True))
            assert changed == (order[task.sections[layer.name]] >= order[section]), layer.name


def test_what_is_saved_loads_equal(folder, tmp_path):
    task = models.build("elmo", 3, weights=str(folder))
    task.model.save(tmp_path / "m.keras")
    ids = task.tokens(TEXTS)
    np.testing.assert_array_equal(outputs(read_keras(tmp_path / "m.keras"), ids), outputs(task.model, ids))


def test_counts_of_trainable_parameters_fall_section_by_section(folder):
    task = models.build("elmo", 2, weights=str(folder))
    counts = [
        freezing.apply(task.model, freezing.parse(f"from:{section}", task.section_names), sections=task.sections).trainable_parameters
        for section in task.section_names
    ]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == 3


def test_a_word_is_cut_at_the_width():
    assert Words(width=8)(tf.constant(["abcdefghij k"])).to_list() == [[[259, *range(98, 104), 260], [259, 108, 260, *[261] * 5]]]


# === Pretraining: a language model of both directions ===


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    zoo = Zoo(tmp_path_factory.mktemp("pretrained") / "zoo")
    sizes = ("units=16", "projection=8", "highways=1", "embedding=8", "filters=1x8+2x8+3x8", "vocabulary=9")
    settings = {"backbone_options": sizes, "epochs": 15, "batch_size": 16, "learning_rate": 0.02}
    pretrain(chains(), name="words", zoo=zoo, backbone="elmo", **settings)
    return zoo


CHAIN = ["the", "film", "is", "good", "so", "a", "plot", "was"]


def chains(n=64):
    """Returns texts in which each word has but one successor, from any word on; the end may come at any time."""
    rng = np.random.default_rng(0)
    texts = [" ".join(CHAIN[(start + place) % 8] for place in range(rng.integers(3, 9))) for start in rng.integers(0, 8, n)]
    return make_dataset("chains", [Example(id=f"{i}", label="ab"[i % 2], text=text) for i, text in enumerate(texts)])


def test_words_and_what_stands_beside_them(tokens):
    ids = tokens(["a b a", "b c"])
    vocabulary = Vocabulary.of(ids, 6)
    assert len(vocabulary) == 6 and len(Vocabulary.of(ids, 3)) == 3
    names = ["<UNK>", *(spelling(word[None])[0] for word in vocabulary.words)]
    behind, before = np.moveaxis(vocabulary.neighbours(ids), -1, 0)
    told = [[names[one] if one >= 0 else "" for one in row] for row in (*behind, *before)]
    assert told == [
        ["a", "b", "a", "</S>", ""],
        ["b", "c", "</S>", "", ""],
        ["", "<S>", "a", "b", "a"],
        ["", "<S>", "b", "c", ""],
    ]
    assert Vocabulary.of(ids, 3).numbers(ids)[1].tolist()[3:] == [Vocabulary.of(ids, 3).numbers(ids)[0, 4], -1]


def test_the_loss_is_the_mean_over_what_there_is_to_predict():
    scores = np.random.default_rng(0).normal(size=(1, 3, 2, 4)).astype("float32")
    wanted = np.array([[[1, -1], [3, 0], [-1, -1]]], "int32")
    logs = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    expected = -(logs[0, 0, 0, 1] + logs[0, 1, 0, 3] + logs[0, 1, 1, 0]) / 3
    assert float(language_model.loss(wanted, keras.ops.convert_to_tensor(scores))) == pytest.approx(expected, rel=1e-5)


def test_a_language_model_learns_and_is_published(zoo):
    entry = zoo.get("words")
    history = entry.manifest["history"]
    # Knowing nothing is log(9) = 2.2, knowing how often each word stands 2.1; the end of a text cannot be known.
    assert history[0]["loss"] > 1.8 and history[-1]["loss"] < 1.0
    words = (entry.path / "tokenizer" / "words.txt").read_text(encoding="utf-8").splitlines()
    # Of ten words and marks the eight most frequent, and one number for the others.
    assert words[0] == "<UNK>" and {"<S>", "</S>"} <= set(words) <= {"<UNK>", "<S>", "</S>", *CHAIN} and len(words) == 9
    assert entry.manifest["outputs"] == ["scores"] and entry.manifest["inputs"][0]["shape"] == [None, None, 50]


@pytest.mark.slow  # tests/pretraining and test_workflow.py verify another pretrained network, and an entry of texts
def test_a_published_language_model_verifies_in_every_runtime(zoo):
    assert not [one.problem for one in check.verify(zoo.get("words")) if one.problem]


def test_no_direction_sees_what_it_must_predict(zoo):
    """The word at a place changes neither the forward prediction before it nor the backward prediction behind it."""
    model = read_keras(zoo.get("words").path / "model.keras")
    tokens = load_tokens(zoo.get("words").path / "tokenizer")
    one, other = (outputs(model, tokens([text]))[0] for text in ("the film is good", "the film is bad"))
    changed = np.abs(one - other).max(axis=-1) > 1e-6  # (words, direction); the fourth word behind the start differs
    assert changed[:, 0].tolist() == [False] * 4 + [True] * 2 and changed[:, 1].tolist() == [True] * 5 + [False]


def test_a_pretrained_elmo_is_a_backbone_like_any_other(zoo, monkeypatch, tmp_path):
    monkeypatch.setenv("TLKERAS_ZOO", str(zoo.root))
    published = read_keras(zoo.get("words").path / "model.keras")
    base = load(find_backbone("zoo:words"))
    for name in ("char_conv2", "lstm1_backward"):
        for ours, theirs in zip(base.model.get_layer(name).get_weights(), published.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    given = RunConfig.from_dict({"backbone": "zoo:words", "epochs": 2, "export": "tflite", "out": str(tmp_path / "run")})
    result = finetune.finetune(given, dataset=reviews(60))
    assert result.metrics["phases"][0]["examples_computed_once"] == 60
    assert result.metrics["exports"]["tflite"]["agreement"] == 1.0


def test_a_language_model_of_pictures_or_another_objective_is_an_error(tmp_path):
    zoo, options = Zoo(tmp_path / "zoo"), tuple(TINY.split(","))
    with pytest.raises(ConfigError, match="accepts texts"):
        pretrain("digits", name="x", zoo=zoo, backbone="elmo", backbone_options=options)
    with pytest.raises(ConfigError, match="classification or language-model"):
        pretrain(reviews(20), name="x", zoo=zoo, backbone="elmo", backbone_options=options, objective="elbo")
