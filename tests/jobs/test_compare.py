"""Runs side by side: figures, cost, settings that differ, and runs that were not measured on the same examples. No TensorFlow is loaded."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import tlkeras
from tests.conftest import ROOT
from tlkeras.cli.main import app
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError, DataError, OutputError
from tlkeras.jobs import compare

CONFIG = {
    "backbone": "cnn",
    "recipe": "full",
    "task": "classification",
    "seed": 0,
    "data": "/home/somebody/photos",
    "out": "x",
    "export": ["onnx"],
}
RECORD = {"path": "model.onnx", "bytes": 3_000_000, "latency_ms": 2.0}


def made_up_run(folder, *, accuracy=0.9, fingerprint="a" * 64, seconds=12.0, exports=None, **config):
    """A run folder with the files that a comparison reads."""
    folder.mkdir(parents=True)
    settings = {**CONFIG, "out": str(folder), **config}
    (folder / "config.yaml").write_text(json.dumps(settings))
    (folder / "labels.txt").write_text("a\nb\n")
    summary = {
        "val": {"n": 0},
        "test": {"n": 50, "accuracy": accuracy, "loss": 0.3},
        "timing": {"total": seconds},
        "data": {"fingerprint": fingerprint},
        "exports": {"onnx": RECORD, "tflite": {**RECORD, "bytes": 1_000_000, "latency_ms": 4.0}} if exports is None else exports,
        "config": settings,
    }
    (folder / "metrics.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def runs(tmp_path):
    return [
        made_up_run(tmp_path / "one"),
        made_up_run(tmp_path / "two", accuracy=0.95, seconds=700.0, recipe="lora", exports={}),
        made_up_run(tmp_path / "other", fingerprint="b" * 64),
    ]


def test_a_comparison_has_figure_and_cost_of_each_run(runs):
    first, second, _ = tlkeras.compare(runs).runs
    assert (first.figure, first.measure, first.split, first.n, first.seconds) == (0.9, "accuracy", "test", 50, 12.0)
    assert (first.bytes, first.smallest, first.latency_ms, first.fastest) == (1_000_000, "tflite", 2.0, "onnx")
    assert second.bytes is None and second.latency_ms is None


def test_a_run_on_other_data_or_splits_is_flagged_with_both_fingerprints(runs):
    comparison = tlkeras.compare(runs)
    assert [run.comparable for run in comparison.runs] == [True, True, False]
    (warning,) = comparison.warnings
    assert warning == "other is not comparable with one: its data or splits differ (fingerprint bbbbbbbb, not aaaaaaaa)"


def test_only_settings_that_differ_are_shown(runs):
    assert tlkeras.compare(runs).differences == {"recipe": {"one": "full", "two": "lora", "other": "full"}}


def test_another_task_is_not_comparable(tmp_path):
    first, second = made_up_run(tmp_path / "a"), made_up_run(tmp_path / "b", task="regression")
    assert "another kind of target (regression, not classification)" in tlkeras.compare([first, second]).warnings[0]


def test_runs_of_several_targets_are_compared_by_the_mean_figure_of_which_more_is_better(tmp_path):
    runs = []
    for name, mae, r2 in (("near", 1.0, 0.8), ("far", 5.0, 0.2)):
        runs.append(made_up_run(tmp_path / name, task="several"))
        parts = [Target(kind="numbers", labels=("age",), name="age"), Target(kind="class", labels=("a", "b"), name="sex")]
        (runs[-1] / "target.json").write_text(json.dumps(Target.several(parts).to_dict()))
        (runs[-1] / "labels.txt").write_text("age:age\nsex:a\nsex:b\n")
        summary = json.loads((runs[-1] / "metrics.json").read_text())
        summary["test"] = {"n": 50, "targets": {"age": {"n": 50, "mae": mae, "r2": r2}, "sex": {"n": 50, "accuracy": 0.6}}}
        (runs[-1] / "metrics.json").write_text(json.dumps(summary))
    comparison = tlkeras.compare(runs, tmp_path / "page.html")
    assert [run.figure for run in comparison.runs] == pytest.approx([0.7, 0.4]) and comparison.measure == "mean figure"
    assert "Best of those that can be compared: near, mean figure 0.700" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_runs_of_one_name_are_told_apart_by_the_folders_above(tmp_path):
    runs = [made_up_run(tmp_path / above / "run") for above in ("x", "y")]
    assert [run.name for run in tlkeras.compare(runs).runs] == ["x/run", "y/run"]


def test_the_page_has_table_plots_and_flags_and_no_local_path(runs, tmp_path):
    tlkeras.compare(runs, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3 and "not comparable" in page and "<td>lora</td>" in page
    assert str(tmp_path) not in page and "/home" not in page and "http:" not in page and "https:" not in page
    assert "Best of those that can be compared: two, accuracy 0.950 on 50 test examples." in page


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["one"], ConfigError, "fewer than two runs"),
        (["one", "missing"], DataError, "'missing' is not a run; expected a folder written by"),
        (["one", "unfinished"], DataError, "has no metrics.json: the run is not finished"),
        (["one", "damaged"], DataError, "cannot read .*metrics.json"),
        (["one", "empty"], DataError, "has no 'config'"),
    ],
)
def test_what_is_no_finished_run_is_refused_in_one_line(runs, tmp_path, monkeypatch, names, error, message):
    monkeypatch.chdir(tmp_path)
    for name, content in (("unfinished", None), ("damaged", "{"), ("empty", "{}")):
        (made_up_run(tmp_path / name) / "metrics.json").unlink()
        if content:
            (tmp_path / name / "metrics.json").write_text(content)
    with pytest.raises(error, match=message) as caught:
        tlkeras.compare(names)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("out", [".", "missing/page.html"])
def test_a_page_that_cannot_be_written_is_refused(runs, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="expected the name of an HTML file"):
        tlkeras.compare(runs, out)


def test_the_command_prints_a_table_or_json(runs):
    done = CliRunner().invoke(app, ["compare", *map(str, runs)])
    assert done.exit_code == 0 and "0.950 accuracy (test)" in done.output and "warning: other is not comparable" in done.output
    printed = json.loads(CliRunner().invoke(app, ["compare", *map(str, runs), "--json"]).output)
    assert [run["name"] for run in printed["runs"]] == ["one", "two", "other"]


def test_a_comparison_loads_no_tensorflow(runs):
    code = "import sys, tlkeras; tlkeras.compare(sys.argv[1:]); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *map(str, runs)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_runs_are_named_by_as_many_folders_as_tell_them_apart(tmp_path):
    one, other = tmp_path / "a" / "run", tmp_path / "b" / "run"
    assert compare._names([one, tmp_path / "new"]) == ["run", "new"]
    assert compare._names([one, other]) == ["a/run", "b/run"]
    assert compare._names([one, one]) == ["run (1)", "run (2)"]
