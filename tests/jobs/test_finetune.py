"""The whole job on small data: the run folder, the artifacts, the same answers everywhere, the same numbers twice."""

import csv
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import tlkeras
from tests.conftest import ROOT
from tlkeras.config import RunConfig, read_yaml
from tlkeras.errors import ConfigError, DataError, ExportError, OutputError, TrainingDiverged, WeightsUnavailable
from tlkeras.evaluation import prediction
from tlkeras.jobs import evaluate, finetune, opening, predict
from tlkeras.modalities.images import decode
from tlkeras.modalities.images.inputs import Images

SMALL = {"backbone": "cnn", "weights": "none", "image_size": 32, "epochs": 2, "batch_size": 16}


LABELS = ("blue", "green", "red")


def photos(root, per_class=12, classes=("red", "green"), size=48):
    """Noise of several kinds, told apart by colour; some JPEG, some PNG, one turned by Exif."""
    rng = np.random.default_rng(0)
    for channel, label in enumerate(classes):
        (root / label).mkdir(parents=True)
        for i in range(per_class):
            array = rng.integers(0, 120, (size, size + 16, 3)).astype("uint8")
            array[..., channel] += 120
            exif = Image.Exif()
            exif[0x0112] = 6 if i == 0 else 1
            Image.fromarray(array).save(root / label / f"{i}.{'png' if i % 3 == 1 else 'jpg'}", exif=exif)
    return root


def trained(folder):
    """Returns a finished run on photos, one of them damaged, and the folder of photos."""
    data = photos(folder / "photos", classes=("red", "green", "blue"))
    (data / "red" / "broken.jpg").write_bytes(b"")
    out = str(folder / "runs" / "colours")
    return finetune.finetune(RunConfig.from_dict({**SMALL, "data": str(data), "out": out, "recipe": "full", "class_weights": True})), data


@pytest.fixture(scope="module")
def run(run_of_photos):
    return run_of_photos


def test_a_run_folder_holds_what_the_design_says(run):
    result, _ = run
    names = {
        "config.yaml",
        "metrics.json",
        "history.csv",
        "model.keras",
        "labels.txt",
        "report.html",
        "environment.json",
        "data_audit.json",
    }
    assert names <= {path.name for path in result.run.root.iterdir()}
    assert tuple(result.run.labels.read_text().split()) == LABELS
    exports = {"saved_model", "model.tflite", "model.onnx", "manifest.json", "labels.txt", "verification.npz", "client"}
    assert {path.name for path in result.run.exports.iterdir()} == exports


def test_metrics_have_the_keys_of_the_design(run):
    result, _ = run
    stored = json.loads(result.run.metrics.read_text())
    assert stored == json.loads(json.dumps(result.metrics))
    for split in ("val", "test"):
        assert set(stored[split]) == {"accuracy", "loss", "macro_f1", "n", "majority", "never_predicted"} and stored[split]["n"] > 0
    assert stored["timing"]["total"] > 0 and stored["data"]["skipped"] == 1
    for name in result.config.export.formats:
        one = stored["exports"][name]
        assert {"path", "bytes", "sha256", "max_abs_diff", "agreement", "accuracy", "latency_ms"} <= set(one)
        assert one["accuracy"] == stored["test"]["accuracy"] and one["agreement"] == 1.0


def test_the_stored_config_is_complete_and_reads_back(run):
    result, _ = run
    stored = read_yaml(result.run.config)
    assert RunConfig.from_dict(stored) == result.config
    assert [key for key, value in stored.items() if value is None] == [
        "data_dir", "text_column", "path_column", "label_column", "label_separator", "group_column", "header", "encoding", "limit",
        "relabel", "backbone_reason", "channel_adapter", "max_length", "clip_norm", "max_minutes", "lora_rank", "teacher", "temperature",
        "tf32", "loss", "target_weights", "cross_validate", "baseline", "conformal", "mlflow_uri",
    ]  # fmt: skip


def test_the_run_records_that_what_was_frozen_did_not_move(run):
    result, _ = run
    (phase,) = result.metrics["phases"]
    assert phase["frozen_identical"] is True and phase["trainable_parameters"] > 0


@pytest.mark.parametrize("artifact", ["", "model.keras", "exports/saved_model", "exports/model.tflite", "exports/model.onnx"])
def test_evaluating_a_run_or_an_artifact_gives_the_metrics_of_the_run(run, artifact):
    result, data = run
    found = evaluate.evaluate(result.run.root / artifact, str(data))
    assert found.part == "test" and found.score.n == result.metrics["test"]["n"] and found.skipped == 1
    assert found.score.accuracy == result.metrics["test"]["accuracy"]
    assert found.score.loss == pytest.approx(result.metrics["test"]["loss"], abs=1e-4)


def test_T12_predictions_in_the_run_match_predicting_the_file(run):
    result, data = run
    with result.run.predictions.open() as file:
        rows = list(csv.DictReader(file))
    said = list(predict.predict(result.run.root, [data / row["example"] for row in rows]))
    assert [one.label for one in said] == [row["predicted"] for row in rows]
    np.testing.assert_allclose([one.score for one in said], [float(row["score"]) for row in rows], atol=1e-4)
    assert all(row["example"].split("/")[0] == row["label"] for row in rows)


