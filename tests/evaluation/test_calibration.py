"""Calibration of a whole run: the temperature is in every artifact, known examples are told apart, and the figures say what it brought."""

import csv
import dataclasses
import json

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

import tlkeras
import tlkeras.zoo
from tests.helpers import pictures, tiny_model
from tests.targets import TARGETS, classes
from tests.tasks.test_temperature import drawn
from tlkeras.config import CertaintyConfig, RunConfig
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError
from tlkeras.evaluation import calibration
from tlkeras.evaluation.prediction import keras_scores
from tlkeras.jobs import finetune, publish, run_folder
from tlkeras.models import TaskModel
from tlkeras.registry import load_function
from tlkeras.tasks.certainty import certainty_of
from tlkeras.tasks.measures import expected_calibration_error, reliability
from tlkeras.tasks.registry import TARGET, TASKS
from tlkeras.tasks.several import parts_of
from tlkeras.training.observed import Observed, tensor_of
from tlkeras.zoo.check import verify
from tlkeras.zoo.store import Zoo

ARTIFACTS = ("exports/saved_model", "exports/model.tflite", "exports/model.onnx")
UNSURE = {
    **{"backbone": "cnn", "image_size": 16, "backbone_options": ["filters1=8", "filters2=8", "dense=16"], "weights": "none"},
    **{"recipe": "full", "epochs": 12, "learning_rate": 0.01, "batch_size": 16, "dropout": 0.0, "label_smoothing": 0.6},
    **{"val_split": 0.4, "test_split": 0.3, "coverage": 0.8, "conformal": 0.2, "export": "saved_model,tflite,onnx"},
}


