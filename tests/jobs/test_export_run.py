"""A run that is exported later gives what `finetune --export` gives, into its own folder or another."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from typer.testing import CliRunner

import tlkeras
from tests.helpers import pictures
from tlkeras.cli.main import app
from tlkeras.config import RunConfig
from tlkeras.data.examples import Example, make_dataset
from tlkeras.errors import ConfigError, DataError, ExportError, OutputError
from tlkeras.jobs import evaluate, finetune, run_folder
from tlkeras.jobs.export_run import export_run
from tlkeras.progress import Reporter

TINY = ["filters1=4", "filters2=8", "dense=16"]
SMALL = {"backbone": "cnn", "backbone_options": TINY, "weights": "none", "image_size": 32, "epochs": 1, "batch_size": 16}


class Warned(Reporter):
    """Remembers the warnings."""

    def __init__(self):
        self.lines = []

    def warn(self, text):
        self.lines.append(text)


def photos(root, n=60):
    x, y = pictures(n, size=40)
    for index, (image, kind) in enumerate(zip(x, y, strict=True)):
        (root / "rgb"[kind]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / "rgb"[kind] / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run that was exported to TFLite when it was trained."""
    folder = tmp_path_factory.mktemp("exported")
    config = {**SMALL, "data": str(photos(folder / "photos")), "out": str(folder / "run"), "export": ["tflite"], "resize": "crop"}
    return finetune.finetune(RunConfig.from_dict(config)).run.root


@pytest.fixture
def run(exported, tmp_path):
    """A copy of the run; its data stay where they are."""
    return run_folder.Run(shutil.copytree(exported, tmp_path / "run"))


def content(path):
    return json.loads(path.read_text(encoding="utf-8"))


def constant(manifest):
    """Returns a manifest without what differs from one conversion to the next: names inside the file, times."""
    for record in manifest["artifacts"].values():
        del record["latency_ms"], record["sha256"]
    return manifest


def test_a_later_export_is_what_the_first_one_was(run, exported):
    shutil.rmtree(run.exports)
    export_run(run.root, ["tflite"])
    first = run_folder.Run(exported).exports
    names = sorted(path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file())
    assert sorted(path.relative_to(run.exports).as_posix() for path in run.exports.rglob("*") if path.is_file()) == names
    assert constant(content(run.exports / "manifest.json")) == constant(content(first / "manifest.json"))
    for name in names:
        if name.startswith("client/") or name == "labels.txt":
            assert (run.exports / name).read_bytes() == (first / name).read_bytes(), name
    with np.load(run.exports / "verification.npz") as ours, np.load(first / "verification.npz") as theirs:
        assert sorted(ours) == sorted(theirs)
        for key in ours:
            np.testing.assert_allclose(ours[key], theirs[key], atol=1e-6, err_msg=key)


@pytest.fixture(scope="module")
def with_onnx(exported, tmp_path_factory):
    """A copy of the run to which a Python call added an ONNX file, and what the call returned."""
    run = run_folder.Run(shutil.copytree(exported, tmp_path_factory.mktemp("with_onnx") / "run"))
    return run, tlkeras.export_model(run.model, formats="onnx", opset=15, reporter=None)


def test_another_format_is_added_and_the_old_one_kept(with_onnx):
    run, (artifact,) = with_onnx
    manifest = content(run.exports / "manifest.json")
    assert list(manifest["artifacts"]) == ["tflite", "onnx"] and artifact.verdict.accuracy is not None
    assert list(content(run.metrics)["exports"]) == ["tflite", "onnx"]
    with np.load(run.exports / "verification.npz") as kept:
        assert {"answers/tflite/scores", "answers/onnx/scores"} <= set(kept)
    assert "model.tflite" in (run.exports / "client" / "classify.py").read_text()
    assert evaluate.evaluate(run.exports / "model.onnx").score.accuracy == pytest.approx(content(run.metrics)["test"]["accuracy"])


