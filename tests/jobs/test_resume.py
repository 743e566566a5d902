"""A run that is killed goes on to what it would have been: the same weights, history and scores, bit for bit."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tlkeras
from tests.faults import fault
from tests.helpers import pictures
from tlkeras.data.examples import from_arrays
from tlkeras.errors import ConfigError, DataError, ExportError, OutputError
from tlkeras.jobs import finetune, resume, run_folder, run_lifetime
from tlkeras.training import phases, states
from tlkeras.training.states import State, States

SMALL = {"backbone": "cnn", "weights": "none", "image_size": 16, "export": "none", "batch_size": 8, "seed": 3}
PRETRAINED, TEACHER = {"weights": "weights of a file"}, "a finished run"  # `settings_of` makes both
RECIPES = {
    "full": {"recipe": "full", "epochs": 4},
    "lp-ft": {"recipe": "lp-ft", "epochs": 3},
    "gradual": {"recipe": "gradual", "epochs": 2},
    "ema": {"recipe": "ema", "epochs": 4},
    "soup": {"recipe": "soup", "epochs": 2},
    "wise-ft": {"recipe": "wise-ft", "epochs": 3},
    "l2-sp": {"recipe": "l2-sp", "epochs": 3},
    "features": {"recipe": "feature-extraction", "epochs": 5},
    "augmented": {"recipe": "full", "epochs": 3, "augment": "light"},
    "lora": {"recipe": "lora", "epochs": 3, "lora_rank": 2, **PRETRAINED},
    "contrastive": {"recipe": "contrastive", **PRETRAINED},
    "distill": {"recipe": "distill", "epochs": 3, "teacher": TEACHER, **PRETRAINED},
    "few-shot": {"recipe": "few-shot", **PRETRAINED},
    "auto": {"recipe": "auto", "max_minutes": 60, **PRETRAINED},
    "several targets": {"recipe": "lp-ft", "epochs": 3, **PRETRAINED},
}


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of the product catches it."""


def dataset(name=""):
    x, y = pictures(120 if name == "auto" else 48, size=16)
    colour = np.array(["a", "b", "c"])[y]
    return from_arrays(x, {"colour": colour, "even": np.where(y % 2, "odd", "even")} if name == "several targets" else colour)


@pytest.fixture(scope="module")
def settings_of(tmp_path_factory):
    """Returns a function: name of a recipe -> the settings of its run, with the files that they name."""
    from tlkeras.backbones.load import load

    @functools.cache
    def weights():
        path = tmp_path_factory.mktemp("weights") / "backbone.keras"
        load("cnn", image_size=16, weights="none").model.save(path)
        return str(path)

    @functools.cache
    def teacher():
        out = tmp_path_factory.mktemp("teacher") / "run"
        return str(tlkeras.finetune(dataset=dataset(), out=str(out), **SMALL, recipe="full", epochs=1, reporter=None).run.root)

    made = {PRETRAINED["weights"]: weights, TEACHER: teacher}
    return lambda name: {**SMALL, **{key: made[value]() if value in made else value for key, value in RECIPES[name].items()}}


def content(run):
    """Returns everything that must be the same: weights, history, scores, facts of the target."""
    import keras

    weights = [np.asarray(value) for value in keras.saving.load_model(run.model, compile=False).get_weights()]
    metrics = json.loads(run.metrics.read_text())
    figures = {name: metrics[name] for name in ("val", "test", "phases")}
    for phase in figures["phases"]:
        phase.pop("seconds")
    return weights, run.history.read_text(), run.predictions.read_text(), figures, run.target.read_text()


def same(one, other):
    for left, right in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(left, right)
    assert one[1:] == other[1:]


@pytest.fixture
def killed_at(monkeypatch):
    """Returns a function: which write of a state, from 1, is the last thing that a run does."""
    monkeypatch.setattr(states, "SHARE", 1.0)  # a state at the end of every epoch
    save = States.save

    def install(number):
        done = []

        def saved(self, *arguments, **named):
            save(self, *arguments, **named)
            done.append(arguments[0])
            if len(done) == number:
                raise Killed

        monkeypatch.setattr(States, "save", saved)

    return install


