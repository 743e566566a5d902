"""A run says where its data came from, and claims no other data for them."""

import dataclasses
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

import tlkeras
from tests.helpers import pictures
from tests.targets import classes
from tlkeras.cli.finetune import next_commands
from tlkeras.config import RunConfig
from tlkeras.errors import DataError

TINY = {"backbone": "cnn", "weights": "none", "image_size": 16, "epochs": 1, "export": "none"}


class Listener(tlkeras.Reporter):
    """Remembers when the scores are shown and which files are written."""

    def __init__(self):
        self.heard = []

    def scores(self, scores):
        self.heard.append(("scores", scores["test"]["majority"]["label"]))

    def piece(self, phase, number, total, name):
        self.heard.append((phase, f"{name} {number}/{total}"))


@pytest.fixture(scope="module")
def of_arrays_with_listener(tmp_path_factory):
    """A run trained on arrays and exported, the arrays, and what was heard meanwhile."""
    x, y = pictures(40, classes=2)
    dataset, listener = tlkeras.from_arrays(x, [("ham", "spam")[i] for i in y], name="mails"), Listener()
    config = RunConfig(**{**TINY, "export": "onnx", "out": tmp_path_factory.mktemp("arrays") / "run"})
    return tlkeras.finetune(config, dataset=dataset, reporter=listener), dataset, listener.heard


@pytest.fixture
def of_arrays(of_arrays_with_listener):
    """A run trained on arrays, and the arrays."""
    return of_arrays_with_listener[:2]


@pytest.fixture(scope="module")
def of_folder(tmp_path_factory):
    """A run trained on examples that were opened from a folder, and the folder."""
    folder = tmp_path_factory.mktemp("folder") / "photos"
    x, y = pictures(40, classes=2)
    for i, image in enumerate(x):
        (folder / "ab"[y[i]]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "ab"[y[i]] / f"{i}.png")
    return tlkeras.finetune(tlkeras.open_source(str(folder)), out=folder.parent / "run", **TINY), folder


def test_a_run_from_arrays_records_them_and_no_other_source(of_arrays):
    result, _ = of_arrays
    assert yaml.safe_load(result.run.config.read_text())["data"] == "dataset:mails" == result.config.data.source
    assert {key: result.metrics["data"][key] for key in ("source", "kind", "modality")} == {
        "source": "dataset:mails", "kind": "arrays", "modality": "image",
    }  # fmt: skip
    assert "digits" not in result.run.report.read_text()


def test_a_run_from_arrays_is_not_evaluated_on_other_data(of_arrays):
    result, dataset = of_arrays
    with pytest.raises(DataError, match=r"this run was trained on arrays \('mails'\), .*; pass --data or dataset="):
        tlkeras.evaluate(result.run.root)
    assert tlkeras.evaluate(result.run.root, dataset=dataset).score.n == 40


def test_the_config_of_a_run_from_arrays_cannot_train_on_other_data(of_arrays, tmp_path):
    result, _ = of_arrays
    with pytest.raises(DataError, match="arrays that a Python call passed"):
        tlkeras.finetune(result.config, out=tmp_path / "again")


def test_examples_with_other_labels_are_scored_by_the_label_map_of_the_model(of_arrays):
    result, dataset = of_arrays
    spam = [example.array for example in dataset.examples if example.label == "spam"]
    found = tlkeras.evaluate(result.run.root, dataset=tlkeras.from_arrays(np.stack(spam), ["spam"] * len(spam), labels=["spam"]))
    assert found.score.confusion[0].sum() == 0 and found.score.confusion[1].sum() == len(spam)


def test_class_ids_are_those_of_the_model_whatever_a_dataset_says(of_arrays):
    result, dataset = of_arrays
    scored = tlkeras.evaluate(result.run.root, dataset, part="all").score
    other_order = dataclasses.replace(dataset, target=classes("spam", "ham"))
    assert scored.n == 40 and np.array_equal(tlkeras.evaluate(result.run.root, other_order, part="all").score.confusion, scored.confusion)


def test_the_next_commands_of_a_run_from_arrays_name_no_other_data(of_arrays):
    lines = dict(next_commands(of_arrays[0]))
    assert lines["evaluate"].endswith("--data SOURCE") and "digits" not in " ".join(lines.values())


def test_a_run_that_is_moved_is_evaluated_on_its_own_held_out_part(of_folder, tmp_path):
    result, _ = of_folder
    shutil.copytree(result.run.root, tmp_path / "moved")
    found = tlkeras.evaluate(tmp_path / "moved")
    assert found.part == "test" and found.score.n == result.metrics["test"]["n"]


def test_a_run_whose_data_are_gone_asks_for_data(of_folder, tmp_path):
    result, folder = of_folder
    shutil.copytree(result.run.root, tmp_path / "run")
    text = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(text.replace(str(folder), str(tmp_path / "gone")))
    with pytest.raises(DataError, match="the data of this run, '.*gone', was not found; pass --data"):
        tlkeras.evaluate(tmp_path / "run")


def test_a_run_of_an_earlier_version_that_records_no_data_asks_for_data(of_arrays, tmp_path):
    result, _ = of_arrays
    shutil.copytree(result.run.root, tmp_path / "run")
    text = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(text.replace('"dataset:mails"', "null"))
    with pytest.raises(DataError, match="does not record what it was trained on; pass --data"):
        tlkeras.evaluate(tmp_path / "run")


def test_examples_opened_from_a_source_are_recorded_as_that_source(of_folder):
    result, folder = of_folder
    assert result.config.data.source == str(folder) and result.metrics["data"]["kind"] == "folder"


def test_the_scores_are_shown_before_the_export_names_its_files(of_arrays_with_listener):
    result, _, heard = of_arrays_with_listener
    assert (result.run.exports / "model.onnx").is_file()
    assert [event for event in heard if event[0] in ("scores", "export")] == [("scores", heard[0][1]), ("export", "onnx 1/1")]
