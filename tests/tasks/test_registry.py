"""Every task of the registry keeps its contract, and a task that the product does not have needs one file and one row."""

import ast
import csv
import dataclasses
import json
import subprocess
import sys
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

import tlkeras
from tests.conftest import ROOT
from tests.targets import CLASS, LABELS, TARGETS, values
from tests.tasks import dial
from tlkeras import models
from tlkeras.config import RunConfig
from tlkeras.data.target import KINDS
from tlkeras.errors import ConfigError, ExportMismatch, UnknownName
from tlkeras.evaluation.prediction import Prediction
from tlkeras.export import parity
from tlkeras.export.export import export
from tlkeras.export.formats import FORMATS
from tlkeras.export.manifest import read_manifest
from tlkeras.export.parity import Samples
from tlkeras.export.spec import ExportSpec, Interface
from tlkeras.jobs import evaluate, finetune, predict, publish
from tlkeras.registry import load_function
from tlkeras.tasks.registry import DEFAULT, TARGET, TASKS, Options, Task, take, task_named, task_of
from tlkeras.zoo import load
from tlkeras.zoo.check import verify
from tlkeras.zoo.store import Zoo

ALL = [*TASKS, dial.ROW]  # the contract also holds for the task of this test


@pytest.fixture(scope="module", params=ALL, ids=lambda row: row.name)
def row(request):
    return request.param


@pytest.fixture(scope="module")
def answered(row):
    """The target, as the task has learnt it, the values of examples, their targets, and the scores of an untrained head."""
    keras.utils.set_random_seed(0)
    wanted = values(row.target, 12)
    targets = load_function(row.encode_targets)(wanted, TARGETS[row.target])
    target = row.learnt(TARGETS[row.target], targets, Options())
    features = keras.Input((4,))
    head = keras.Model(features, load_function(row.build_head)(features, target, 0.5))
    row.prepared(head, target)
    scores = head.predict(np.random.default_rng(0).normal(size=(12, 4)).astype("float32"), verbose=0)
    return row.calibrated(target, targets, scores), wanted, targets, scores


def perfect(target, y):
    """Returns scores that are right: the targets as the head would answer them."""
    if target.parts:
        parts, start = [], 0
        for part in target.parts:
            width = 1 if part.kind == "class" else len(part.labels)
            columns = y[:, start : start + width]
            parts.append(perfect(part, columns[:, 0].astype(int) if part.kind == "class" else columns))
            start += width
        return np.concatenate(parts, axis=1)
    return np.eye(len(target.labels))[y] if y.ndim == 1 else y


# === The contract ===


def test_every_function_that_a_row_names_is_there(row):
    for field in dataclasses.fields(Task):
        value = getattr(row, field.name)
        if isinstance(value, str) and ":" in value and field.name != "help":
            assert callable(load_function(value))
    assert row.target in KINDS and all(keras.metrics.get(metric) for metric in row.metrics)


def test_targets_are_arrays_in_the_order_of_the_examples(row, answered):
    target, wanted, targets, _ = answered
    assert all(len(rows) == len(wanted) for rows in targets.values()) and TARGET in targets
    again = load_function(row.encode_targets)([wanted[2], wanted[0]], target)
    assert all(np.array_equal(again[name], rows[[2, 0]]) for name, rows in take(targets, slice(None)).items())


def test_the_head_gives_one_column_for_each_label_where_it_says_so(row, answered):
    target, *_, scores = answered
    assert scores.dtype == np.float32 and scores.ndim == 2 and (not row.labelled_outputs or scores.shape[1] == len(target.labels))


def test_the_loss_is_one_finite_number_for_each_example(row, answered):
    target, _, targets, scores = answered
    losses = np.asarray(keras.losses.get(row.keras_loss(target))(targets[TARGET], tf.constant(scores)))
    assert losses.shape == (12,) and np.isfinite(losses).all()


def test_figures_are_json_and_are_none_without_examples(row, answered):
    target, _, targets, scores = answered
    some, none = (load_function(row.score)(take(targets, slice(n)), scores[:n], target) for n in (12, 0))
    assert some.n == some.to_dict()["n"] == 12 and none.n == 0 and none.headline("val") == "" and some.headline("val")
    assert set(some.to_dict()) <= set(some.detailed()) and json.dumps([some.detailed(), none.to_dict()], allow_nan=False)
    assert list(some.cells()) == list(none.cells()) and all(isinstance(line, str) for line in some.lines())


def test_an_artifact_that_answers_as_the_model_loses_nothing(row, answered):
    target, _, targets, scores = answered
    judge = partial(load_function(row.judge), target=target)
    judged, blind = judge(scores, scores, targets), judge(scores, scores, None)
    assert judged.agreement == 1 and judged.drop == 0 and blind.accuracy is None and blind.drop == 0
    assert judge(scores[:0], scores[:0], None).drop is None


