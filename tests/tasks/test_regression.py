"""Regression: numbers in the units of the data, what its figures say, and a run from images to an entry of the zoo."""

import csv
import json
import math
import re
import subprocess
import sys
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset, Example
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError
from tlkeras.export.manifest import read_manifest
from tlkeras.jobs import evaluate, finetune, predict, publish
from tlkeras.jobs.export_run import export_run
from tlkeras.registry import load_function
from tlkeras.tasks import regression, regression_pages
from tlkeras.tasks.registry import TARGET, TASKS, Options, target_of, task_for
from tlkeras.zoo import load
from tlkeras.zoo.store import Zoo

ROW = TASKS.get("regression")


def numbers(*labels, **facts):
    return Target(kind="numbers", labels=labels, name="light", facts=facts)


def learnt(y, *labels, loss=None):
    target = numbers(*(labels or [f"n{i}" for i in range(np.shape(y)[1])]))
    return regression.learn(target, {TARGET: np.asarray(y, "float32")}, Options(loss=loss))


def head(target, width=4):
    features = keras.Input((width,))
    model = keras.Model(features, regression.build_head(features, Target(kind="numbers", labels=target.labels), 0.0))
    regression.prepare(model, target)
    return model


# === Targets and head ===


def test_numbers_have_a_task():
    assert task_for("numbers") is ROW and ROW.losses == tuple(regression.RESIDUAL_LOSSES)


def test_mean_and_deviation_are_those_of_the_training_examples_and_a_constant_number_has_deviation_1():
    facts = learnt([[1, 1e6 + 0.1], [3, 1e6 + 0.1]]).facts
    assert facts["mean"] == pytest.approx([2, 1e6 + 0.1]) and facts["std"] == [1.0, 1.0] and (facts["low"][0], facts["high"][0]) == (1, 3)
    assert learnt([[5.0]] * 3).facts["std"] == [1.0] and json.dumps(dict(facts), allow_nan=False)


def test_the_model_answers_in_the_units_of_the_data():
    target = numbers("a", "b", mean=[100.0, -1e-6], std=[20.0, 1e-7])
    model, x = head(target), np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    logits = keras.Model(model.input, model.get_layer("head_logits").output).predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), logits * [20, 1e-7] + [100, -1e-6], rtol=1e-5)


def test_the_units_are_in_the_file_of_the_model_and_in_copies_of_it(tmp_path):
    model = head(numbers("a", mean=[100.0], std=[20.0]))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    x = np.ones((2, 4), "float32")
    assert all(np.array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0)) for other in (again, copy))


@pytest.mark.parametrize("loss", regression.RESIDUAL_LOSSES)
def test_the_loss_counts_residuals_in_standard_deviations(loss):
    target = numbers("a", "b", mean=[0.0, 0.0], std=[1e6, 1e-6], loss=loss)
    losses = regression.loss(target)(np.array([[2e6, 0], [0, 0.5e-6]], "float32"), tf.zeros((2, 2)))
    expected = {"squared": [4 / 2, 0.25 / 2], "huber": [1.5 / 2, 0.125 / 2]}
    np.testing.assert_allclose(losses, expected[loss], rtol=1e-6)


@pytest.mark.parametrize(
    ("scale", "offset"),
    [pytest.param(1e6, 0.0, marks=pytest.mark.slow), pytest.param(1e-6, 0.0, marks=pytest.mark.slow), (20.0, 2000.0)],
)
def test_training_is_the_same_whatever_the_unit(scale, offset):
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = x @ np.array([[1.0], [-2.0], [0.5], [0.0]])

    def fitted(y):
        keras.utils.set_random_seed(0)
        target = learnt(y)
        model = head(target)
        model.compile("adam", regression.loss(target))
        model.fit(x, y.astype("float32"), epochs=20, verbose=0, shuffle=False)
        return model.predict(x, verbose=0)

    np.testing.assert_allclose((fitted(y * scale + offset).astype("float64") - offset) / scale, fitted(y), atol=2e-3)


# === Intervals ===


def test_an_interval_contains_nine_in_ten_of_new_examples():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        errors = rng.normal(size=(60, 1))
        target = regression.calibrate(numbers("a"), {TARGET: errors[:30]}, np.zeros((30, 1)))
        shares.append(regression.score({TARGET: errors[30:]}, np.zeros((30, 1)), target).numbers[0].inside)
    assert 0.89 < np.mean(shares) < 0.93


@pytest.mark.parametrize("n", [0, 1, regression.FEWEST - 1])
def test_with_few_examples_there_is_no_interval(n):
    target = regression.calibrate(numbers("a"), {TARGET: np.zeros((n, 1))}, np.zeros((n, 1)))
    assert target == numbers("a") and list(regression.answer(np.ones(1), target, None)) == ["values"]


