"""A pretraining that is stopped or killed goes on to the network that it would have been."""

import hashlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import tlkeras
from tests.conftest import ROOT
from tests.faults import fault
from tests.helpers import pictures
from tlkeras.cli.main import app
from tlkeras.config import PretrainConfig
from tlkeras.data.examples import from_arrays
from tlkeras.errors import ConfigError, DataError, ZooError
from tlkeras.jobs import finetune, pretrain, pretrain_work, run_lock
from tlkeras.jobs.plan import resolve_pretraining
from tlkeras.progress import SILENT
from tlkeras.registry import load_function
from tlkeras.training import states
from tlkeras.training.states import States
from tlkeras.zoo.store import Zoo, verify_files

SETTINGS = {
    "backbone": "vae",
    "backbone_options": "hidden1=16,hidden2=12,latent=2",
    "image_size": 8,
    "epochs": 5,
    "batch_size": 8,
    "seed": 4,
}


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of the product catches it."""


def examples():
    x, y = pictures(30, size=8)
    return from_arrays(x, np.array(["a", "b", "c"])[y])


@pytest.fixture
def killed_at(monkeypatch):
    """Returns a function: which write of a state is the last thing that a pretraining does; 0 for none."""
    monkeypatch.setattr(states, "SHARE", 1.0)  # a state at the end of every epoch
    save, left = States.save, [0]

    def saved(self, *arguments, **named):
        save(self, *arguments, **named)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(States, "save", saved)
    return lambda number: left.__setitem__(0, number)


def trained(folder):
    """Trains the network as a pretraining does; returns its weights and its history."""
    plan = resolve_pretraining(PretrainConfig.from_dict(SETTINGS))
    finetune.seed_everything(plan.config.seed)
    dataset = examples()
    network = load_function(plan.objective.build)(plan.backbone, plan.config, dataset)
    x = np.asarray(network.inputs.materialise(dataset).inputs, network.model.inputs[0].dtype)
    history = pretrain._fit(network, x, plan.config, States(folder=folder), SILENT)
    return network.model.get_weights(), history


@fault("killed", "pretrain, after any stored state", "the same weights and history, bit for bit")
@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_pretraining_that_is_killed_after_an_epoch_goes_on_to_the_same_weights(number, tmp_path, killed_at):
    weights, history = trained(tmp_path / "whole")
    killed_at(number)
    with pytest.raises(Killed):
        trained(tmp_path / "states")
    resumed, rows = trained(tmp_path / "states")
    assert rows == history and len(rows) == 5
    for left, right in zip(resumed, weights, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.fixture
def stopped(tmp_path, killed_at):
    """A zoo in which the pretraining of `net` was killed after its second epoch."""
    zoo = Zoo(tmp_path / "zoo")
    killed_at(2)
    with pytest.raises(Killed):
        tlkeras.pretrain(examples(), name="net", zoo=zoo, **SETTINGS, reporter=None)
    killed_at(0)
    return zoo


def test_a_new_pretraining_of_the_same_name_says_how_to_go_on(stopped):
    with pytest.raises(
        ZooError, match="was stopped before it was published; `tlkeras pretrain --name net --resume` goes on; to start anew, delete"
    ):
        tlkeras.pretrain(examples(), name="net", zoo=stopped, **SETTINGS)
    assert not stopped.names()


def test_other_settings_are_refused_with_their_keys(stopped):
    with pytest.raises(ConfigError, match="begun with other settings: epochs: 9 instead of 5"):
        tlkeras.pretrain(examples(), name="net", zoo=stopped, resume=True, epochs=9)


def test_other_examples_are_refused(stopped):
    x, y = pictures(30, size=8, seed=1)
    with pytest.raises(DataError, match="the examples have changed"):
        tlkeras.pretrain(from_arrays(x, np.array(["a", "b", "c"])[y]), name="net", zoo=stopped, resume=True, reporter=None)
    assert pretrain_work.of(stopped.root, "net").unfinished


def test_examples_from_python_must_be_passed_again(stopped):
    with pytest.raises(DataError, match="was begun with examples passed from Python"):
        tlkeras.pretrain(name="net", zoo=stopped, resume=True)


def test_another_process_at_work_is_one_line(stopped):
    work = pretrain_work.of(stopped.root, "net")
    assert run_lock.hold(work.root)
    try:
        with pytest.raises(ZooError, match="another process trains 'net'"):
            tlkeras.pretrain(examples(), name="net", zoo=stopped, resume=True, reporter=None)
    finally:
        run_lock.release(work.root)


def test_nothing_to_go_on_with_is_one_line(tmp_path):
    done = CliRunner().invoke(app, ["pretrain", "--name", "net", "--zoo", str(tmp_path), "--resume"])
    assert done.exit_code == 1 and "no pretraining of 'net' was stopped" in done.output


def test_a_pretraining_that_fails_before_its_first_state_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "_fit", lambda *arguments: (_ for _ in ()).throw(DataError("no")))
    with pytest.raises(DataError):
        tlkeras.pretrain(examples(), name="net", zoo=tmp_path, **SETTINGS, reporter=None)
    assert not list(tmp_path.iterdir())


# === Real processes ===

PROCESS = {
    "no labels": ["--backbone", "vae", "--backbone-options", "hidden1=32,hidden2=24,latent=2", "--image-size", "12", "--epochs", "5"],
    "labels": ["--backbone", "cnn", "--backbone-options", "dense=8", "--image-size", "12", "--epochs", "5", "--batch-size", "32"],
}
MOMENTS = [
    ("no labels", "wrote fit@000001.state"),
    ("no labels", "wrote manifest.json"),
    ("labels", "in epoch 3"),
    ("labels", "begins export"),
]


def command(*arguments, at=None):
    environment = {**os.environ, "TLKERAS_CACHE_SIZE": "0", **({"TLKERAS_TEST_KILL_AT": at} if at else {})}
    line = [sys.executable, str(ROOT / "tests/killing.py"), "pretrain", "--name", "net", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300, check=False)


def weights_of(entry):
    model = keras.saving.load_model(entry.path / "model.keras", compile=False)
    return hashlib.sha256(b"".join(np.ascontiguousarray(value).tobytes() for value in model.get_weights())).hexdigest()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL of POSIX")
@fault("killed (SIGKILL)", "pretrain: in an epoch, after a state, in the export, while it is published", "the same weights, published once")
@pytest.mark.parametrize(("kind", "moment"), MOMENTS)
def test_a_pretraining_whose_process_is_killed_is_published_once_with_the_same_weights(kind, moment, tmp_path):
    assert command("--zoo", tmp_path / "whole", "--limit", 200, *PROCESS[kind]).returncode == 0
    killed = command("--zoo", tmp_path / "zoo", "--limit", 200, *PROCESS[kind], at=moment)
    assert killed.returncode == -9, killed.stderr
    done = command("--zoo", tmp_path / "zoo", "--resume")
    assert done.returncode == 0, done.stderr
    zoo = Zoo(tmp_path / "zoo")
    entry, whole = zoo.get("net"), Zoo(tmp_path / "whole").get("net")
    assert zoo.versions("net") == [1] and not verify_files(entry)
    assert weights_of(entry) == weights_of(whole)
    assert not pretrain_work.of(zoo.root, "net").root.exists()
