"""Where files of strangers are read in processes of their own, artifacts answer as they do here, and one that crashes ends in one line."""

import gc
import os
import signal
import sys
import time

import numpy as np
import pytest

import tlkeras
from tests.modalities.test_registry import DATASETS, passed
from tlkeras.errors import ExportError
from tlkeras.export import isolated
from tlkeras.export.formats import FORMATS
from tlkeras.export.processes import Process
from tlkeras.export.read import open_artifact

SHAPE = (16, 16, 3)


@pytest.fixture
def apart(monkeypatch):
    monkeypatch.setenv("TLKERAS_ISOLATE", "1")


@pytest.fixture
def artifact(run_of):
    """Returns a function: format -> the path of that artifact of a run of images."""
    return lambda name: run_of("image").run.exports / FORMATS.get(name).path


@pytest.mark.parametrize("name", [pytest.param("saved_model", marks=pytest.mark.slow), "tflite", "onnx"])
def test_an_artifact_answers_in_a_process_of_its_own_as_it_does_here(run_of, name, monkeypatch):
    images = passed(DATASETS["image"]())
    here = tlkeras.load(run_of("image").run.root, runtime=name).predict(images)
    monkeypatch.setenv("TLKERAS_ISOLATE", "1")
    model = tlkeras.load(run_of("image").run.root, runtime=name)
    there = model.predict(images)
    assert [answer.scores for answer in there] == [pytest.approx(answer.scores, abs=1e-6) for answer in here]


def test_a_runtime_that_crashes_ends_in_one_line(artifact, apart):
    predictor = open_artifact(artifact("tflite"))
    os.kill(predictor.call._process._process.pid, signal.SIGSEGV)
    with pytest.raises(ExportError, match=r"cannot run '.*': in the process of its runtime, it exited with code -11") as caught:
        predictor.scores(np.zeros((1, *SHAPE), predictor.dtype))
    assert "\n" not in str(caught.value)


def test_a_damaged_artifact_is_refused_as_it_is_here(tmp_path, apart):
    (tmp_path / "model.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    with pytest.raises(ExportError, match="model.tflite"):
        open_artifact(tmp_path / "model.tflite")


def test_the_process_ends_with_the_model(artifact, apart):
    predictor = open_artifact(artifact("tflite"))
    process = predictor.call._process
    del predictor
    gc.collect()
    assert not process.alive


# Less memory than the process has: nothing more can be had.
TIGHT = "from tlkeras.export import isolated_worker as worker; worker.BYTES = -(1 << 20); worker.serve()"


def test_its_memory_is_bounded(artifact, apart, monkeypatch):
    monkeypatch.setattr(isolated, "COMMAND", (*isolated.COMMAND[:2], "-c", TIGHT))
    with pytest.raises(ExportError):
        open_artifact(artifact("onnx"))


def test_a_process_that_has_ended_is_closed_though_it_did_not_read_what_was_asked(tmp_path):
    process = Process([sys.executable, "-c", "pass"], os.environ, tmp_path / "errors.txt")
    deadline = time.monotonic() + 30
    while process.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "it exited with code 0" in process.ask({"question": "x"})["error"]
    process.close()
