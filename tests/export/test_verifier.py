"""Artifacts are verified side by side: with the same result as one after the other, and without harm to each other."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.export.helpers import conv_net, export_all
from tlkeras.errors import ExportError
from tlkeras.export import parity, processes
from tlkeras.files import read_npz

pytestmark = pytest.mark.usefixtures("fresh_runtimes")
OWN = ("latency_ms", "sha256", "bytes")  # of each conversion: names in a graph are numbered onwards within a process


@pytest.fixture
def runner_that(tmp_path, monkeypatch):
    """Returns what puts a line of Python before the verification of an artifact of a name, in the processes that verify."""

    def install(line, name):
        script = tmp_path / "runner.py"
        script.write_text(
            "import os, signal, sys, time\n"
            f"sys.path.insert(0, {str(processes.RUNNER.parent)!r})\n"
            "import runner\n"
            "verify = runner.Artifacts.verify\n"
            "def otherwise(self, job):\n"
            f"    open({str(tmp_path / 'processes')!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
            f"    if job['path'].endswith({name!r}):\n"
            f"        {line}\n"
            "    return verify(self, job)\n"
            "runner.Artifacts.verify = otherwise\n"
            "runner.main(sys.argv[1])\n"
        )
        monkeypatch.setattr(processes, "RUNNER", script)
        return tmp_path / "exports"

    return install


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())["artifacts"]


def started(tmp_path):
    """Returns the ids of the processes that verified something, in order, each once."""
    return list(dict.fromkeys(int(line) for line in (tmp_path / "processes").read_text().split()))


def test_formats_exported_together_have_the_records_and_answers_of_formats_exported_one_by_one(tmp_path):
    model, formats = conv_net(), ("tflite", "tflite-fp16", "onnx")
    together = export_all(model, tmp_path / "together", formats=formats)
    alone = [artifact for name in formats for artifact in export_all(model, tmp_path / name, formats=(name,))]
    for one, other in zip(together, alone, strict=True):
        left, right = one.to_dict(), other.to_dict()
        assert {key: left[key] for key in left if key not in OWN} == {key: right[key] for key in right if key not in OWN}
        assert all(np.array_equal(one.verdict.answers[name], other.verdict.answers[name]) for name in other.verdict.answers)
    evidence = read_npz(tmp_path / "together/verification.npz")
    assert {name for name in evidence if name.startswith("answers/")} == {f"answers/{name}/scores" for name in formats}


def test_a_runtime_that_dies_fails_its_artifact_and_the_next_one_has_a_new_process(tmp_path, runner_that):
    folder = runner_that("os.abort()", "model_fp16.tflite")
    with pytest.raises(ExportError, match="tflite-fp16: ai_edge_litert cannot run the file: it exited with code"):
        export_all(conv_net(), folder, formats=("tflite", "tflite-fp16", "tflite-dynamic"))
    assert {name: record["verified"] for name, record in manifest(folder).items()} == {"tflite": True, "tflite-dynamic": True}
    assert all(record["latency_ms"] > 0 for record in manifest(folder).values())
    assert sorted(path.name for path in folder.glob("*.tflite")) == ["model.tflite", "model_dynamic.tflite"]
    assert not list(folder.glob(".*")) and len(started(tmp_path)) == 2


def test_a_runtime_that_does_not_answer_is_ended(tmp_path, runner_that, monkeypatch):
    folder = runner_that("time.sleep(600)", "model.tflite")
    monkeypatch.setattr(processes, "TIMEOUT", 1)
    with pytest.raises(ExportError, match="it did not answer within 1 s"):
        export_all(conv_net(), folder, formats=("tflite",))
    assert not list(folder.iterdir())


def test_ctrl_c_leaves_what_is_verified_and_no_process_and_no_half_written_artifact(tmp_path, runner_that, monkeypatch):
    # Once the first artifact is verified, the second one's runtime presses Ctrl-C, and answers no more.
    verified = "os.path.join(os.path.dirname(job['answers']), '0.npz')"
    press = f"while not os.path.exists({verified}): time.sleep(0.1)\n        time.sleep(1); os.kill(os.getppid(), signal.SIGINT)"
    folder = runner_that(f"{press}\n        time.sleep(600)", "model.onnx")
    monkeypatch.setattr(parity, "also", lambda row: [])  # a second runtime would press it again
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process that was started in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            export_all(conv_net(), folder, formats=("tflite", "onnx"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert {name: record["verified"] for name, record in manifest(folder).items()} == {"tflite": True}
    assert (folder / "model.tflite").is_file() and not (folder / "model.onnx").exists() and not list(folder.glob(".*"))
    for process in started(tmp_path):
        assert not Path(f"/proc/{process}").exists()
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