def noisy(n=220):
    """Returns images that tell their class, and labels that are wrong for every fourth."""
    x, y = pictures(n, classes=3)
    y = np.where(np.arange(n) % 4 == 0, np.random.default_rng(0).integers(0, 3, n), y)
    return tlkeras.from_arrays(x, np.array(["red", "green", "blue"])[y])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network that smoothed labels have made less certain than it is right."""
    config = RunConfig.from_dict({**UNSURE, "out": str(tmp_path_factory.mktemp("unsure") / "run")})
    return finetune.finetune(config, dataset=noisy(), reporter=None)


def target_of(run):
    return run_folder.read_target(run.run)


# === In every artifact ===


def test_the_temperature_is_fitted_and_the_loss_falls(run):
    record = run.metrics["calibration"]["targets"]["label"]
    assert record["temperature"] < 0.9 and record["gain"] > 0 and record["n"] == run.metrics["val"]["n"]
    assert record["val"]["ece"]["after"] < record["val"]["ece"]["before"]


def test_every_artifact_gives_the_scores_of_the_calibrated_model(run):
    x = pictures(220, classes=3)[0][:6]
    expected = [answer.scores for answer in tlkeras.load(run.run.root).predict(x)]
    for name in ("model.keras", *ARTIFACTS):
        assert [answer.scores for answer in tlkeras.load(run.run.root / name).predict(x)] == [
            pytest.approx(one, abs=1e-4) for one in expected
        ]
    with run.run.predictions.open() as file:
        stored = {row["example"]: row for row in csv.DictReader(file)}
    by_id = {example.id: example for example in noisy().examples}
    chosen = list(stored)[:6]
    again = tlkeras.load(run.run.root).predict([by_id[name].array for name in chosen])
    for name, answer in zip(chosen, again, strict=True):
        assert answer.score == pytest.approx(float(stored[name]["score"]), abs=1e-4) and answer.known == bool(int(stored[name]["known"]))


def test_the_figures_of_the_run_are_those_of_the_calibrated_model(run):
    with run.run.predictions.open() as file:
        own = [float(row[f"score:{row['label']}"]) for row in csv.DictReader(file) if row["split"] == "test"]
    assert -np.log(own).mean() == pytest.approx(run.metrics["test"]["loss"], abs=1e-4)
    assert run.metrics["exports"]["tflite"]["accuracy"] == run.metrics["test"]["accuracy"]


def test_the_model_has_no_layer_for_it(run):
    names = [layer.name for layer in keras.saving.load_model(run.run.model).layers]
    assert names[-3:] == ["head_dropout", "head_logits", "scores"]


# === Known examples ===


def test_a_saved_model_answers_whether_an_example_is_known(run, monkeypatch):
    served = tf.saved_model.load(str(run.run.exports / "saved_model")).signatures["serving_default"]
    x = pictures(220, classes=3)[0][:40]
    stripes = np.zeros((16, 16, 3), "uint8")
    stripes[::2] = 255
    images = [tf.io.encode_png(image).numpy() for image in [*x, stripes]]
    out = served(image_bytes=tf.constant([*images, b"damaged"]))
    known = out["known"].numpy()
    assert known.dtype == np.int64 and set(known[:40]) == {0, 1} and known[-1] == -1 and known[:40].mean() > 0.6
    for name, apart in (("", "0"), ("exports/saved_model", "0"), ("exports/saved_model", "1")):
        monkeypatch.setenv("TLKERAS_ISOLATE", apart)  # with 1, the runtime has a process of its own, which gives the features, too
        answers = tlkeras.load(run.run.root / name).predict([*x, stripes])
        assert [answer.known for answer in answers] == [bool(value) for value in known[:-1]]


def test_files_without_features_state_method_and_threshold_and_do_not_guess(run):
    fact = target_of(run).facts["rejection"]
    (props,) = [p for p in onnx.load(run.run.exports / "model.onnx").metadata_props if p.key == "target"]
    stored = Target.from_dict(json.loads(props.value)).facts["rejection"]
    assert stored == {key: value for key, value in fact.items() if key != "reference"} and stored["method"] == "distance"
    for name in ("model.tflite", "model.onnx"):
        (answer,) = tlkeras.load(run.run.exports / name).predict([pictures(3)[0][0]])
        assert answer.known is None and "known" not in answer.to_dict()


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx"])
def test_by_probability_files_without_features_tell_known_examples(run, name):
    model = tlkeras.load(run.run.exports / name)
    fact = {"method": "probability", "coverage": 0.8, "n": 98, "threshold": 0.9}
    answers = dataclasses.replace(model, target=model.target.with_facts(rejection=fact)).predict(pictures(220, classes=3)[0][:60])
    assert [answer.known for answer in answers] == [answer.score >= np.float32(0.9) for answer in answers]


def test_an_entry_of_the_zoo_keeps_known_and_sets(run, tmp_path):
    entry = publish.publish(run.run.root, "noisy", Zoo(tmp_path), data_licence="CC0", data_source="made up", reporter=None)
    assert not [check.problem for check in verify(entry) if check.problem]
    x = pictures(220, classes=3)[0][:20]
    expected = [answer.to_dict() for answer in tlkeras.load(run.run.root).predict(x)]
    for runtime in ("tensorflow", "keras"):
        answers = [answer.to_dict() for answer in tlkeras.zoo.load("noisy", runtime=runtime, root=tmp_path).predict(x)]
        for key in ("known", "prediction_set", "label"):
            assert [answer[key] for answer in answers] == [answer[key] for answer in expected], (runtime, key)
    assert {answer["known"] for answer in expected} == {True, False} or all(answer["known"] for answer in expected)


def test_predict_writes_unknown_and_the_set_behind_the_scores(run):
    answers = tlkeras.load(run.run.root).predict(pictures(220, classes=3)[0][:60], top_k=1)
    unknown = next(answer for answer in answers if not answer.known)
    known = next(answer for answer in answers if answer.known)
    assert unknown.cells()[-1] == "unknown" and unknown.cells()[:2] == [unknown.label, f"{unknown.score:.4f}"]
    assert known.cells()[-1] == "{" + ", ".join(known.prediction_set) + "}"


# === What is stored and shown ===


def test_reliability_rejection_and_sets_are_stored_and_shown(run):
    stored = json.loads(run.run.calibration.read_text(encoding="utf-8"))
    rows = stored["targets"]["label"]["test"]["bins"]["after"]
    assert sum(row["n"] for row in rows) == run.metrics["test"]["n"]
    brief = {key: value for key, value in calibration.without_bins(stored).items() if key != "format"}
    assert brief == run.metrics["calibration"]
    assert stored["conformal"]["test"]["label"]["covered"] > 0.6 and stored["rejection"]["test"]["known"] > 0.6
    page = run.run.report.read_text(encoding="utf-8")
    assert "<h2>Calibration</h2>" in page and "Calibration error on test" in page and "Prediction sets" in page
    assert len(calibration.lines(stored, "test")) == 3


def test_figures_of_the_examples_that_something_was_fitted_on_say_so(run):
    stored = json.loads(run.run.calibration.read_text(encoding="utf-8"))
    own = calibration.lines(stored, "val")
    assert len(own) == 3 and all("the examples it was fitted on" in line for line in own[1:])
    assert not any("the examples it was fitted on" in line for line in calibration.lines(stored, "test"))


def test_a_larger_validation_split_is_asked_for_before_training(tmp_path):
    settings = {**UNSURE, "conformal": 0.01, "export": "none", "out": str(tmp_path / "run")}
    with pytest.raises(
        ConfigError, match=r"conformal is 0.01, which needs 99 validation examples, and there are \d+; use a larger --val-split"
    ):
        finetune.finetune({**settings, "val_split": 0.3}, dataset=noisy(120), reporter=None)


def test_numbers_have_no_probabilities_to_reject_by():
    config = CertaintyConfig(rejection="probability")
    target = Target(kind="numbers", labels=("x",))
    with pytest.raises(ConfigError, match="rejection is 'probability', and 1 number have none; use --rejection distance or none"):
        calibration.check(config, 100, TASKS.get("regression"), target)


# === Parts ===


def task_of(model, target=None):
    return TaskModel(
        model=model, backbone=None, task=TASKS.get("classification"), target=target or classes("a", "b", "c"), sections={}, section_names=[]
    )


def test_dividing_the_head_is_dividing_the_logits():
    model, _ = tiny_model()
    x = pictures(8)[0]
    inner = keras.Model(model.input, tensor_of(model, "head_logits"))
    logits, before = keras_scores(inner, x), keras_scores(model, x)
    temperatures = np.full(3, 40.0)
    predicted = calibration.rescored(model, ["head_logits"], logits, temperatures)
    calibration.divide(model, ["head_logits"], temperatures)
    np.testing.assert_allclose(keras_scores(inner, x), logits / 40, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(keras_scores(model, x), predicted, atol=1e-4)
    assert (before.argmax(axis=1) == predicted.argmax(axis=1)).all() and not np.allclose(before, predicted, atol=1e-3)


def seen(n, sharpness):
    """Returns what a model with over-confident logits gives, and the targets."""
    logits, targets = {}, {}
    for seed, split in enumerate(("val", "test")):
        values, y = drawn(n, 3, sharpness, seed=seed)
        logits[split], targets[split] = values.astype("float32"), {TARGET: y}
    scores = {split: np.exp(v - v.max(axis=1, keepdims=True)) for split, v in logits.items()}
    scores = {split: (v / v.sum(axis=1, keepdims=True)).astype("float32") for split, v in scores.items()}
    return Observed(scores=scores, logits=logits), targets


def test_the_calibration_error_of_an_over_confident_model_falls_on_the_test():
    model, _ = tiny_model()
    observed, targets = seen(600, 4.0)
    result = calibration.calibrate(task_of(model), observed, targets, CertaintyConfig(rejection="none"))
    row = result.record["targets"]["label"]
    assert row["test"]["ece"]["after"] < 0.5 * row["test"]["ece"]["before"] and 3 < row["temperature"] < 5.5
    assert (result.scores["test"].argmax(axis=1) == observed.scores["test"].argmax(axis=1)).all()


def drawn_from(part, logits, rng):
    """Returns targets that logits are right about."""
    if part.kind == "class":
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return (rng.random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1, keepdims=True).clip(max=logits.shape[1] - 1)
    if part.kind == "labels":
        return rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    return logits + rng.normal(size=logits.shape)


@pytest.mark.parametrize("row", list(TASKS), ids=lambda row: row.name)
def test_the_head_of_every_task_is_calibrated_and_gives_what_is_scored(row):
    target, rng = TARGETS[row.target], np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), name="inputs")
    features = keras.layers.Identity(name="features")(inputs)
    model = keras.Model(inputs, load_function(row.build_head)(features, target, 0.0))
    names = certainty_of(row).layers(target)
    for name in names:
        model.get_layer(name).kernel.assign(rng.normal(size=model.get_layer(name).kernel.shape) * 4)
    inner = keras.Model(inputs, keras.ops.concatenate([tensor_of(model, name) for name in names], axis=1))
    x = rng.normal(size=(400, 6)).astype("float32")
    logits = keras_scores(inner, x)
    parts = list(parts_of(target)) or [None]
    columns = [
        drawn_from(target if part is None else part.target, logits[:, slice(None) if part is None else part.scores] / 4, rng)
        for part in parts
    ]
    y = np.concatenate(columns, axis=1).astype("float32")
    y = y[:, 0].astype("int32") if row.target == "class" else y
    scores = keras_scores(model, x)
    halves = {"val": slice(0, 200), "test": slice(200, 400)}
    given = Observed(
        **{kind: {split: values[part] for split, part in halves.items()} for kind, values in (("scores", scores), ("logits", logits))}
    )
    task = TaskModel(model=model, backbone=None, task=row, target=target, sections={}, section_names=[])
    config = CertaintyConfig(rejection="none", conformal=0.1)
    result = calibration.calibrate(task, given, {split: {TARGET: y[part]} for split, part in halves.items()}, config)
    np.testing.assert_allclose(keras_scores(model, x[200:]), result.scores["test"], atol=1e-5)
    of_probabilities = [part for part in (target.parts or (target,)) if part.kind != "numbers"]
    assert set(result.record["targets"]) == {part.name for part in of_probabilities}
    for record in result.record["targets"].values():
        assert record["test"]["ece"]["after"] < record["test"]["ece"]["before"] and np.mean(record["temperature"]) > 2
    assert all(0.75 < own["covered"] <= 1 for own in result.record["conformal"]["test"].values())


def test_without_calibration_or_with_few_examples_the_scores_stay():
    model, _ = tiny_model()
    before = [np.array(w) for w in model.get_weights()]
    for config, n in ((CertaintyConfig(calibrate=False), 600), (CertaintyConfig(), 30)):
        observed, targets = seen(n, 4.0)
        result = calibration.calibrate(task_of(model), observed, targets, config)
        assert np.array_equal(result.scores["test"], observed.scores["test"])
        assert all(map(np.array_equal, before, model.get_weights()))
        assert "temperature 1" in calibration.lines(result.record, "test")[0]


def test_nothing_held_out_is_no_error():
    model, _ = tiny_model()
    nothing = Observed(
        scores={s: np.zeros((0, 3), "float32") for s in ("val", "test")}, logits={s: np.zeros((0, 3)) for s in ("val", "test")}
    )
    result = calibration.calibrate(task_of(model), nothing, {s: {TARGET: np.zeros(0, int)} for s in ("val", "test")}, CertaintyConfig())
    assert result.record["targets"] == {} and "rejection" not in result.task.target.facts
    assert calibration.section(result.record, "val")[0] == "Calibration"


def test_the_expected_calibration_error_is_the_weighted_mean_of_the_bins():
    confidence, correct = np.array([0.95, 0.95, 0.95, 0.95, 0.35]), np.array([True, True, False, False, True])
    rows = reliability(confidence, correct)
    assert [row["n"] for row in rows] == [1, 4]
    assert expected_calibration_error(rows) == pytest.approx(0.8 * 0.45 + 0.2 * 0.65)
    assert expected_calibration_error([]) is None