def test_answers_have_their_interval():
    target = numbers("a", "b", interval=[2.0, 0.5])
    answer = regression.answer(np.array([1.0, 3.0], "float32"), target, 1)
    assert answer == {"values": {"a": 1.0, "b": 3.0}, "intervals": {"a": [-1.0, 3.0], "b": [2.5, 3.5]}}


# === Figures ===


def test_figures_of_known_numbers():
    y = np.array([[1.0], [2.0], [3.0], [4.0]])
    figures = regression.score({TARGET: y}, y + [[1], [-1], [1], [-1]], learnt(y + 1, "height"))
    (row,) = figures.numbers
    assert (row.mae, row.rmse, row.mean_mae) == (1, 1, 1.25) and row.r2 == pytest.approx(1 - 4 / 5) and figures.loss == pytest.approx(0.8)
    assert row.mean_rmse == pytest.approx(math.sqrt(2.25)) and row.pearson == pytest.approx(np.corrcoef(y.T, [[2, 1, 4, 3]])[0, 1])
    assert figures.headline("test") == "test: R² 0.200; mean absolute error 1 (1.25 by always answering the training mean)"


def test_a_model_that_is_no_better_than_the_mean_is_named_as_such():
    y = np.array([[1.0, 10.0], [3.0, 30.0]])
    figures = regression.score({TARGET: y}, np.array([[2.0, 10.0], [2.0, 30.0]]), learnt(y, "a", "b"))
    assert figures.headline("val").endswith("b 0 (10 by always answering the training mean): the model is no better than that for 'a'")


def test_constant_targets_and_single_examples_have_no_r2():
    for y in ([[5.0]] * 3, [[5.0]]):
        figures = regression.score({TARGET: np.array(y)}, np.array(y) + 0.5, numbers("a"))
        assert figures.mean("r2") is None and "R² not defined" in figures.headline("val") and json.dumps(figures.to_dict(), allow_nan=False)


def test_a_number_may_be_called_like_a_column_of_the_predictions():
    found = regression.columns((1.0, 2.0), np.array([1.5, 1.0]), numbers("split", "x"))
    assert found == {"true:split": "1", "predicted:split": "1.5", "error:split": "0.5", "x": "2", "predicted:x": "1", "error:x": "-1"}


# === Artifacts ===


def test_an_artifact_is_judged_by_what_its_r2_loses():
    y = np.array([[1.0], [2.0], [3.0], [4.0]])
    target = learnt(y)
    judged = regression.judge(y + 0.5, y, {TARGET: y}, target)
    assert judged.accuracy == pytest.approx(0.8) and judged.drop == pytest.approx(0.2) and judged.agreement == 0
    assert regression.judge(y + 0.05, y, None, target).agreement == 1 and regression.judge(y + 0.5, y, None, target).drop == pytest.approx(
        0.2
    )


def test_an_artifact_is_judged_by_agreement_where_there_is_no_r2():
    y = np.ones((4, 2))
    y[:, 1] = range(4)
    scores = y + [[9, 0], [0, 0], [0, 0], [0, 0]]
    judged = regression.judge(scores, y, {TARGET: y}, learnt(y))
    assert judged.agreement == 0.75 and judged.drop == pytest.approx(0.125)
    assert regression.judge(scores[:, :1], y[:, :1], None, numbers("a")).drop == 0.25


def test_an_artifact_without_numbers_is_as_bad_as_can_be():
    y = np.arange(4.0)[:, None]
    for wrong in (np.nan, np.inf):
        judged = regression.judge(np.where(y > 2, wrong, y), y, {TARGET: y}, learnt(y))
        assert judged.drop == 1 and judged.agreement == 0.75 and judged.accuracy is None and "not finite" in judged.sentence


def test_every_number_is_an_output_of_its_own_whatever_it_is_called():
    labels = ("x", "scores", "status", "a b", "a-b", "温度", "x_2", "x 2")
    names = regression.output_names(numbers(*labels))
    assert names == ["x", "scores_2", "status_2", "a_b", "a_b_2", "number", "x_2", "x_2_2"]


# === Pages ===


@pytest.mark.parametrize("n", [1, 2, 5000])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e6])
def test_the_plot_is_an_image_of_every_size_without_scripts(n, scale):
    y = np.random.default_rng(0).normal(size=(n, 1)) * scale
    figures = regression.score({TARGET: y}, y + 0.1 * scale, learnt(y, 'a<b & "c"'))
    sections = dict(regression_pages.report(figures, "test", learnt(y, 'a<b & "c"'), "recipe full, seed 0"))
    (drawn,) = re.findall(r"<svg.*?</svg>", sections["Predicted and true"], re.DOTALL)
    image = ElementTree.fromstring(re.sub(r"<svg [^>]*viewBox", "<svg viewBox", drawn).replace('role="img"', ""))
    width, height = map(float, image.get("viewBox").split()[2:])
    points = [mark for mark in image.findall(".//use") if mark.find("title") is not None or n > regression_pages.TITLED]
    assert points and "<script" not in drawn
    assert all(0 <= float(mark.get("x")) <= width and 0 <= float(mark.get("y")) <= height for mark in points)


