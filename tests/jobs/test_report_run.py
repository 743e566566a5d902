"""The report of a run that was trained: written from its folder alone, and again when something is added."""

import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

import tlkeras
from tests.evaluation.pages import made_up
from tlkeras import extras
from tlkeras.config import RunConfig
from tlkeras.errors import ConfigError, DataError, MissingPackage
from tlkeras.evaluation.report_data import EXAMPLES, OUTCOMES, read_gallery, read_outcomes
from tlkeras.jobs import plan as planning
from tlkeras.jobs import preflight, report_run, tracking
from tlkeras.jobs.run_folder import Run
from tlkeras.progress import Reporter


@pytest.fixture(scope="module")
def run(run_of_photos):
    """A finished run on photos of three colours."""
    return run_of_photos[0].run


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run.root, tmp_path / run.root.name)
    return Run(tmp_path / run.root.name)


def test_the_report_written_from_the_run_folder_is_the_report_of_the_training(run, copy):
    report_run.rewrite(copy)
    assert copy.report.read_text(encoding="utf-8") == run.report.read_text(encoding="utf-8")


def test_the_stored_outcomes_are_the_scores_of_the_model(run):
    part = read_outcomes(run.root / OUTCOMES)["test"]
    metrics = json.loads(run.metrics.read_text())
    assert (part.scores.argmax(1) == part.targets["target"]).mean() == pytest.approx(metrics["test"]["accuracy"])


def test_every_held_out_image_of_a_small_run_has_a_thumbnail_and_a_place_on_the_map(run):
    gallery, part = read_gallery(run.root / EXAMPLES), read_outcomes(run.root / OUTCOMES)["test"]
    assert {name for name, _, _ in gallery.points} == set(part.ids) <= set(gallery.thumbnails) and gallery.noun == "image"
    assert np.isfinite([(x, y) for _, x, y in gallery.points]).all()


def test_the_report_shows_images_curves_and_what_was_frozen(run):
    page = run.report.read_text(encoding="utf-8")
    assert page.count("<img ") > 10 and page.count("<svg class=chart") == 3  # loss, accuracy, map: too few examples for curves of certainty
    assert all(f"<h2>{title}</h2>" in page for title in ("Confused examples", "Map of the features", "Frozen and trained layers"))
    assert re.search(r"Of 100 new examples from the same source, expect about \d+ to be labelled correctly", page)


def test_what_was_added_to_a_run_is_in_its_report(copy):
    metrics = json.loads(copy.metrics.read_text())
    metrics["exports"]["made-up"] = {**metrics["exports"]["onnx"], "path": "made-up.bin"}
    copy.metrics.write_text(json.dumps(metrics))
    report_run.refresh(copy, Reporter())
    assert "made-up.bin" in copy.report.read_text(encoding="utf-8")


def test_probable_label_errors_are_shown_with_the_label_suggested(copy):
    name = next(iter(read_gallery(copy.root / EXAMPLES).thumbnails))
    lists = ("mistakes", "confused", "near_duplicates", "outliers")
    errors = {"basis": "made up", **{other: [] for other in lists}, "counts": {**dict.fromkeys(lists, 0), "label_errors": 1}}
    errors["label_errors"] = [{"example": name, "given": "red", "suggested": "blue", "quality": 0.1}]
    (copy.root / "errors.json").write_text(json.dumps(errors))
    report_run.refresh(copy, Reporter())
    page = copy.report.read_text(encoding="utf-8")
    assert "<h2>Probable label errors</h2>" in page and "blue?" in page


@pytest.mark.slow
def test_later_exports_are_in_the_report(copy):
    before = copy.report.read_text(encoding="utf-8")
    tlkeras.export_model(copy.root, formats="tflite-dynamic", reporter=None)
    assert "tflite-dynamic" in copy.report.read_text(encoding="utf-8") and "tflite-dynamic" not in before


def test_sections_of_a_caller_stand_in_the_report(copy):
    report_run.rewrite(copy, [("Measured elsewhere", "<p>42 °C</p>")])
    assert "<h2>Measured elsewhere</h2><p>42 °C</p>" in copy.report.read_text(encoding="utf-8")


def test_a_run_without_stored_scores_keeps_its_report(copy):
    (copy.root / OUTCOMES).unlink()
    before = copy.report.read_bytes()
    report_run.refresh(copy, Reporter())
    assert copy.report.read_bytes() == before
    with pytest.raises(DataError, match="made by an earlier tlkeras"):
        report_run.rewrite(copy)