def test_T13_one_picture_gets_the_same_scores_everywhere(run):
    import tensorflow as tf

    result, data = run
    files = [data / "red" / "0.jpg", data / "green" / "1.png"]
    answers = [
        [answer.scores for answer in predict.predict(result.run.root / one, files)]
        for one in ("", "exports/saved_model", "exports/model.tflite", "exports/model.onnx")
    ]
    served = tf.saved_model.load(str(result.run.exports / "saved_model")).signatures["serving_default"]
    scores = served(image_bytes=tf.constant([file.read_bytes() for file in files]))["scores"].numpy()
    answers.append([dict(zip(LABELS, map(float, row), strict=True)) for row in scores])
    for other in answers[1:]:
        assert other == [pytest.approx(expected, abs=1e-4) for expected in answers[0]]


def test_T14_predicting_an_array_twice_changes_neither_it_nor_the_answer(run):
    result, _ = run
    model = keras.saving.load_model(result.run.model)
    x = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3)).astype("float32")
    kept = x.copy()
    assert np.array_equal(prediction.keras_scores(model, x), prediction.keras_scores(model, x)) and np.array_equal(x, kept)


def test_T11_a_later_folder_without_a_class_is_scored_with_the_label_map_of_training(run, tmp_path):
    result, data = run
    (tmp_path / "later" / "red").mkdir(parents=True)
    for file in (data / "red").glob("[1-5].*"):
        (tmp_path / "later" / "red" / file.name).write_bytes(file.read_bytes())
    found = evaluate.evaluate(result.run.root, str(tmp_path / "later"))
    assert found.part == "all" and found.score.confusion.shape == (3, 3) and found.score.confusion[0].sum() == 0


def test_a_bad_file_in_predict_is_an_answer_and_the_others_go_on(run, tmp_path):
    result, data = run
    (tmp_path / "x.jpg").write_bytes(b"words")
    said = list(predict.predict(result.run.root, [tmp_path / "x.jpg", tmp_path / "missing.jpg", data / "red" / "1.png"]))
    assert "not an image" in said[0].error and "No such file" in said[1].error and said[2].label in LABELS


def test_predictions_have_the_score_of_every_class(run):
    result, _ = run
    with result.run.predictions.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        scores = {label: float(row[f"score:{label}"]) for label in LABELS}
        assert sum(scores.values()) == pytest.approx(1, abs=1e-5) and max(scores, key=scores.get) == row["predicted"]
        assert float(row["score"]) == max(scores.values())


def test_the_report_is_titled_by_the_run_and_holds_no_local_path(run):
    result, data = run
    page = result.run.report.read_text()
    assert f"<title>{result.run.root.name}</title>" in page
    for path in (result.run.root, data, data.parent, ROOT):
        assert str(path) not in page
    assert f"<td>data</td><td>{data.name}</td>" in page


def test_the_report_and_the_metrics_show_the_majority_baseline(run):
    result, _ = run
    test = result.metrics["test"]
    assert test["majority"]["accuracy"] >= 1 / len(LABELS)
    assert (
        f"always predicting &#x27;{test['majority']['label']}&#x27; would reach {test['majority']['accuracy']:.3f}"
        in result.run.report.read_text()
    )


def test_the_metrics_record_where_the_data_came_from(run):
    result, data = run
    assert {name: result.metrics["data"][name] for name in ("source", "kind", "modality")} == {
        "source": str(data), "kind": "folder", "modality": "image",
    }  # fmt: skip


def test_the_report_stands_alone(run):
    result, _ = run
    page = result.run.report.read_text()
    assert "http:" not in page and "https:" not in page and "saved_model" in page and "empty" in page
    assert page.count("<script") == 1 and "default-src 'none'" in page and len(page.encode()) < 5_000_000


# === Feature extraction ===


def test_feature_extraction_computes_each_example_once_and_freezes_the_backbone(tmp_path):
    config = RunConfig.from_dict(
        {**SMALL, "backbone": "mobilenet_v3_small", "data": str(photos(tmp_path / "p")), "out": str(tmp_path / "run"), "export": "none"}
    )
    metrics = finetune.finetune(config).metrics
    (phase,) = metrics["phases"]
    assert phase["examples_computed_once"] == sum(metrics["data"][name] for name in ("train", "val", "test"))
    assert phase["trainable_parameters"] == 576 * 2 + 2 and phase["frozen_variables"] > 100 and metrics["exports"] == {}


