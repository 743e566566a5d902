"""Models trained from scratch: sizes, pretraining, publishing, and use as a backbone."""

import functools
import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import tlkeras
from tests.helpers import pictures
from tlkeras.backbones.load import load
from tlkeras.backbones.registry import BACKBONES
from tlkeras.cli.main import app
from tlkeras.config import PretrainConfig, RunConfig
from tlkeras.data.examples import Example, from_arrays, make_dataset
from tlkeras.data.subset import subset
from tlkeras.errors import ConfigError, DataError, WeightsUnavailable, ZooError
from tlkeras.jobs import evaluate, finetune, predict, publish, resume, run_folder
from tlkeras.jobs.api import pretrain
from tlkeras.jobs.backbone_record import find_backbone
from tlkeras.jobs.export_run import export_run
from tlkeras.jobs.pretrain import training_part
from tlkeras.jobs.run_folder import Run
from tlkeras.jobs.sample import sample
from tlkeras.modalities.sources import modality_of, open_source
from tlkeras.pretraining.variational import decoder_of, plane_of_codes
from tlkeras.progress import Reporter
from tlkeras.weights.keras_file import read_keras
from tlkeras.zoo import check
from tlkeras.zoo import load as open_entry
from tlkeras.zoo.store import Zoo, verify_files


def waves(n=90, seed=0, steps=(6, 12)):
    """Returns sequences of two features, of different lengths, whose slope tells their class."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(n):
        kind = index % 3
        time = np.arange(rng.integers(*steps))
        array = np.stack([(kind - 1) * time + rng.normal(0, 0.3, len(time)), rng.normal(5, 1, len(time))], axis=1)
        found.append(Example(id=f"{index}", label=("down", "flat", "up")[kind], array=array.astype("float32")))
    return make_dataset("waves", found)


def colours(n=90):
    x, y = pictures(n, size=12)
    return from_arrays(x, np.array(["r", "g", "b"])[y])


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A zoo with one pretrained network of each kind."""
    zoo = Zoo(tmp_path_factory.mktemp("pretrained") / "zoo")
    small = {"image_size": 12, "epochs": 3, "batch_size": 16}
    pretrain(colours(), name="cnn", zoo=zoo, backbone="cnn", backbone_options=["dense=16"], **small)
    sizes = ("hidden1=64", "hidden2=48", "latent=2")
    pretrain(digits(), name="vae", zoo=zoo, backbone="vae", backbone_options=sizes, **{**small, "epochs": 20})
    pretrain(waves(), name="rnn", zoo=zoo, backbone="rnn", backbone_options="hidden_size=8", epochs=3, batch_size=16)
    return zoo


@pytest.fixture
def here(zoo, monkeypatch):
    monkeypatch.setenv("TLKERAS_ZOO", str(zoo.root))
    return zoo


def digits():
    # An autoencoder sees grey: colours of equal brightness are one to it.
    return subset(open_source("digits"), 120, 0)


DATA = {"cnn": colours, "vae": digits, "rnn": waves}


# tests/test_compatibility.py verifies an autoencoder of an earlier version, tests/zoo/test_sequences.py an entry of sequences.
@pytest.mark.parametrize("name", ["cnn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vae", "rnn"))])
def test_what_was_pretrained_verifies_in_every_runtime(zoo, name):
    assert not [one.problem for one in check.verify(zoo.get(name)) if one.problem]


# The files of each were verified in every runtime when it was published; each is exported to one format again.
EXPORTED = {"cnn": ("tflite",), "vae": ("onnx",), "rnn": ("tflite",)}
FILES = {"saved_model": "saved_model", "tflite": "model.tflite", "onnx": "model.onnx"}


@pytest.fixture(scope="module")
def tuned_of(zoo, tmp_path_factory):
    """Returns a function: name -> a run on the published network of that name, and the entries whose files were hashed for it; trained once."""

    @functools.cache
    def tuned(name):
        values = {"backbone": f"zoo:{name}", "epochs": 30, "learning_rate": 0.02, "export": list(EXPORTED[name])}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TLKERAS_ZOO", str(zoo.root))
            entries = hashed_by(patch)
            return tlkeras.finetune(DATA[name](), out=tmp_path_factory.mktemp(name) / "run", reporter=None, **values), entries

    return tuned


@pytest.mark.parametrize("name", DATA)
def test_a_published_network_is_a_backbone_like_any_other(tuned_of, name):
    result, _ = tuned_of(name)
    assert set(result.metrics["exports"]) == set(EXPORTED[name])
    assert result.metrics["phases"][0]["examples_computed_once"] == len(DATA[name]().examples)
    for format in EXPORTED[name]:
        found = evaluate.evaluate(result.run.exports / FILES[format], DATA[name](), part="all")
        assert found.score.accuracy > (0.2 if name == "vae" else 0.5)  # of ten digits