# By default a kill in each of the two phases of the recipe that has both a solved head and steps; each state of every recipe is slow.
SOME = {"lp-ft": (1, 4)}
KILLED = [*SOME.items(), *(pytest.param(name, range(1, 100), marks=pytest.mark.slow) for name in RECIPES)]


@fault(
    "killed",
    f"after every stored state, in {len(RECIPES) - 1} recipes and with several targets: an epoch, a phase, one of several fits, the end of training",
    "the same weights, history, scores and thresholds, bit for bit",
)
@pytest.mark.parametrize(("name", "numbers"), KILLED)
def test_a_run_that_is_killed_at_any_checkpoint_goes_on_to_the_same_result(name, numbers, tmp_path, killed_at, settings_of):
    settings = settings_of(name)
    whole = tlkeras.finetune(dataset=dataset(name), out=str(tmp_path / "whole"), **settings, reporter=None)
    expected = content(whole.run)
    for number in numbers:
        out = tmp_path / f"killed-{number}"
        killed_at(number)
        try:
            tlkeras.finetune(dataset=dataset(name), out=str(out), **settings, reporter=None)
            assert number > max(SOME.get(name, (1,))), "fewer states were written"
            break
        except Killed:
            killed_at(0)
        run_lifetime.release(run_folder.Run(out))
        result = tlkeras.finetune(dataset=dataset(name), resume=out, reporter=None)
        same(content(result.run), expected)
        assert not (out / "checkpoints/states").exists() and not (out / "checkpoints/asked.yaml").exists()


@fault(
    "killed",
    "between phases",
    "phases that are done are not trained again",
)
def test_what_is_trained_is_not_trained_again(tmp_path, killed_at, monkeypatch):
    killed_at(2)  # the states of the fit of the first phase, and of that phase
    settings = {**SMALL, "recipe": "gradual", "epochs": 2}
    with pytest.raises(Killed):
        tlkeras.finetune(dataset=dataset(), out=str(tmp_path / "run"), **settings, reporter=None)
    killed_at(0)
    fits, run_phase = [], phases._run_phase

    def counted(task, phase, *arguments):
        fits.append(phase.name)
        return run_phase(task, phase, *arguments)

    monkeypatch.setattr(phases, "_run_phase", counted)
    run_lifetime.release(run_folder.Run(tmp_path / "run"))
    result = tlkeras.finetune(dataset=dataset(), resume=tmp_path / "run", reporter=None)
    assert fits == [phase["name"] for phase in result.metrics["phases"]][1:] and len(fits) > 1


@fault(
    "stopped",
    "during the export",
    "artifacts that were recorded are not written again",
)
def test_formats_that_are_exported_are_not_exported_again(tmp_path, monkeypatch):
    from tlkeras.export import export

    monkeypatch.setattr(export, "NOTED_EVERY", 0.0)
    settled, stops = export._Exporter._settled, []

    def settle(self, attempt, *arguments, **named):
        if attempt.row.name == "onnx" and not stops:
            stops.append(1)
            raise KeyboardInterrupt
        if attempt.row.name == "onnx" and len(stops) == 1:
            stops.append(2)
            raise ExportError("stopped")
        return settled(self, attempt, *arguments, **named)

    monkeypatch.setattr(export._Exporter, "_settled", settle)
    settings = {**SMALL, "recipe": "full", "epochs": 1, "export": "tflite,onnx"}
    with pytest.raises(KeyboardInterrupt):
        tlkeras.finetune(dataset=dataset(), out=str(tmp_path / "run"), **settings, reporter=None)
    before = (tmp_path / "run/exports/model.tflite").stat().st_mtime_ns
    result = tlkeras.finetune(dataset=dataset(), resume=tmp_path / "run", reporter=None)
    assert list(result.metrics["exports"]) == ["tflite", "onnx"]
    assert (tmp_path / "run/exports/model.tflite").stat().st_mtime_ns == before
    assert set(json.loads((tmp_path / "run/exports/manifest.json").read_text())["artifacts"]) == {"tflite", "onnx"}


