"""Workers that are killed go on together, from the newest checkpoint that all of them see."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.faults import fault
from tlkeras.errors import ConfigError
from tlkeras.jobs import resume, run_folder
from tlkeras.training.states import State, States

SETTINGS = ["--backbone", "cnn", "--weights", "none", "--recipe", "gradual", "--data", "digits", "--image-size", "16", "--limit", "120"]
SETTINGS += ["--epochs", "12", "--export", "none", "--seed", "2"]


def state(number):
    return State(arrays={"model": [np.full(2, number)]}, facts={"epoch": number})


def test_workers_take_the_newest_state_that_all_of_them_see(tmp_path):
    chief = States(folder=tmp_path)
    for number in (1, 2, 3):
        chief.save("fit-0", state(number), number)
    offered = []
    other = States(folder=tmp_path, writes=False, common=lambda numbers: offered.append(list(numbers)) or [2])
    assert other.load("fit-0").facts["epoch"] == 2 and offered == [[2, 3]]


def test_a_damaged_state_is_not_offered_to_the_others(tmp_path):
    chief, notes = States(folder=tmp_path), []
    for number in (1, 2):
        chief.save("fit-0", state(number), number)
    (tmp_path / "fit-0@000002.state").write_bytes(b"")
    other = States(folder=tmp_path, warn=notes.append, common=lambda numbers: [number for number in numbers if number in (1, 2)])
    assert other.load("fit-0").facts["epoch"] == 1 and "is damaged" in notes[0]


def test_states_that_not_all_workers_see_are_not_used_and_it_is_said(tmp_path):
    chief, notes = States(folder=tmp_path), []
    chief.save("fit-0", state(1), 1)
    assert States(folder=tmp_path, warn=notes.append, common=lambda numbers: []).load("fit-0") is None
    assert "not seen by all workers" in notes[0]


def test_only_one_worker_writes(tmp_path):
    States(folder=tmp_path / "states", writes=False).save("fit-0", state(1), 1)
    assert not (tmp_path / "states").exists()


@pytest.mark.parametrize(("before", "now", "line"), [(2, 1, "launch --workers 2 finetune --resume"), (1, 2, "`tlkeras finetune --resume")])
def test_another_number_of_workers_is_refused_with_the_command_that_goes_on(before, now, line, tmp_path):
    from tlkeras.config import RunConfig

    run = run_folder.Run(tmp_path)
    run.checkpoints.mkdir()
    resume.begin(run, RunConfig(), passed=False, workers=before)
    with pytest.raises(ConfigError, match=line):
        resume.check_workers(run, now)
    resume.check_workers(run, before)


def launched(root, *arguments):
    command = [
        sys.executable,
        "-m",
        "tlkeras.cli.main",
        "launch",
        "--workers",
        "2",
        "--logs",
        str(root / "logs"),
        "--",
        "finetune",
        *arguments,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, start_new_session=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL of POSIX")
@fault(
    "killed (SIGKILL)",
    "launch: two workers, in the middle of training",
    "the workers go on from the newest state that both see, to the same weights",
)
def test_two_workers_that_are_killed_go_on_to_the_same_weights(tmp_path):
    whole = launched(tmp_path, *SETTINGS, "--out", str(tmp_path / "whole"))
    output, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, output
    out = tmp_path / "run"
    process = launched(tmp_path, *SETTINGS, "--out", str(out))
    deadline = time.monotonic() + 120
    while not list((out / "checkpoints/states").glob("phase-0@*.state")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)  # the workers end with the one that started them
    process.communicate()
    assert resume.unfinished(out)
    time.sleep(2)
    alone = subprocess.run(
        [sys.executable, "-m", "tlkeras.cli.main", "finetune", "--resume", str(out)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert alone.returncode == 1 and "was begun with 2 workers, and 1 worker here" in alone.stderr
    again = launched(tmp_path, "--resume", str(out))
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    models = [keras.saving.load_model(folder / "model.keras", compile=False).get_weights() for folder in (out, tmp_path / "whole")]
    for left, right in zip(*models, strict=True):
        np.testing.assert_array_equal(left, right)
    assert (out / "history.csv").read_text() == (tmp_path / "whole/history.csv").read_text()
    assert not resume.unfinished(out)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@fault(
    "SIGTERM",
    "launch: two workers, in the middle of training",
    "both end; one line that says how to go on, exit code 143 within 5 seconds",
)
def test_sigterm_ends_two_workers_in_time_and_says_how_to_go_on(tmp_path):
    out = tmp_path / "run"
    process = launched(tmp_path, *SETTINGS, "--epochs", "400", "--out", str(out))
    deadline = time.monotonic() + 120
    while not list((out / "checkpoints/states").glob("fit-*.state")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 143 and time.monotonic() - started < 5, output
    assert f"`tlkeras launch --workers 2 finetune --resume {out}` goes on" in output.splitlines()[-1] and "Traceback" not in output
    assert len(workers) == 2 and not [worker for worker in workers if (Path("/proc") / worker).exists()]
    assert resume.unfinished(out)
