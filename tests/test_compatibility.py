"""What version 0.1 wrote is still read: configs, runs of every modality, published runs and pretrained networks.

`golden/version_0.1.tar.xz` holds what version 0.1 wrote on 2026-11-26, before modules, recipes and rules were renamed: a config whose
freeze rules name stages; runs of images, texts, sequences and of a network from the zoo; and a zoo with three published runs and three
pretrained networks. All of them are tiny, trained for two epochs on a few examples.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml

import tlkeras
import tlkeras.zoo
from tlkeras.config import RunConfig
from tlkeras.data.sources.digits import open_digits
from tlkeras.errors import ZooError
from tlkeras.jobs.export_run import export_run
from tlkeras.jobs.publish import publish

ARCHIVE = Path(__file__).parent / "golden" / "version_0.1.tar.xz"
RUNS = ("images", "texts", "sequences", "from_entry")
PUBLISHED = ("images", "texts", "sequences")
NETWORKS = ("vae", "steps", "words")


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The folder of what version 0.1 wrote; the working folder of the tests, because the runs name their data relative to it."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(autouse=True)
def here(old, monkeypatch):
    monkeypatch.chdir(old)
    monkeypatch.setenv("TLKERAS_ZOO", str(old / "zoo"))


def test_a_config_whose_rules_name_sections_is_read_and_trains_the_same_layers(tmp_path):
    config = RunConfig.from_dict(yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8")))
    result = tlkeras.finetune(config, epochs=1, export="none", out=str(tmp_path / "run"), reporter=None)
    before = json.loads(Path("images/metrics.json").read_text(encoding="utf-8"))["stages"][0]
    (phase,) = result.metrics["phases"]
    assert phase["trainable_parameters"] == before["trainable_parameters"] and phase["frozen_variables"] == before["frozen_variables"]


@pytest.mark.parametrize("name", RUNS)
def test_the_effective_config_of_a_run_is_read(name):
    config = RunConfig.from_dict(yaml.safe_load(Path(name, "config.yaml").read_text(encoding="utf-8")))
    assert config.train.epochs == 2


@pytest.mark.parametrize("name", RUNS)
def test_a_run_scores_its_own_data_as_it_did(name):
    found = tlkeras.evaluate(name, reporter=None).to_dict()
    before = json.loads(Path(name, "metrics.json").read_text(encoding="utf-8"))[found["split"]]
    assert found["n"] == before["n"] and found["accuracy"] == before["accuracy"]
    assert found["loss"] == pytest.approx(before["loss"], abs=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_an_artifact_of_a_run_scores_as_the_run(name):
    before = json.loads(Path(name, "metrics.json").read_text(encoding="utf-8"))["test"]
    found = tlkeras.evaluate(f"{name}/exports/model.tflite", name_of_data(name), part="test", reporter=None).to_dict()
    assert found["n"] == before["n"] and found["accuracy"] == before["accuracy"]


def name_of_data(name):
    return {"texts": "texts.csv", "sequences": "sequences.npz"}.get(name)


# tests/modalities exports runs of sequences, whose loops take long to convert; the others show that what is there already is read.
@pytest.mark.parametrize("name", ["images", "texts", pytest.param("sequences", marks=pytest.mark.slow)])
def test_a_run_is_exported_again_beside_its_other_artifacts(name):
    export_run(name, ["tflite"], reporter=None)
    manifest = json.loads(Path(name, "exports", "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest["artifacts"]) == {"saved_model", "tflite", "onnx"}


def test_a_run_that_did_not_record_its_backbone_says_that_the_entry_is_gone(monkeypatch, tmp_path):
    monkeypatch.setenv("TLKERAS_ZOO", str(tmp_path / "empty"))
    with pytest.raises(ZooError, match="was trained from 'zoo:.*before runs recorded their backbones: no entry") as caught:
        export_run("from_entry", ["tflite"], reporter=None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_run_is_published(name, tmp_path):
    zoo = tlkeras.zoo.Zoo(tmp_path / "zoo")
    entry = publish(name, name, zoo, data_licence="CC0-1.0", data_source="made up", reporter=None)
    assert entry.manifest["labels"] and (entry.path / "README.md").read_text(encoding="utf-8").startswith(f"# {name}")


# One with labels and one without: each takes three processes with TensorFlow or more. tests/zoo verifies new entries of all modalities.
@pytest.mark.parametrize(
    "name", [PUBLISHED[0], NETWORKS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in (*PUBLISHED[1:], *NETWORKS[1:]))]
)
def test_an_entry_is_verified_in_every_runtime(name, old):
    checks = tlkeras.zoo.verify(tlkeras.zoo.Zoo(old / "zoo").get(name))
    assert len(checks) >= 4 and not [check for check in checks if check.problem]


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_entry_answers_as_the_run_that_it_was_published_from(name):
    inputs = {
        "images": np.stack([np.repeat(example.array, 4, 0).repeat(4, 1) for example in open_digits("digits").examples[:3]]),
        "texts": ["a good film", "the plot was dull"],
        "sequences": np.load("sequences.npz")["x"][:3],
    }[name]
    theirs, ours = tlkeras.zoo.load(name, runtime="litert").predict(inputs), tlkeras.load(name).predict(inputs)
    for a, b in zip(theirs, ours, strict=True):
        assert a.scores == pytest.approx(b.scores, abs=1e-5)


@pytest.mark.parametrize(("name", "data"), [("vae", None), ("steps", "sequences.npz"), ("words", "texts.csv")])
def test_a_pretrained_network_is_a_backbone(name, data, tmp_path):
    source = {} if data is None else {"data": data}
    result = tlkeras.finetune(backbone=f"zoo:{name}", **source, limit=30, epochs=1, export="none", out=str(tmp_path / "run"), reporter=None)
    assert result.config.model.backbone == f"zoo:{name}/1" and result.metrics["test"]["n"]