def test_without_held_out_examples_the_report_says_so():
    none = regression.score({TARGET: np.zeros((0, 1))}, np.zeros((0, 1)), numbers("a"))
    assert regression_pages.report(none, "val", numbers("a"), "")[0][1].endswith("there is no score.</p>")


# === A run ===

FORMATS = ["saved_model", "tflite", "onnx"]
SETTINGS = {
    "backbone": "cnn",
    "weights": "none",
    "image_size": 32,
    "unfreeze": "all",
    "learning_rate": 0.003,
    "epochs": 15,
    "recipe": "full",
}


def lights(n=160, scale=1.0, labels=("brightness",)):
    """Returns images whose brightness is to be predicted, for further numbers also its negative."""
    rng = np.random.default_rng(0)
    y = rng.uniform(20, 230, n)
    x = np.clip(y[:, None, None, None] + rng.normal(0, 8, (n, 32, 32, 3)), 0, 255).astype("uint8")
    values = [tuple(scale * sign * value for sign in (1, -1)[: len(labels)]) for value in y.tolist()]
    examples = (Example(id=f"light/{i}", label=value, array=x[i]) for i, value in enumerate(values))
    return Dataset(name="lights", examples=tuple(examples), target=numbers(*labels))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = RunConfig.from_dict({**SETTINGS, "export": FORMATS, "max_drop": 0.02, "out": str(tmp_path_factory.mktemp("lights") / "run")})
    return finetune.finetune(config, dataset=lights(), reporter=None)


def test_the_figures_of_a_run_stand_beside_those_of_the_mean(run):
    metrics = json.loads(run.run.metrics.read_text())
    assert metrics["config"]["task"] == "regression" and metrics["test"]["r2"] > 0.95
    assert metrics["test"]["mae"] < 0.2 * metrics["test"]["mean"]["mae"] and 0.5 <= metrics["test"]["inside"] <= 1
    with run.run.predictions.open() as file:
        row = next(csv.DictReader(file))
    assert list(row) == ["split", "example", "brightness", "predicted:brightness", "error:brightness", "known"]
    assert float(row["error:brightness"]) == pytest.approx(float(row["predicted:brightness"]) - float(row["brightness"]), abs=1e-3)


def test_every_artifact_is_judged_and_holds_what_was_learnt(run):
    metrics, manifest = json.loads(run.run.metrics.read_text()), read_manifest(run.run.exports)
    assert list(metrics["exports"]) == FORMATS
    for record in metrics["exports"].values():
        assert record["verified"] and record["agreement"] > 0.9 and record["accuracy"] == pytest.approx(metrics["test"]["r2"], abs=0.02)
    facts = target_of(manifest).facts
    assert manifest["labels"] is None and set(facts) == {"mean", "std", "low", "high", "loss", "interval", "rejection"}


@pytest.mark.parametrize("name", ["", "exports/saved_model", "exports/model.tflite", "exports/model.onnx"])
def test_a_run_and_its_artifacts_are_evaluated_and_predict_with_intervals(run, name):
    dataset = lights(9)
    scored = evaluate.evaluate(run.run.root / name, dataset, part="all", reporter=None)
    assert scored.score.mean("r2") > 0.95 and scored.to_dict()["numbers"]["brightness"]["mean"]["mae"] > 20
    (answer,) = predict.predict(run.run.root / name, [dataset.examples[2].array])
    low, high = answer.intervals["brightness"]
    assert answer.values["brightness"] == pytest.approx(dataset.examples[2].label[0], abs=15) and low < answer.values["brightness"] < high
    assert answer.cells()[0] == "brightness"


@pytest.mark.slow  # tests/tasks/test_everywhere.py has whole numbers for the task with every kind of target
def test_a_file_in_whole_numbers_is_evaluated_and_predicts_with_intervals(run, tmp_path):
    export_run(run.run.root, ["tflite-int8"], tmp_path / "out", data=lights(), changes={"max_drop": 0.02}, reporter=None)
    dataset, file = lights(9), tmp_path / "out" / "model_int8.tflite"
    assert evaluate.evaluate(file, dataset, part="all", reporter=None).score.mean("r2") > 0.95
    (answer,) = predict.predict(file, [dataset.examples[2].array])
    low, high = answer.intervals["brightness"]
    assert answer.values["brightness"] == pytest.approx(dataset.examples[2].label[0], abs=15) and low < answer.values["brightness"] < high


