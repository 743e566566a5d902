"""Every modality from data to predictions in every runtime, and one that is added by a module and a row."""

import functools
import json
import subprocess
import sys

import numpy as np
import pytest

import tlkeras
import tlkeras.zoo
from tests.helpers import pictures
from tests.modalities import waves
from tests.modalities.texts.conftest import reviews
from tlkeras.backbones.registry import BACKBONES
from tlkeras.cli.finetune import next_commands
from tlkeras.config import RunConfig
from tlkeras.data.examples import Example, from_arrays, make_dataset
from tlkeras.errors import ConfigError, DataError
from tlkeras.jobs import finetune, plan, preflight, publish
from tlkeras.modalities.registry import MODALITIES
from tlkeras.modalities.sources import modality_of
from tlkeras.registry import load_function
from tlkeras.zoo.store import Zoo

ARTIFACTS = {"saved_model": "saved_model", "tflite": "model.tflite", "onnx": "model.onnx"}
RUNTIMES = ("keras", "tensorflow", "litert", "onnxruntime")


def images():
    x, y = pictures(48, classes=2)
    return from_arrays(x, np.array(["red", "green"])[y])


def sequences():
    rng = np.random.default_rng(0)
    steps = [np.stack([(i % 2) * np.arange(6.0), rng.normal(size=6)], axis=1).astype("float32") for i in range(48)]
    return make_dataset("waves", [Example(id=f"{i}", label=("flat", "up")[i % 2], array=array) for i, array in enumerate(steps)])


# What a new modality adds here: its examples, its smallest network, and what a user passes to predict.
DATASETS = {"image": images, "text": functools.partial(reviews, 48), "sequence": sequences}
NETWORKS = {
    "image": {"backbone": "cnn", "image_size": 16, "backbone_options": ["filters1=4", "filters2=4", "dense=8"]},
    "text": {"backbone": "elmo", "backbone_options": "units=6,projection=4,highways=1,embedding=5,filters=1x2+2x3".split(",")},
    "sequence": {"backbone": "rnn", "backbone_options": ["num_layers=1", "hidden_size=4"]},
}


def passed(dataset):
    """Returns what a user passes to predict the first examples."""
    return [example.text if example.text is not None else example.array for example in dataset.examples[:5]]


def trained(modality, folder):
    """Returns a run of a modality, exported to every format of the default."""
    if modality == "text":  # tests/modalities/texts/test_elmo.py looks at the same run, which has learnt more
        from tests.modalities.texts import test_elmo

        return test_elmo.trained(folder)
    values = {**NETWORKS[modality], "weights": "none", "recipe": "full", "epochs": 2, "export": ",".join(ARTIFACTS)}
    config = RunConfig.from_dict({**values, "learning_rate": 0.01, "out": str(folder / "run")})
    return finetune.finetune(config, dataset=DATASETS[modality]())


@pytest.fixture(scope="module", params=MODALITIES.names())
def run(request, run_of):
    return request.param, run_of(request.param)


@pytest.fixture(scope="module")
def entry(run, entry_of):
    return entry_of(run[0])


def test_every_artifact_of_a_modality_answers_and_evaluates_as_its_keras_model(run):
    name, result = run
    dataset = DATASETS[name]()
    expected = [answer.scores for answer in tlkeras.load(result.run.root).predict(passed(dataset))]
    accuracy = tlkeras.evaluate(result.run.root, dataset, part="all").score.accuracy
    assert set(result.metrics["exports"]) == set(ARTIFACTS)
    for file in ARTIFACTS.values():
        answers = tlkeras.load(result.run.exports / file).predict(passed(dataset))
        assert [answer.scores for answer in answers] == [pytest.approx(scores, abs=1e-4) for scores in expected]
        assert tlkeras.evaluate(result.run.exports / file, dataset, part="all").score.accuracy == accuracy


def test_an_entry_of_a_modality_answers_as_its_run_in_every_runtime(run, entry):
    name, result = run
    inputs = passed(DATASETS[name]())
    expected = [answer.scores for answer in tlkeras.load(result.run.root).predict(inputs)]
    for runtime in RUNTIMES:
        answers = tlkeras.zoo.load(name, runtime=runtime, root=entry.path.parent.parent).predict(inputs)
        assert [answer.scores for answer in answers] == [pytest.approx(scores, abs=1e-4) for scores in expected]


def test_the_card_of_a_modality_says_what_it_accepts_and_shows_calls(run, entry):
    row = MODALITIES.get(run[0])
    text = (entry.path / "README.md").read_text(encoding="utf-8")
    assert f"It accepts {row.plural}" in text or f"{row.plural}, " in text
    assert f"any {row.noun}, even if none applies" in text and "curl -s" in text and "grpc" in text
    others = [other.noun for other in MODALITIES if other.name != row.name]
    assert not [noun for noun in others if f"any {noun}," in text]