def test_a_run_that_finds_images_and_features_in_the_cache_is_the_run_that_computes_them(tmp_path, monkeypatch):
    for name, value in (("TLKERAS_CACHE", str(tmp_path / "cache")), ("TLKERAS_CACHE_SIZE", "1GB")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tlkeras.data.row_cache.WORTH", 0.0)
    data = photos(tmp_path / "p")

    def run(name, **changes):
        settings = {**SMALL, "recipe": "feature-extraction", "export": "none", "data": str(data), "out": str(tmp_path / name)}
        folder = finetune.finetune(RunConfig.from_dict({**settings, **changes})).run
        return [path.read_bytes() for path in (folder.history, folder.predictions, folder.audit)]

    run("first")
    with monkeypatch.context() as patch:  # nothing is decoded, and no features are computed
        patch.setattr("tlkeras.modalities.images.file_decoder.Decoder.decode", None)
        patch.setattr("tlkeras.training.feature_cache.compute", None)
        cached = run("cached", val_split=0.4, dropout=0.5)  # in other splits, below another head
        evaluated = evaluate.evaluate(tmp_path / "first", reporter=None)
    assert evaluated.score.to_dict() == json.loads((tmp_path / "first" / "metrics.json").read_text())[evaluated.part]
    assert cached == run("computed", val_split=0.4, dropout=0.5, cache=False)


def test_mixed_precision_trains_and_exports_float32(tmp_path):
    config = RunConfig.from_dict(
        {**SMALL, "limit": 60, "recipe": "full", "mixed_precision": True, "epochs": 1, "out": str(tmp_path / "run"), "export": "tflite"}
    )
    before = keras.config.dtype_policy().name
    metrics = finetune.finetune(config).metrics
    assert keras.config.dtype_policy().name == before
    assert metrics["exports"]["tflite"]["verified"] and metrics["mixed_precision_gap"] >= 0


@pytest.mark.slow
def test_T25_the_same_seed_gives_the_same_weights_in_two_processes(tmp_path):
    code = (
        "import sys, hashlib, keras; from tlkeras.jobs import finetune; from tlkeras.config import RunConfig\n"
        f"c = RunConfig.from_dict({{**{SMALL!r}, 'limit': 120, 'recipe': 'full', 'augment': 'strong', 'export': 'none', 'seed': 5, 'out': sys.argv[1]}})\n"
        "r = finetune.finetune(c); m = keras.saving.load_model(r.run.model)\n"
        "print(hashlib.sha256(b''.join(v.numpy().tobytes() for v in m.weights)).hexdigest())"
    )
    digests = set()
    for name in ("one", "two"):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, cwd=ROOT, check=True)
        digests.add(done.stdout.strip().splitlines()[-1])
    assert len(digests) == 1


# === Nothing is lost, everything is said ===


def told(tmp_path, **changes):
    return RunConfig.from_dict({**SMALL, "data": str(tmp_path / "p"), "out": str(tmp_path / "run"), "export": "none", **changes})


def test_an_out_folder_that_holds_a_run_is_left_alone(run):
    result, data = run
    before = result.run.metrics.read_text()
    with pytest.raises(OutputError, match="already contains a run.*for example"):
        finetune.finetune(RunConfig.from_dict({**SMALL, "data": str(data), "out": str(result.run.root)}))
    assert result.run.metrics.read_text() == before


def test_an_out_folder_below_a_file_cannot_be_written(tmp_path):
    photos(tmp_path / "p")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write to --out"):
        finetune.finetune(told(tmp_path, out=str(tmp_path / "file" / "run")))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"data": "no/such/folder"}, DataError),
        ({"weights": "imagenet.h5"}, WeightsUnavailable),
        ({"backbone": "mobilenet", "image_size": 16}, ConfigError),
        ({"unfreeze": "nothing*"}, Exception),
    ],
)
def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path, changes, error):
    photos(tmp_path / "p")
    with pytest.raises(error):
        finetune.finetune(told(tmp_path, **changes))
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_recipe_that_freezes_and_an_unfreeze_contradict_each_other(tmp_path):
    with pytest.raises(ConfigError, match="keeps the backbone frozen"):
        finetune.finetune(told(tmp_path, recipe="feature-extraction", unfreeze="all"))


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path):
    photos(tmp_path / "p")
    with pytest.raises(TrainingDiverged, match="try --learning-rate"):
        finetune.finetune(told(tmp_path, recipe="full", learning_rate=1e30, epochs=5))


def test_running_out_of_memory_names_the_next_smaller_batch():
    import tensorflow as tf

    from tlkeras.errors import OutOfMemory
    from tlkeras.training.fit import _memory_advice

    with pytest.raises(OutOfMemory, match="--batch-size 16"), _memory_advice(32):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    with pytest.raises(OutOfMemory, match="--image-size"), _memory_advice(1):
        raise MemoryError


def test_an_artifact_without_its_manifest_says_what_is_missing(run, tmp_path):
    result, _ = run
    (tmp_path / "model.onnx").write_bytes((result.run.exports / "model.onnx").read_bytes())
    with pytest.raises(ExportError, match="manifest.json"):
        opening.open_target(tmp_path / "model.onnx")


def test_a_target_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no run, artifact or entry"):
        evaluate.evaluate(tmp_path / "nothing")


def test_the_digits_as_png_are_the_digits(tmp_path):
    dataset = tlkeras.open_source("digits")
    assert decode.sniff(Images(size=8, resize="stretch").encoded(dataset.examples[0])) == "png"