def test_an_artifact_that_answers_at_random_is_judged_worse_and_the_reason_is_a_sentence(row, answered):
    target, _, targets, _ = answered
    good = perfect(target, targets[TARGET])
    judged = load_function(row.judge)(good[::-1].copy(), good, targets, target)
    assert judged.agreement < 1 and judged.accuracy < 1 and judged.drop > 0 and judged.sentence


def test_one_example_has_the_same_answer_alone_and_in_the_table_of_predictions(row, answered):
    target, wanted, _, scores = answered
    answer = load_function(row.answer)(scores[3], target, None)
    assert Prediction(file="x", **answer).to_dict() == {"file": "x", **answer} and json.dumps(answer)
    assert load_function(row.columns)(wanted[3], scores[3], target)


def test_unreadable_examples_get_another_answer_of_the_signature(row, answered):
    target, *_, scores = answered
    signature = partial(load_function(row.signature), target=target)
    outputs = signature(tf.constant(scores[:2]), tf.constant([True, False]))
    again = signature(tf.constant(scores[[0, 0]]), tf.constant([True, True]))
    assert outputs
    for name, rows in outputs.items():
        assert len(rows) == 2 and np.array_equal(rows[0], again[name][1]) and not np.array_equal(rows[1], again[name][1]), name


def test_a_report_begins_with_the_headline(row, answered):
    target, _, targets, scores = answered
    figures = load_function(row.score)(targets, scores, target)
    (first, headline), *sections = load_function(row.report)(figures, "test", target, "recipe full, seed 0")
    assert first == "" and "recipe full, seed 0" in headline and all(title and body for title, body in sections)


# === Choosing a task ===


def test_an_unknown_task_is_an_error_that_names_near_ones():
    with pytest.raises(UnknownName, match="no task 'clasification'; did you mean 'classification'"):
        models.build("cnn", 2, weights="none", task="clasification")


def test_files_from_before_tasks_had_names_are_classifiers():
    assert task_of({}).name == DEFAULT and task_named(RunConfig.from_dict({"backbone": "cnn"}).model.task).name == DEFAULT


def test_the_table_imports_nothing_heavy():
    code = "import sys, tlkeras.tasks.registry; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'numpy', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# === A task from outside ===


@pytest.fixture(scope="module")
def registered():
    """The row of the dial in the registry, as one line in the product would put it there."""
    TASKS.add(dial.ROW)
    yield dial.ROW
    del TASKS._rows[dial.ROW.name]