@pytest.mark.parametrize(
    ("name", "content"),
    [(OUTCOMES, b"PK\x03\x04 and no more"), (EXAMPLES, b'{"version": 1, "noun"'), (EXAMPLES, b'{"version": 1}'), (EXAMPLES, b"[]")],
)
def test_a_damaged_file_of_scores_or_thumbnails_is_one_line(copy, name, content):
    (copy.root / name).write_bytes(content)
    with pytest.raises(DataError, match=f"cannot read {name}") as caught:
        report_run.rewrite(copy)
    assert "\n" not in str(caught.value)


def test_what_is_added_to_a_run_with_a_damaged_file_stays_and_the_report_is_as_before(copy):
    (copy.root / EXAMPLES).write_bytes(b"[]")
    before, told, reporter = copy.report.read_bytes(), [], Reporter()
    reporter.warn = told.append
    report_run.refresh(copy, reporter)
    assert copy.report.read_bytes() == before
    assert len(told) == 1 and told[0].startswith(f"the report stays as it is: cannot read {EXAMPLES}")


# === TensorBoard and MLflow ===


def events(folder):
    """Returns tag -> values of the event files of a folder."""
    found = {}
    for path in folder.glob("events.out.tfevents.*"):
        for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            for value in tf.compat.v1.Event.FromString(raw).summary.value:
                found.setdefault(value.tag, []).append(value)
    return found


def test_the_event_files_hold_curves_results_figures_and_settings(copy):
    data = report_run.collect(copy)
    tracking.write_events(copy, data)
    training, validation = (events(copy.root / "tensorboard" / name) for name in ("train", "validation"))
    assert [value.simple_value for value in training["loss"]] == pytest.approx([float(row["loss"]) for row in data.history])
    assert validation["test/accuracy"][0].simple_value == pytest.approx(data.summary["test"]["accuracy"])
    images = [tag for tag, values in validation.items() if values[0].HasField("image")]
    assert {"confusion matrix", "loss of each epoch"} <= set(images) and training["config"][0].metadata.plugin_data.plugin_name == "text"


def test_figures_of_every_task_are_pictures():
    for task in ("multilabel", "several"):
        assert all(content.startswith(b"\x89PNG") for content in tracking.figures(made_up(task)).values())


def test_mlflow_receives_settings_curves_figures_report_and_artifacts(copy, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'tlkeras[mlflow]'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the small package of tests has no database
    uri = (tmp_path / "mlruns").as_uri()
    config = RunConfig.from_dict({"mlflow": True, "mlflow_uri": uri, "mlflow_experiment": "colours"})
    data = report_run.collect(copy)
    tracking.opened(config)(copy, data)
    client = mlflow.MlflowClient(tracking_uri=uri)
    (entry,) = client.search_runs([client.get_experiment_by_name("colours").experiment_id])
    assert entry.info.status == "FINISHED" and entry.info.run_name == copy.root.name and entry.data.params["backbone"] == "cnn"
    assert entry.data.metrics["test/accuracy"] == pytest.approx(data.summary["test"]["accuracy"])
    assert len(client.get_metric_history(entry.info.run_id, "train/loss")) == len(data.history)
    stored = {part.path for part in client.list_artifacts(entry.info.run_id)}
    assert {"report.html", "config.yaml", "metrics.json", "figures", "exports"} <= stored
    assert "exports/model.onnx" in {part.path for part in client.list_artifacts(entry.info.run_id, "exports")}
    assert not [value for value in entry.data.params.values() if str(tmp_path) in value]


def test_a_store_that_cannot_be_used_is_one_line_before_training():
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'tlkeras[mlflow]'")
    with pytest.raises(ConfigError, match="MLflow cannot record at 'nonsense://x'.*--mlflow-uri") as caught:
        tracking.opened(RunConfig.from_dict({"mlflow": True, "mlflow_uri": "nonsense://x"}))
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_one_line_with_the_command_before_anything_slow(monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    config = RunConfig.from_dict({"backbone": "cnn", "weights": "none", "mlflow": True})
    with pytest.raises(MissingPackage, match=r"--mlflow needs the package 'mlflow'.*pip install 'tlkeras\[mlflow\]'"):
        preflight.open_examples(planning.resolve(config))