def test_the_next_commands_of_a_modality_name_its_samples(run):
    name, result = run
    samples = load_function(MODALITIES.get(name).samples)(result.config)
    shown = [line for _, line in next_commands(result) if line.startswith("tlkeras predict")]
    assert shown == [f"tlkeras predict {result.run.root} {sample}" for sample in samples]


def test_the_examples_of_a_modality_are_its_own():
    assert [modality_of(DATASETS[name]()).name for name in MODALITIES.names()] == MODALITIES.names()


@pytest.mark.parametrize("name", MODALITIES.names())
@pytest.mark.parametrize(
    "attribute", ["of_task", "of_model", "of_metadata", "facts", "items", "standard_input", "check", "card", "samples"]
)
def test_functions_that_a_row_names_can_be_loaded(name, attribute):
    dotted = getattr(MODALITIES.get(name), attribute)
    assert dotted is None or callable(load_function(dotted))


@pytest.mark.parametrize("name", MODALITIES.names())
def test_a_key_of_another_modality_is_refused(name):
    values = {"augment": "flip", "cutmix": 1.0, "image_size": 64, "channels": 1, "max_length": 9}
    row = MODALITIES.get(name)
    for key in set(values) - set(row.config_keys):
        with pytest.raises(ConfigError, match=f"{key} is .*; .* accepts {row.plural}"):
            plan.effective(RunConfig.from_dict({"backbone": row.backbone, key: values[key]}))


@pytest.mark.parametrize("name", MODALITIES.names())
def test_examples_of_other_modalities_are_refused_with_a_backbone_for_them(name):
    row = MODALITIES.get(name)
    for other in MODALITIES.names():
        if other != name:
            with pytest.raises(ConfigError, match=f"accepts {row.plural}, .* contains {MODALITIES.get(other).plural}"):
                preflight.check_modality(row.backbone, BACKBONES.get(row.backbone), DATASETS[other]())


# === A modality that is added ===


@pytest.fixture
def added(monkeypatch):
    """Adds the row of the module `waves`, and a network for it."""
    monkeypatch.setitem(MODALITIES._rows, waves.ROW.name, waves.ROW)
    monkeypatch.setitem(BACKBONES._rows, "wave-net", waves.backbone(BACKBONES.get("rnn")))


@pytest.fixture
def recordings(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(40):
        label = ("flat", "up")[index % 2]
        folder = tmp_path / "recordings" / label
        folder.mkdir(parents=True, exist_ok=True)
        np.savetxt(folder / f"{index}.wave", np.stack([(index % 2) * np.arange(6.0), rng.normal(size=6)], axis=1))
    (folder / "notes.md").write_text("not a recording")
    return tmp_path / "recordings"


def test_a_modality_that_is_added_by_a_row_is_listed_trained_exported_published_and_predicted(added, recordings, tmp_path):
    dataset = tlkeras.open_source(str(recordings))
    assert modality_of(dataset).name == "wave" and len(dataset.examples) == 40
    assert [note.reason for note in dataset.notes] == [".md is not a wave format"]
    values = {"backbone": "wave-net", "backbone_options": ["hidden_size=4"], "weights": "none", "export": "saved_model,tflite"}
    result = tlkeras.finetune(str(recordings), **values, epochs=2, out=str(tmp_path / "run"))
    assert json.loads(result.run.metrics.read_text())["data"]["modality"] == "wave"
    assert ("predict", f"tlkeras predict {result.run.root} RECORDING.wave") in next_commands(result)
    entry = publish.publish(result.run.root, "waves", Zoo(tmp_path / "zoo"), data_licence="CC0")
    assert "It accepts waves of 6 steps." in (entry.path / "README.md").read_text(encoding="utf-8")
    expected = tlkeras.load(result.run.root).predict(recordings / "up")
    assert len(expected) == 20
    for model in (tlkeras.load(result.run.exports / "model.tflite"), tlkeras.zoo.load("waves", root=tmp_path / "zoo")):
        answers = model.predict(recordings / "up")
        assert [answer.scores for answer in answers] == [pytest.approx(answer.scores, abs=1e-4) for answer in expected]


def test_examples_of_a_modality_that_is_added_are_refused_by_other_backbones(added, recordings):
    dataset = tlkeras.open_source(str(recordings))
    with pytest.raises(ConfigError, match="'rnn' accepts sequences, and .* contains waves; backbones for waves: wave-net"):
        preflight.check_modality("rnn", BACKBONES.get("rnn"), dataset)


def test_files_of_a_modality_that_is_not_registered_are_no_examples(recordings):
    with pytest.raises(DataError, match="has only one class|contains no examples"):
        tlkeras.open_source(str(recordings))


def test_reading_the_table_loads_nothing_heavy():
    code = "import sys, tlkeras.modalities.registry; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'numpy', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_files_and_settings_are_checked_without_tensorflow(tmp_path):
    code = (
        "import sys\nfrom tlkeras.config import RunConfig\nfrom tlkeras.jobs import preflight\nfrom tlkeras.jobs.plan import resolve\n"
        "preflight.open_examples(resolve(RunConfig(backbone='cnn', weights='none')))\n"
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0