BARE = """
import sys
sys.modules |= dict.fromkeys(("tlkeras", "keras"))  # neither can be imported
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
outputs = served(image_bytes=tf.constant([open(sys.argv[2], "rb").read(), b"damaged"]))
print(sorted(outputs), *outputs["brightness"].numpy().tolist(), outputs["status"].numpy()[1].decode())
"""


def test_the_saved_model_answers_in_the_units_of_the_data_in_a_bare_process(run, tmp_path):
    example = lights(4).examples[3]
    (tmp_path / "image.png").write_bytes(tf.io.encode_png(example.array).numpy())
    command = [sys.executable, "-I", "-c", BARE, str(run.run.exports / "saved_model"), str(tmp_path / "image.png")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    names, value, unreadable, status = re.fullmatch(r"(\[.*\]) (\S+) (\S+) (.*)\n", said).groups()
    assert names == "['brightness', 'known', 'scores', 'status']" and unreadable == "nan" and status != "ok"
    assert float(value) == pytest.approx(example.label[0], abs=15)


def test_the_report_shows_the_numbers(run):
    page = run.run.report.read_text(encoding="utf-8")
    assert "by always answering the training mean" in page and "true brightness" in page
    assert all(f"<h2>{title}</h2>" in page for title in ("Numbers", "Predicted and true", "Errors")) and "split-conformal" in page


def test_it_is_published_described_and_loaded(run, tmp_path):
    zoo = Zoo(tmp_path / "zoo")
    entry = publish.publish(run.run.root, "lights", zoo, data_licence="CC0", data_source="made up", reporter=None)
    card = (entry.path / "README.md").read_text(encoding="utf-8")
    assert "image regression: 1 number (`brightness`), in the units of the data." in card and "Lei et al. 2018" in card
    assert "[0].values\n" in card and ".label" not in card and "labels" not in card and "for name, value in answer.outputs.items()" in card
    for runtime in ("tensorflow", "keras", "litert", "onnxruntime"):
        (answer,) = load("lights", runtime=runtime, root=zoo.root).predict(lights(3).examples[1].array)
        assert answer.values["brightness"] == pytest.approx(lights(3).examples[1].label[0], abs=15)


def test_a_run_is_exported_again_without_its_data(run, tmp_path):
    (artifact,) = export_run(run.run.root, ["tflite"], tmp_path / "again", reporter=None)
    assert artifact.verdict.accuracy is None


@pytest.mark.slow  # test_training_is_the_same_whatever_the_unit asks the same of the head alone
def test_a_run_in_another_unit_answers_the_same_in_that_unit(run, tmp_path):
    config = RunConfig.from_dict({**SETTINGS, "export": [], "out": str(tmp_path / "run")})
    other = finetune.finetune(config, dataset=lights(scale=1e6), reporter=None)
    x = [example.array for example in lights(8).examples]
    ours, theirs = ([answer.values["brightness"] for answer in predict.predict(each.run.root, x)] for each in (run, other))
    np.testing.assert_allclose(np.array(theirs) / 1e6, ours, rtol=0.02, atol=1)


# tests/tasks/test_training.py trains several targets, numbers among them, on two devices and in mixed precision.
@pytest.mark.parametrize(
    "settings",
    [
        {"recipe": "feature-extraction", "unfreeze": None, "learning_rate": 0.1, "epochs": 60, "dropout": 0},
        pytest.param({"placement": "mirrored:2", "export": ["tflite"]}, marks=pytest.mark.slow),
        pytest.param({"mixed_precision": True, "export": ["tflite"]}, marks=pytest.mark.slow),
        {"loss": "huber"},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_it_is_trained_in_every_way(settings, tmp_path):
    merged = {key: value for key, value in {**SETTINGS, "export": [], **settings}.items() if value is not None}
    config = RunConfig.from_dict({**merged, "out": str(tmp_path / "run")})
    result = finetune.finetune(config, dataset=lights(120, labels=("light", "dark")), reporter=None)
    metrics = json.loads(result.run.metrics.read_text())
    assert metrics["test"]["r2"] > 0.7 and set(metrics["test"]["numbers"]) == {"light", "dark"}
    assert all(record["verified"] for record in metrics["exports"].values()) and list(metrics["exports"]) == settings.get("export", [])


def test_an_unknown_loss_names_those_that_there_are():
    with pytest.raises(ConfigError, match="loss is 'hinge'; expected squared, huber"):
        finetune.finetune({**SETTINGS, "loss": "hinge"}, dataset=lights(12), reporter=None)
    assert callable(load_function(ROW.loss)(numbers("a")))