def hashed_by(patch):
    """Returns the entries whose files will have been hashed, in order."""
    entries = []
    patch.setattr("tlkeras.zoo.network.verify_files", lambda entry: entries.append(str(entry)) or verify_files(entry))
    return entries


@pytest.fixture
def hashed(monkeypatch):
    return hashed_by(monkeypatch)


@pytest.mark.parametrize("name", DATA)
def test_the_files_of_an_entry_are_hashed_once_in_a_call(tuned_of, name):
    assert tuned_of(name)[1] == [f"{name}/1"]


@pytest.fixture(scope="module")
def by_command(zoo, tmp_path_factory):
    """What the command says of a training of the last section of a published network, its folder, and the entries that were hashed."""
    out = tmp_path_factory.mktemp("command") / "run"
    arguments = ["finetune", "--backbone", "zoo:cnn", "--unfreeze", "last:1", "--limit", "100", "--epochs", "1", "--export", "none"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKERAS_ZOO", str(zoo.root))
        entries = hashed_by(patch)
        return CliRunner().invoke(app, [*arguments, "--out", str(out)]), out, entries


def test_the_files_of_an_entry_are_hashed_once_in_a_fine_tuning(by_command):
    done, _, entries = by_command
    assert done.exit_code == 0 and "tlkeras evaluate" in done.output, done.output
    assert entries == ["cnn/1"]


def test_the_files_of_an_entry_are_hashed_once_in_a_dry_run(here, hashed):
    done = CliRunner().invoke(app, ["finetune", "--backbone", "zoo:cnn", "--dry-run", "--unfreeze", "last:1"])
    assert done.exit_code == 0 and "phase full" in done.output, done.output
    assert hashed == ["cnn/1"]


def test_the_files_of_an_entry_are_hashed_once_for_a_run_and_the_one_from_random_weights_beside_it(here, hashed, tmp_path):
    values = {"backbone": "zoo:cnn", "epochs": 1, "baseline": "scratch", "export": "none", "out": str(tmp_path / "run")}
    assert tlkeras.finetune(colours(30), reporter=None, **values).metrics["baseline"]["scratch"]["epochs"]
    assert hashed == ["cnn/1"]


# === Where the network that a run was made from is gone ===


@pytest.fixture(scope="module")
def orphan(tuned_of, tmp_path_factory):
    """A copy of a run on a published network, exported once more when the network was gone."""
    folder = tmp_path_factory.mktemp("orphan")
    shutil.copytree(tuned_of("cnn")[0].run.root, folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKERAS_ZOO", str(folder / "zoo"))
        export_run(folder / "run", ["saved_model"], data=colours(), reporter=None)
    return Run(folder / "run")


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """The zoo from which the network was deleted."""
    monkeypatch.setenv("TLKERAS_ZOO", str(tmp_path / "zoo"))
    return Zoo(tmp_path / "zoo")


def test_a_run_is_exported_without_the_network_that_it_was_made_from(orphan):
    assert set(json.loads((orphan.exports / "manifest.json").read_text())["artifacts"]) == {"tflite", "saved_model"}


def test_a_run_is_evaluated_without_the_network_that_it_was_made_from(orphan, empty):
    assert evaluate.evaluate(orphan.root, colours(), part="all").score.accuracy > 0.5


def test_a_run_predicts_without_the_network_that_it_was_made_from(orphan, empty, tmp_path):
    Image.fromarray(pictures(1, size=12)[0][0]).save(tmp_path / "red.png")
    done = CliRunner().invoke(app, ["predict", str(orphan.root), str(tmp_path / "red.png")])
    assert done.exit_code == 0 and "red.png\t" in done.output, done.output


def test_a_run_is_explained_without_the_network_that_it_was_made_from(orphan, empty):
    (explanation,) = tlkeras.explain(orphan.root, pictures(1, size=12)[0][0], method="gradient", reporter=None)
    assert explanation.values.shape == (12, 12)


def test_a_run_is_published_without_the_network_that_it_was_made_from_and_is_a_backbone_itself(zoo, orphan, empty):
    entry = publish.publish(orphan.root, "again", empty, data_licence="CC0", data_source="made up", reporter=None)
    weights = zoo.get("cnn").manifest["licences"]["backbone weights"]
    assert (
        entry.manifest["licences"]["backbone weights"]["licence"] == weights["licence"] and entry.manifest["task"] == "image classification"
    )
    row = find_backbone("zoo:again")
    assert (row.name, row.origin, row.sections) == ("zoo:again/1", "cnn", BACKBONES.get("cnn").sections)
    assert load(row).model.count_params()


def test_what_trains_from_the_network_again_says_that_it_is_gone(orphan, empty):
    with pytest.raises(ZooError, match="no entry 'cnn' in the zoo") as caught:
        tlkeras.cross_validate(orphan.root, dataset=colours(), reporter=None)
    assert "\n" not in str(caught.value)


def test_an_unfinished_run_that_goes_on_says_that_the_network_is_gone(orphan, empty, tmp_path):
    run = Run(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    resume.begin(run, run_folder.read_config(orphan), passed=True)
    with pytest.raises(ZooError, match="no entry 'cnn' in the zoo") as caught:
        tlkeras.finetune(colours(), resume=run.root, reporter=None)
    assert "\n" not in str(caught.value)


def test_the_card_of_a_network_without_labels_names_its_objective_artifacts_and_licences(zoo):
    card = (zoo.get("vae").path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# vae\n") and "trained by `elbo`" in card and "--backbone zoo:vae" in card
    for part in ("`saved_model`", "`model.tflite`", "`model.onnx`", "backbone weights"):
        assert part in card


@pytest.mark.parametrize("name", DATA)
def test_a_backbone_has_the_weights_that_were_pretrained(here, name):
    base = load(find_backbone(f"zoo:{name}")).model
    published = read_keras(here.get(name).path / "model.keras")
    first = next(layer.name for layer in base.layers if layer.weights)
    for ours, theirs in zip(base.get_layer(first).get_weights(), published.get_layer(first).get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_sections_of_a_classifier_are_those_of_its_row(by_command):
    metrics = json.loads((by_command[1] / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["phases"][0]["trainable_parameters"] > 0


def test_the_sections_of_an_autoencoder_are_those_of_its_row(here, tmp_path):
    values = {"backbone": "zoo:vae", "unfreeze": "all", "epochs": 1, "export": "none", "out": str(tmp_path / "run")}
    assert finetune.finetune(RunConfig.from_dict(values), dataset=DATA["vae"]()).metrics["phases"][0]["trainable_parameters"] > 0


def test_the_autoencoder_learns_to_reconstruct(zoo):
    history = json.loads((zoo.get("vae").path / "manifest.json").read_text())["history"]
    assert history[-1]["loss"] < history[0]["loss"]


def test_the_autoencoder_answers_the_mean_and_not_a_draw(zoo):
    model = read_keras(zoo.get("vae").path / "model.keras")
    x = pictures(2, size=12)[0].astype("float32")
    np.testing.assert_array_equal(model.predict(x, verbose=0), model.predict(x, verbose=0))
    code = keras.Model(model.input, model.get_layer("latent").output).predict(x, verbose=0)
    np.testing.assert_allclose(decoder_of(model).predict(code, verbose=0), model.predict(x, verbose=0), rtol=1e-5)


def test_a_grid_is_sampled_or_reconstructed(here, tmp_path):
    grid = sample("vae", here, rows=2, columns=3)
    assert grid.shape == (24, 36) and grid.dtype == np.uint8 and not np.array_equal(grid, sample("vae", here, rows=2, columns=3, seed=1))
    done = CliRunner().invoke(app, ["sample", "vae", "--out", str(tmp_path / "s.png"), "--data", "digits", "--rows", "2", "--columns", "2"])
    assert done.exit_code == 0 and "2 images, each beside its reconstruction" in done.output, done.output
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.size == (24, 24)


def test_a_grid_without_a_place_for_a_pair_is_refused(here):
    with pytest.raises(ConfigError, match="a grid of 1 x 1 has no room"):
        sample("vae", here, rows=1, columns=1, like=pictures(2, size=12)[0])


def test_the_plane_of_codes_of_two_numbers_is_drawn(here, tmp_path):
    grid = sample("vae", here, rows=3, columns=5, plane=True)
    decoder = decoder_of(read_keras(here.get("vae").path / "model.keras"))
    middle = decoder.predict(np.zeros((1, 2), "float32"), verbose=0).reshape(12, 12)
    np.testing.assert_allclose(grid[12:24, 24:36], np.round(255 * middle), atol=1)
    done = CliRunner().invoke(app, ["sample", "vae", "--out", str(tmp_path / "p.png"), "--plane", "--rows", "3", "--columns", "5"])
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "p.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), grid)


def test_a_code_of_more_than_two_numbers_makes_no_plane():
    with pytest.raises(ConfigError, match="latent=2"):
        plane_of_codes(2, 2, 3)


@pytest.mark.parametrize("limit", [None, 12])
def test_what_a_source_holds_out_is_not_learned_from(limit):
    held = [replace(one, split=("train", "test", "val")[index % 3]) for index, one in enumerate(digits().examples)]
    dataset = replace(digits(), examples=tuple(held))
    found = training_part(dataset, PretrainConfig(backbone="vae", limit=limit))
    assert {one.split for one in found.examples} == {"train"} and len(found.examples) <= (limit or 40) + 10


def test_a_network_without_labels_is_no_classifier(here):
    with pytest.raises(ZooError, match="--backbone zoo:vae"):
        open_entry("vae")
    with pytest.raises(ZooError, match="not a variational autoencoder"):
        sample("cnn", here)


@pytest.mark.parametrize("name", ["cnn", "vae", "rnn"])
def test_there_are_no_pretrained_weights_to_fetch(name):
    with pytest.raises(WeightsUnavailable, match="tlkeras pretrain"):
        load(name, data={"time": 4, "features": 2, "mean": [0, 0], "std": [1, 1]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("wheels=4",), "no option 'wheels'"),
        (("dense=many",), "expected int"),
        (("dense=0",), "expected 1 or more"),
        (("dense",), "NAME=VALUE"),
    ],
)
def test_sizes_that_do_not_fit_are_errors(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        config = RunConfig.from_dict({"backbone": "cnn", "weights": "none", "backbone_options": list(options), "out": str(tmp_path / "r")})
        finetune.finetune(config, dataset=colours(20))


def test_without_data_it_reports_that_it_uses_the_digits(zoo):
    said = []
    listener = Reporter()
    listener.say = said.append
    with pytest.raises(ConfigError, match="accepts sequences"):  # and digits are images: nothing is trained
        pretrain(name="x", zoo=zoo, reporter=listener, backbone="rnn")
    assert said == ["no data given: using scikit-learn's 1,797 handwritten digits"]


def test_an_objective_of_another_network_is_an_error(zoo):
    with pytest.raises(ConfigError, match="objective"):
        pretrain(colours(), name="x", zoo=zoo, backbone="cnn", objective="elbo")


# === Sequences ===


# The published network above is a GRU, verified in every runtime.
@pytest.mark.parametrize("cell", [pytest.param("rnn", marks=pytest.mark.slow), "lstm", pytest.param("gru", marks=pytest.mark.slow)])
def test_every_cell_is_trained_and_exported_to_every_format_and_short_sequences_are_predicted_from_files(cell, tmp_path):
    values = {"backbone": "rnn", "weights": "none", "backbone_options": [f"cell={cell}", "num_layers=2", "hidden_size=8"]}
    values |= {"recipe": "full", "epochs": 15, "learning_rate": 0.01, "out": str(tmp_path / "run")}
    result = finetune.finetune(RunConfig.from_dict(values), dataset=waves())
    assert result.metrics["test"]["accuracy"] > 0.8
    assert all(one["relative_diff"] < 1e-3 for one in result.metrics["exports"].values())
    (tmp_path / "up.csv").write_text("".join(f"{i},5\n" for i in range(5)))
    np.save(tmp_path / "down.npy", np.stack([-np.arange(9.0), np.full(9, 5.0)], axis=1))
    found = list(predict.predict(result.run.root, [tmp_path / "up.csv", tmp_path / "down.npy", tmp_path / "none.csv"]))
    assert [one.label for one in found[:2]] == ["up", "down"] and "none.csv" in found[2].error


def test_arrays_and_long_form_tables_give_the_same_sequences(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(6, 4, 2)).astype("float32"), ["a", "b"] * 3
    np.savez(tmp_path / "x.npz", x=x, y=np.array(y))
    lines = ["id,time,label,one,two"]
    # Rows of a table may stand in any order where it has a column for the time.
    lines += [f"s{i},{t},{y[i]},{x[i, t, 0]},{x[i, t, 1]}" for t in reversed(range(4)) for i in range(6)]
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    arrays, table = open_source(str(tmp_path / "x.npz")), open_source(str(tmp_path / "x.csv"))
    assert modality_of(arrays).name == modality_of(table).name == "sequence" and [e.label for e in arrays.examples] == [
        e.label for e in table.examples
    ]
    for ours, theirs in zip(arrays.examples, table.examples, strict=True):
        np.testing.assert_allclose(ours.array, theirs.array, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label,v\na,x,1\na,y,2\nb,y,1\n", "has the label"),
        ("id,label,v\na,x,one\nb,y,1\n", "t.csv:2"),
        ("id,v\na,1\n", "--label-column"),
    ],
)
def test_a_table_of_sequences_that_does_not_fit_is_told(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_source(str(tmp_path / "t.csv"))


@pytest.mark.parametrize(
    "arrays", [{"x": np.zeros((3, 2))}, {"x": np.zeros((3, 2)), "y": np.zeros(3)}, {"x": np.full((3, 2, 1), np.nan), "y": np.arange(3)}]
)
def test_arrays_that_are_no_sequences_are_told(tmp_path, arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match="x"):
        open_source(str(tmp_path / "x.npz"))