# === What cannot go on ===


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was killed after its first epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "SHARE", 1.0)
        save = States.save

        def saved(self, *arguments, **named):
            save(self, *arguments, **named)
            raise Killed

        patch.setattr(States, "save", saved)
        out = tmp_path_factory.mktemp("stopped") / "run"
        with pytest.raises(Killed):
            tlkeras.finetune(dataset=dataset(), out=str(out), **SMALL, recipe="full", epochs=4, reporter=None)
    run_lifetime.release(run_folder.Run(out))
    return out


@pytest.fixture
def copy(stopped, tmp_path):
    return Path(shutil.copytree(stopped, tmp_path / "run"))


@fault(
    "other settings",
    "when it goes on",
    "one line with the keys that differ",
)
def test_other_settings_are_refused_with_their_keys(copy):
    with pytest.raises(ConfigError, match="begun with other settings: epochs: 9 instead of 4"):
        tlkeras.finetune(dataset=dataset(), resume=copy, epochs=9)


@fault(
    "other examples",
    "when it goes on",
    "one line",
)
def test_other_examples_are_refused(copy):
    x, y = pictures(48, size=16)
    with pytest.raises(DataError, match="the examples have changed"):
        tlkeras.finetune(dataset=from_arrays(255 - x, np.array(["a", "b", "c"])[y]), resume=copy, reporter=None)
    assert resume.unfinished(copy)


def test_examples_from_python_must_be_passed_again(copy):
    with pytest.raises(DataError, match="was begun with examples passed from Python"):
        tlkeras.finetune(resume=copy)


@fault(
    "a new run in the folder of one that did not finish",
    "at the start",
    "one line that says how to go on",
)
def test_a_new_run_in_the_folder_of_an_unfinished_one_says_how_to_go_on(copy):
    with pytest.raises(OutputError, match="did not finish; `tlkeras finetune --resume"):
        tlkeras.finetune(dataset=dataset(), out=str(copy), **SMALL)


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_what_is_no_run_is_refused(tmp_path, what):
    if what == "empty":
        (tmp_path / "run").mkdir()
    with pytest.raises(OutputError, match="that was stopped"):
        tlkeras.finetune(dataset=dataset(), resume=tmp_path / "run")


