"""One table for all artifacts: what it measures, and what it does when one fails."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from tlkeras.cli.main import app
from tlkeras.cli.screen import benchmark_tables
from tlkeras.errors import ConfigError, DataError
from tlkeras.export.benchmark import Candidate, Row, Workload, below, benchmark, parse_floor, plot
from tlkeras.jobs import benchmark as benchmark_job
from tlkeras.zoo.store import Zoo


@pytest.fixture(scope="module")
def folder_of_pictures(tmp_path_factory):
    from PIL import Image

    from tests.helpers import pictures

    root = tmp_path_factory.mktemp("source")
    x, y = pictures(30, size=32, seed=6)
    for index, (picture, kind) in enumerate(zip(x, y, strict=True)):
        place = root / ["rouge", "grün", "蓝"][kind]
        place.mkdir(exist_ok=True)
        Image.fromarray(picture).save(place / f"{index}.png")
    return root


# The test below measures with one and with two threads.
@pytest.mark.parametrize("threads", [(1,), pytest.param((1, 2), marks=pytest.mark.slow)], ids=str)
def test_every_figure_is_there_and_makes_sense(published, folder_of_pictures, threads):
    zoo, _ = published
    report = benchmark_job.benchmark("colours", zoo=zoo, threads=threads, formats=("keras", "tflite", "onnx"), data=str(folder_of_pictures))
    assert [(row.format, row.threads) for row in report.rows] == [(f, t) for t in threads for f in ("keras", "tflite", "onnx")]
    for row in report.rows:
        assert row.status == "ok" and row.load_s > 0 and 0 < row.p50_ms <= row.p95_ms and 0 < row.batch_p50_ms <= row.batch_p95_ms
        assert row.images_per_s == pytest.approx(32_000 / row.batch_p50_ms) and row.bytes > 0 and row.peak_bytes > 1e7
        assert row.max_abs_diff < 1e-4 and row.agreement == 1.0
    assert len({row.accuracy for row in report.rows}) == 1 and report.rows[0].accuracy is not None
    small, large = (next(row.peak_bytes for row in report.rows if row.format == name) for name in ("tflite", "keras"))
    assert small < large / 2  # the memory of a process is its own


def test_the_accuracy_of_an_entry_from_arrays_is_not_measured_on_other_data(published):
    report = benchmark_job.benchmark("colours", zoo=published[0], threads=(1, 2), formats=("tflite", "onnx"))
    assert [(row.format, row.threads) for row in report.rows] == [(f, t) for t in (1, 2) for f in ("tflite", "onnx")]
    assert report.data is None and report.unmeasured.startswith("this run was trained on arrays")
    assert report.unmeasured.endswith("pass --data or dataset=") and report.rows[0].accuracy is None
    table, _ = benchmark_tables(report)
    assert "accuracy not measured: this run was trained on arrays" in table.title


def test_an_artifact_that_fails_has_the_reason_and_the_others_go_on(published, tmp_path):
    _, entry = published
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    good = Candidate(name="tflite", path=entry.path / "model.tflite", reader="tflite", bytes=1)
    bad = Candidate(name="onnx", path=tmp_path / "broken.onnx", reader="onnx", bytes=1)
    x = np.zeros((3, 32, 32, 3), "float32")
    rows = benchmark([bad, good], Workload(inputs={"image": x}, output="scores", expected=np.zeros((3, 3))), threads=(1,))
    assert rows[0].status.startswith("failed: ") and rows[1].status == "ok"
    assert len(below(rows, {})) == 1


def row(**figures):
    return Row(
        **{"format": "tflite", "threads": 1, "status": "ok", "bytes": 1000, "p50_ms": 1.0, "agreement": 1.0, "accuracy": 0.9, **figures}
    )


def test_a_floor_finds_what_is_below_and_what_is_not_known():
    assert below([row()], {"accuracy": 0.9}) == []
    assert "accuracy is 0.8, below 0.9" in below([row(accuracy=0.8)], {"accuracy": 0.9})[0]
    assert "not known" in below([row(accuracy=None)], {"accuracy": 0.9})[0]


@pytest.mark.parametrize("text", ["accuracy", "accuracy=x", "size=3", "=1", ""])
def test_a_floor_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="expected accuracy=NUMBER"):
        parse_floor(text)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_plot_is_drawn(tmp_path, ending):
    plot([row(), row(format="onnx", p50_ms=2.0, threads=2)], tmp_path / f"plot.{ending}")
    assert (tmp_path / f"plot.{ending}").stat().st_size > 1000


def test_the_command_is_a_gate_for_ci(published, folder_of_pictures, tmp_path):
    zoo, _ = published
    out = tmp_path / "rows.json"
    given = ["benchmark", "colours", "--zoo", str(zoo.root), "--data", str(folder_of_pictures), "--formats", "tflite", "--threads", "1"]
    done = CliRunner().invoke(app, [*given, "--json", str(out), "--floor", "accuracy=0"])
    assert done.exit_code == 0 and json.loads(out.read_text())["rows"][0]["format"] == "tflite"
    done = CliRunner().invoke(app, [*given, "--floor", "accuracy=1.01"])
    assert done.exit_code == 1 and "below 1.01" in done.output


def test_a_damaged_entry_is_not_measured(published, tmp_path):
    shutil.copytree(published[0].root, tmp_path / "zoo")
    (tmp_path / "zoo" / "colours" / "1" / "model.onnx").write_bytes(b"x")
    with pytest.raises(Exception, match="has changed since it was published"):
        benchmark_job.benchmark("colours", zoo=Zoo(tmp_path / "zoo"))


def test_a_format_that_is_not_there_is_told(published):
    with pytest.raises(DataError, match="no artifact tflite-fp16 .* there are saved_model"):
        benchmark_job.benchmark("colours", zoo=published[0], formats=("tflite-fp16",))