def test_a_python_call_exports_a_run_into_its_own_folder(with_onnx):
    run, (artifact,) = with_onnx
    assert artifact.path == run.exports / "model.onnx" and artifact.options["opset"] == 15
    assert set(content(run.exports / "manifest.json")["artifacts"]) == {"tflite", "onnx"}


@pytest.fixture(scope="module")
def with_mobile(exported, tmp_path_factory):
    """A copy of the run to which the command added a mobile file, and what it printed."""
    run = run_folder.Run(shutil.copytree(exported, tmp_path_factory.mktemp("with_mobile") / "run"))
    done = CliRunner().invoke(app, ["export", str(run.root), "--formats", "mobile", "--calibration-examples", "9"])
    assert done.exit_code == 0, done.output
    return run, done.output


def test_the_command_exports_a_run_into_its_own_folder(with_mobile):
    run, output = with_mobile
    assert "mobile: " in output and f"artifacts: {run.exports}" in output.replace("\n", "")
    assert (run.exports / "model_mobile.tflite").is_file()


def test_mobile_is_calibrated_on_the_training_split_and_judged_on_the_test_split(with_mobile):
    run, _ = with_mobile
    artifact = content(run.exports / "manifest.json")["artifacts"]["mobile"]
    assert artifact["options"]["calibration"] == {"examples": 9, "of": "the training split", "stratified": True, "seed": 0}
    before = content(run.metrics)["test"]["accuracy"]
    assert artifact["accuracy"] == pytest.approx(before - artifact["drop"])
    assert "model_mobile.tflite" in (run.exports / "client" / "classify.py").read_text()  # better than the float file beside it


def test_a_saved_model_of_a_run_has_the_signatures_of_the_first_export(run):
    (artifact,) = export_run(run.root, ["saved_model"])
    loaded = tf.saved_model.load(str(artifact.path))
    assert set(loaded.signatures) - {"embed_tensor"} == {"predict_tensor", "serving_default", "embed"}  # where known examples are told
    assert "image_bytes" in loaded.signatures["serving_default"].structured_input_signature[1]


def test_a_stopped_run_is_exported_from_its_best_model(run):
    for path in (run.metrics, run.report, run.predictions):
        path.unlink()
    shutil.rmtree(run.exports)
    (artifact,) = export_run(run.root, ["onnx"])
    assert artifact.verdict.accuracy is not None and not run.metrics.exists()


def test_another_folder_leaves_the_run_as_it_was(run, tmp_path):
    before = run.metrics.read_bytes()
    export_run(run.root, ["onnx"], tmp_path / "out")
    assert list(content(tmp_path / "out" / "manifest.json")["artifacts"]) == ["onnx"]
    assert run.metrics.read_bytes() == before and not (run.exports / "model.onnx").exists()
    with pytest.raises(OutputError, match="not an empty folder"):
        export_run(run.root, ["onnx"], tmp_path / "out")


# === Without the data ===


@pytest.fixture
def orphan(run):
    """A run whose data are gone."""
    config = run.config.read_text(encoding="utf-8")
    source = run_folder.read_config(run).data.source
    run.config.write_text(config.replace(source, str(run.root / "gone")), encoding="utf-8")
    return run, source


def test_a_float_format_needs_no_data(orphan):
    run, _ = orphan
    warned = Warned()
    (artifact,) = export_run(run.root, ["onnx"], reporter=warned)
    assert artifact.verdict.max_abs_diff < 1e-4 and artifact.verdict.accuracy is None
    assert any("synthetic examples, accuracy not measured; pass --data" in line for line in warned.lines)
    with np.load(run.exports / "verification.npz") as kept:  # the old file was asked about other examples
        assert "answers/onnx/scores" in kept and "answers/tflite/scores" not in kept