@fault(
    "another process works on the run",
    "when it goes on",
    "one line",
)
def test_a_run_that_another_process_works_on_is_refused(copy):
    code = (
        "import sys, time, pathlib; from tlkeras.jobs import run_folder, run_lifetime; "
        "run_lifetime.claim(run_folder.Run(pathlib.Path(sys.argv[1]))); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(copy)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        try:
            with pytest.raises(OutputError, match="another process works on the run"):
                tlkeras.finetune(dataset=dataset(), resume=copy, reporter=None)
        finally:
            other.kill()


# === States ===


@fault(
    "the newest state is cut short, empty, or has other bits",
    "when it goes on",
    "the one before is used, with a warning: an epoch is computed again",
)
def test_a_damaged_state_costs_one_epoch(tmp_path):
    notes = []
    store = States(folder=tmp_path, warn=notes.append)
    for number in range(1, 5):
        store.save("fit-0", State(arrays={"model": [np.full(3, number)]}, facts={"epoch": number}), number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit-0@000003.state", "fit-0@000004.state"]
    newest = tmp_path / "fit-0@000004.state"
    whole = newest.read_bytes()
    for damaged in (whole[:-10], whole[:60], b"", whole[:-5] + b"\0" + whole[-4:], b"PK" + whole[2:]):
        newest.write_bytes(damaged)
        notes.clear()
        assert store.load("fit-0").facts["epoch"] == 3 and "is damaged" in notes[0]
    newest.write_bytes(whole)
    assert store.load("fit-0").facts["epoch"] == 4 and store.load("fit-1") is None


@fault(
    "states that are slow to write",
    "while it trains",
    "at most 3 % of the time goes into all of them, where only epochs are stored; ends of phases are stored in any case, and epochs less often then",
)
def test_states_take_at_most_their_share_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(states.time, "monotonic", lambda: now[0])
    store, state = States(folder=tmp_path), State(arrays={}, facts={})

    def slow(*arguments):
        now[0] += 1

    monkeypatch.setattr(states.files, "write", slow)
    now[0] = 1000.0  # images are decoded, features computed
    store.begin()
    for epoch in range(1, 1001):
        now[0] += 0.5
        before = store.seconds
        store.save_epoch("fit-0", lambda: state, epoch)
        store.if_due(slow)  # the best weights
        if store.seconds > before > 0:
            assert store.seconds <= 0.03 * (now[0] - 1000) + 1e-9
        if epoch % 200 == 0:
            store.save(f"phase-{epoch}", state)
        assert store.seconds == now[0] - 1000 - 0.5 * epoch  # a write inside of another counts once
    assert 12 <= store.seconds <= 0.03 * (now[0] - 1000) + 1


@pytest.mark.slow
def test_the_states_of_a_real_run_take_little_of_its_time(tmp_path, monkeypatch, capsys, shared_data):
    """Measures what docs/reliability.md states: a pretrained network, all of whose layers train, in two phases."""
    kept, real = [], finetune.States
    monkeypatch.setattr(finetune, "States", lambda **named: kept.append(real(**named)) or kept[-1])
    settings = {"backbone": "efficientnet", "recipe": "lp-ft", "epochs": 4, "image_size": 128, "export": "none", "seed": 0}
    result = tlkeras.finetune(str(shared_data / "hymenoptera"), out=str(tmp_path / "run"), **settings, reporter=None)
    trained = result.metrics["timing"]["train"]
    with capsys.disabled():
        print(f"\n{kept[0].seconds:.2f} of {trained:.1f} seconds of training went into states: {kept[0].seconds / trained:.1%}")
    assert 0 < kept[0].seconds < 0.1 * trained


# === Signals ===


def command(out):
    settings = ["--backbone", "cnn", "--weights", "none", "--image-size", "16", "--epochs", "400", "--unfreeze", "all", "--export", "none"]
    return [sys.executable, "-m", "tlkeras", "finetune", "--out", str(out), *settings]


ENDINGS = {"SIGTERM": ([signal.SIGTERM], 143), "Ctrl-C": ([signal.SIGINT], 130), "Ctrl-C twice": ([signal.SIGINT] * 2, 130)}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            "SIGTERM", marks=fault("SIGTERM", "while it trains", "one line that says how to go on, exit code 143 within 5 seconds")
        ),
        pytest.param("Ctrl-C", marks=fault("Ctrl-C", "while it trains", "one line that says how to go on, exit code 130")),
        pytest.param(
            "Ctrl-C twice",
            marks=fault("Ctrl-C twice", "while it trains", "it ends at once with exit code 130 and a line that says how to go on"),
        ),
    ],
)
def test_a_signal_ends_a_command_within_five_seconds_and_it_can_go_on(name, tmp_path):
    signals, code = ENDINGS[name]
    environment = {**os.environ, "TLKERAS_CACHE": str(tmp_path / "cache")}
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command(tmp_path / "run"), env=environment, **pipes) as process:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "run/checkpoints").glob("states/fit-*.state")) and time.monotonic() < deadline:
            time.sleep(0.2)
        started = time.monotonic()
        for number in signals:
            process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == code and time.monotonic() - started < 5
    (line,) = [line for line in errors.splitlines() if line.startswith("stopped")]
    assert "Traceback" not in errors and f"`tlkeras finetune --resume {tmp_path / 'run'}` goes on" in line
    assert resume.unfinished(tmp_path / "run")
