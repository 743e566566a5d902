"""Files state the number of their format: one of a later tlkeras is refused in one line, one without a number was written before."""

import json
import re
import shutil

import numpy as np
import pytest

import tlkeras
from tests.helpers import pictures
from tlkeras.config import RunConfig, read_yaml
from tlkeras.data.examples import from_arrays
from tlkeras.errors import TlkerasError
from tlkeras.export.manifest import read_manifest as read_exported
from tlkeras.jobs import backbone_record, pretrain_work, report_run, resume, run_folder
from tlkeras.jobs.run_folder import Run
from tlkeras.modalities.texts import tokens
from tlkeras.training.states import States
from tlkeras.zoo.manifest import read_manifest as read_published
from tlkeras.zoo.store import Zoo

SMALL = {"backbone": "cnn", "weights": "none", "image_size": 16, "epochs": 1, "unfreeze": "all", "export": "none"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run, which tests copy."""
    x, y = pictures(30)
    return tlkeras.finetune(
        from_arrays(x, np.array(["a", "b", "c"])[y]), out=tmp_path_factory.mktemp("run") / "run", reporter=None, **SMALL
    ).run


def rewrite(run):
    report_run.rewrite(run)


def go_on(run):
    resume.settings(run.root, {}, passed=True)


def pretraining(run):
    work = pretrain_work.Work(root=run.checkpoints, name="x")
    pretrain_work.settings(work, None, {}, resume=True, passed=True)


# File in the folder of a run -> what reads it.
READERS = {
    "config.yaml": run_folder.read_config,
    "metrics.json": lambda run: run_folder.finished(run.root),
    "target.json": run_folder.read_target,
    "backbone.json": backbone_record.read,
    "environment.json": rewrite,
    "data_audit.json": rewrite,
    "calibration.json": rewrite,
    "examples.json": rewrite,
    "evaluation.json": rewrite,
    "cross_validation.json": rewrite,
    "errors.json": rewrite,
    "recommend.json": rewrite,
    "explanations/explanations.json": rewrite,
    "checkpoints/asked.yaml": go_on,
    "checkpoints/begun.json": go_on,
    "checkpoints/states/examples.json": lambda run: resume.check_examples(run, "fingerprint"),
    "checkpoints/states/exported.json": lambda run: resume.exported(run, "digest"),
    "exports/manifest.json": lambda run: read_exported(run.exports),
    "tokenizer/tokens.json": lambda run: tokens.load(run.root / "tokenizer"),
    "colours/1/manifest.json": lambda run: read_published(run.root / "colours" / "1"),
    "colours/labels.json": lambda run: Zoo(run.root).stable("colours"),
}


def from_the_future(path):
    """Gives a file the number of a later format; makes one that is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".yaml":
        before = path.read_text() if path.is_file() else ""
        path.write_text("# tlkeras config, format 99\n" + re.sub("^# tlkeras config.*\n", "", before))
    else:
        before = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**before, "version" if "version" in before else "format": 99}))


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a run, with what an unfinished one has besides."""
    run = Run(shutil.copytree(finished.root, tmp_path / "run"))
    resume.begin(run, RunConfig.from_dict(SMALL), passed=True)
    return run


@pytest.mark.parametrize("name", READERS)
def test_a_file_of_a_later_tlkeras_is_refused_in_one_line(run, name):
    from_the_future(run.root / name)
    with pytest.raises(TlkerasError, match="99.*(update tlkeras|use the tlkeras that wrote it)") as caught:
        READERS[name](run)
    assert name.rpartition("/")[2] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["begun.json", "asked.yaml"])
def test_a_pretraining_that_a_later_tlkeras_began_is_refused_in_one_line(run, name):
    run.asked.write_text("backbone: cnn\n")
    from_the_future(run.checkpoints / name)
    with pytest.raises(TlkerasError, match=rf"{name}.*99.*update tlkeras"):
        pretraining(run)


def test_a_state_of_training_of_a_later_tlkeras_is_not_used(tmp_path):
    notes = []
    (tmp_path / "fit@000001.state").write_bytes(b"tlkeras state 99\n" + b"\0" * 100)
    assert States(folder=tmp_path, warn=notes.append).load("fit") is None and "no state of this version" in notes[0]


def test_every_json_file_of_a_run_states_its_format(finished):
    numbers = {path.name: json.loads(path.read_text()) for path in finished.root.rglob("*.json")}
    assert set(numbers) == {
        "metrics.json", "target.json", "backbone.json", "environment.json", "data_audit.json", "calibration.json", "examples.json",
    }  # fmt: skip
    assert {content.get("format", content.get("version")) for content in numbers.values()} == {1}


def test_a_config_states_its_format_in_a_comment_that_no_reader_needs(finished, tmp_path):
    text = finished.config.read_text()
    assert text.startswith("# tlkeras config, format 1\n")
    (tmp_path / "without.yaml").write_text(text.partition("\n")[2])
    assert read_yaml(tmp_path / "without.yaml") == read_yaml(finished.config)


@pytest.mark.parametrize("number", ["'2'", "1.5", "null", "[]"])
def test_a_number_that_is_none_is_refused(run, number):
    content = json.loads(run.metrics.read_text())
    run.metrics.write_text(json.dumps(content).replace('"format": 1', f'"format": {number}'.replace("'", '"'), 1))
    with pytest.raises(TlkerasError, match="metrics.json' has format .*, and this tlkeras reads formats up to 1; update tlkeras"):
        run_folder.finished(run.root)