def test_a_calibrated_format_asks_for_data_before_anything_is_written(orphan):
    run, _ = orphan
    with pytest.raises(DataError, match="mobile must be calibrated on real examples; pass --data SOURCE"):
        export_run(run.root, ["onnx", "mobile"])
    assert not (run.exports / "model.onnx").exists()


def test_data_in_place_of_those_that_are_gone_calibrate_and_judge(orphan):
    run, source = orphan
    (artifact,) = export_run(run.root, ["tflite-int8"], data=source, changes={"max_drop": 1.0})
    assert artifact.verdict.accuracy is not None


def test_data_that_changed_are_reported(run, tmp_path):
    source = shutil.copytree(run_folder.read_config(run).data.source, tmp_path / "changed")
    run.config.write_text(
        run.config.read_text(encoding="utf-8").replace(run_folder.read_config(run).data.source, str(source)), encoding="utf-8"
    )
    next((source / "r").glob("*.png")).unlink()
    warned = Warned()
    export_run(run.root, ["onnx"], reporter=warned)
    assert any("has changed since the run" in line for line in warned.lines)


def test_arrays_from_python_are_not_taken_for_the_digits(tmp_path):
    x, y = pictures(40, size=32, classes=2)
    dataset = make_dataset("mine", [Example(id=str(i), label="01"[y[i]], array=x[i]) for i in range(40)])
    result = finetune.finetune(RunConfig.from_dict({**SMALL, "out": str(tmp_path / "run"), "export": []}), dataset=dataset)
    with pytest.raises(DataError, match="pass --data SOURCE"):
        export_run(result.run.root, ["tflite-int8"])


# === What is refused ===


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a run"):
        export_run(tmp_path, ["onnx"])


def test_a_run_without_a_model_is_refused(run):
    run.model.unlink()
    with pytest.raises(DataError, match="no model.keras yet"):
        export_run(run.root, ["onnx"])


def test_no_formats_are_refused(run):
    with pytest.raises(ConfigError, match="no formats"):
        export_run(run.root, [])


def test_artifacts_of_another_model_are_not_mixed_in(run):
    manifest = content(run.exports / "manifest.json")
    (run.exports / "manifest.json").write_text(json.dumps({**manifest, "labels": ["x", "y", "z"]}))
    with pytest.raises(ExportError, match="of a model with other inputs, outputs or labels"):
        export_run(run.root, ["onnx"])


def test_an_artifact_of_a_run_is_not_the_run(run):
    assert run_folder.run_of(run.root) == run_folder.run_of(run.model) == run_folder.Run(run.root.resolve())
    assert run_folder.run_of(run.exports / "model.tflite") is None


def test_what_was_written_before_a_failure_is_recorded(run, monkeypatch):
    from tlkeras.export import tflite

    monkeypatch.setitem(tflite.HOLDS, "fp16", "INT4")  # no file holds such weights
    with pytest.raises(ExportError, match="should contain mostly INT4"):
        export_run(run.root, ["onnx", "tflite-fp16"])
    assert list(content(run.exports / "manifest.json")["artifacts"]) == ["tflite", "onnx"]


# === The command ===


@pytest.mark.parametrize(("flag", "value"), [("--labels", "x"), ("--calibration", "x"), ("--input-range", "0-1"), ("--import", "x")])
def test_flags_that_describe_other_models_are_refused_for_a_run(run, monkeypatch, flag, value):
    monkeypatch.setattr("tlkeras.cli.main._leave", lambda code: None)
    done = CliRunner().invoke(app, ["export", str(run.root), flag, value])
    assert f"error: {flag} is for other models; a run has its own" in done.output


def test_flags_of_runs_are_refused_for_other_models(tmp_path, monkeypatch):
    monkeypatch.setattr("tlkeras.cli.main._leave", lambda code: None)
    done = CliRunner().invoke(app, ["export", str(tmp_path / "model.keras"), "--data", "x"])
    assert "error: --data is for runs" in done.output