def dials(n=120, size=32):
    """Returns images whose brightness is the number that they show, and these numbers as texts."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return (rng.integers(0, 40, (n, size, size, 3)) + 90 * y[:, None, None, None]).astype("uint8"), [LABELS[i] for i in y]


@pytest.fixture(scope="module")
def run(registered, tmp_path_factory):
    """A network fine-tuned for the dial, in the three formats of the default."""
    settings = {"backbone": "cnn", "weights": "none", "image_size": 32, "unfreeze": "all", "learning_rate": 0.003, "epochs": 15}
    formats = ["saved_model", "tflite", "onnx"]
    config = RunConfig.from_dict({**settings, "task": "dial", "export": formats, "out": str(tmp_path_factory.mktemp("dial") / "run")})
    return finetune.finetune(config, dataset=tlkeras.from_arrays(*dials()), reporter=None)


def test_its_head_loss_and_metrics_train_the_model(run):
    metrics = json.loads(run.run.metrics.read_text())
    assert metrics["test"]["within_half"] > 0.9 and metrics["config"]["task"] == "dial"
    with run.run.history.open() as file:
        assert "val_mean_absolute_error" in next(csv.DictReader(file))
    with run.run.predictions.open() as file:
        assert list(next(csv.DictReader(file))) == ["split", "example", "reading", "predicted"]


def test_its_judge_judges_every_artifact(run):
    metrics = json.loads(run.run.metrics.read_text())
    assert set(metrics["exports"]) == {"saved_model", "tflite", "onnx"}
    for record in metrics["exports"].values():
        assert record["verified"] and record["agreement"] == 1
        assert record["accuracy"] == pytest.approx(metrics["test"]["within_half"]) and record["drop"] == pytest.approx(0)
    manifest = read_manifest(run.run.exports)
    assert manifest["labels"] is None and manifest["metadata"]["task"] == "dial"


def test_its_signature_is_what_the_saved_model_answers(run):
    served = tf.saved_model.load(str(run.run.exports / "saved_model")).signatures["serving_default"]
    images = [tf.io.encode_png(image).numpy() for image in dials(3)[0]]
    outputs = served(image_bytes=tf.constant([images[2], b"damaged"]))
    assert set(outputs) == {"scores", "reading", "unit", "status"}
    assert outputs["reading"][0] == outputs["scores"][0, 0] and outputs["reading"][1] == -1 and outputs["unit"][0] == b"mark"


@pytest.mark.parametrize(("output", "answer"), [("reading", [1.0, 3.0]), ("unit", ["mark", "inch"])])
def test_a_saved_model_that_answers_otherwise_than_its_signature_is_refused(output, answer):
    answers = {"encoded/scores": np.array([[1.0], [2.0]], "float32"), "encoded/reading": np.array([1.0, 2.0], "float32")}
    answers["encoded/unit"] = np.array(["mark", "mark"])
    interface = Interface(inputs=(), output_names=("scores",), signature=partial(dial.signature, target=CLASS))
    parity._check_signature(FORMATS.get("saved_model"), answers, interface)
    wrong = {**answers, f"encoded/{output}": np.array(answer, answers[f"encoded/{output}"].dtype)}
    with pytest.raises(ExportMismatch, match=f"saved_model: the output '{output}' is "):
        parity._check_signature(FORMATS.get("saved_model"), wrong, interface)


def test_its_sections_are_in_the_report(run):
    page = run.run.report.read_text(encoding="utf-8")
    assert "marks (recipe full, seed 0)" in page and "<h2>Dials</h2>" in page and "<th>mean error</th>" in page
    assert page.count("<th>within half</th>") == 3  # scores, artifacts, its own section


@pytest.mark.parametrize("name", ["", "exports/saved_model", "exports/model.tflite", "exports/model.onnx"])
def test_a_run_and_its_artifacts_are_evaluated_and_predict(run, name):
    target = run.run.root / name
    x, y = dials(9)
    found = evaluate.evaluate(target, tlkeras.from_arrays(x, y), part="all", reporter=None)
    assert found.score.within == 1 and found.to_dict()["unit"] == "one mark of the dial"
    (answer,) = predict.predict(target, [x[2]])
    assert answer.score == pytest.approx(2, abs=0.5) and answer.scores == {"reading": answer.score}


def test_it_is_published_described_verified_and_loaded(run, tmp_path):
    zoo = Zoo(tmp_path / "zoo")
    entry = publish.publish(run.run.root, "dial", zoo, data_licence="CC0", data_source="made up", reporter=None)
    card = (entry.path / "README.md").read_text(encoding="utf-8")
    assert "image dial: reads the dial on any image. Backbone `cnn`" in card and "## Results" in card and entry.manifest["largest"] > 1.5
    assert "| within half |" in card and "labels" not in card and "Classifier" not in card
    assert [check.problem for check in verify(entry) if check.problem] == []
    (answer,) = load("dial", root=zoo.root).predict(dials(3)[0][1])
    assert answer.score == pytest.approx(1, abs=0.5)


def test_classes_are_weighed_only_where_there_are_classes(registered):
    dataset = tlkeras.from_arrays(*dials(12))
    with pytest.raises(ConfigError, match="the task 'dial' has none"):
        finetune.finetune({"backbone": "cnn", "weights": "none", "task": "dial", "class_weights": True}, dataset=dataset, reporter=None)


def test_no_module_of_the_product_compares_with_the_name_of_a_task():
    names = {row.name for row in ALL}
    for path in (path for folder in ("tlkeras", "export", "zoo") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Compare, ast.MatchValue)):
                texts = {inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)}
                assert not names & texts, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_only_tasks_pick_the_largest_of_the_scores():
    files = [path for folder in ("tlkeras", "export", "zoo") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in files if "argmax(" in path.read_text(encoding="utf-8")}
    # The others quote a line of the user's, and pick the nearest features and the largest weights.
    others = {"tlkeras/data/array_values.py", "tlkeras/evaluation/errors.py", "tlkeras/evaluation/gallery.py"}
    assert {path for path in found if not path.startswith("tlkeras/tasks/")} <= others and "tlkeras/tasks/classification.py" in found


# === The exporters without a task ===


def network():
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, keras.layers.Dense(2, name="scores")(inputs))


def test_without_a_judge_artifacts_are_compared_by_their_numbers_only(tmp_path):
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    (artifact,) = export(network(), ExportSpec(), tmp_path, Samples(inputs={"x": x[:4]}, score_inputs=x), formats=("tflite",))
    verdict = artifact.verdict
    assert (verdict.agreement, verdict.accuracy, verdict.drop) == (None, None, None) and verdict.relative_diff < 1e-4


def test_the_reason_of_the_judge_is_in_the_error_of_a_format_that_loses_too_much(tmp_path):
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")

    def strict(scores, reference, targets):
        return dial.Judgement(agreement=0.0, drop=1.0, sentence="pleases nobody")

    samples = Samples(inputs={"x": x[:4]}, score_inputs=x)
    with pytest.raises(ExportMismatch, match="tflite-fp16 pleases nobody: a drop of 1.000, allowed 0.02"):
        export(network(), ExportSpec(judge=strict), tmp_path, samples, formats=("tflite-fp16",))
    assert not list(tmp_path.glob("*.tflite"))
