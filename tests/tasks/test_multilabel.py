"""Several labels per example: thresholds, figures, and the whole way from images to an entry of the zoo."""

import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics as sklearn_metrics

from tests.export.helpers import answered_by_mediapipe
from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset, Example
from tlkeras.data.target import Target
from tlkeras.evaluation.prediction import Prediction
from tlkeras.export.manifest import read_manifest
from tlkeras.jobs import evaluate, export_run, finetune, predict, publish
from tlkeras.tasks import multilabel, multilabel_pages
from tlkeras.tasks.registry import TARGET, Options, target_of
from tlkeras.tasks.thresholds import FEWEST, best_threshold, calibrate, chosen_threshold, decisions, spec, thresholds
from tlkeras.zoo import load
from tlkeras.zoo.store import Zoo

COLOURS = ("blau", "grün", "rot|tief")  # a label may contain what separates labels
TARGET_OF_COLOURS = Target(kind="labels", labels=COLOURS, name="colours")


def f1(holds, scores, threshold):
    predicted = scores >= np.float32(threshold)
    return 2 * (predicted & holds).sum() / (predicted.sum() + holds.sum())


# === Thresholds ===

# Few distinct scores, so that there are ties; neighbouring floats among them.
SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.5, float(np.nextafter(np.float32(0.5), 1)), 0.6, 0.9, 1.0]) | st.floats(0, 1, width=32)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.booleans(), SCORES), min_size=10, max_size=60))
def test_no_threshold_has_a_better_f1_and_none_as_good_is_nearer_to_a_half(rows):
    holds, scores = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], "float32")
    threshold = best_threshold(holds, scores)
    assert 0 < threshold < 1 and threshold == np.float32(threshold)
    if holds.all() or not holds.any():
        assert threshold == 0.5
        return
    # Every decision that a threshold between 0 and 1 can lead to.
    others = np.clip(np.unique(np.append(scores, [1e-6, 0.5])), 1e-6, 1 - 1e-6)
    best = f1(holds, scores, threshold)
    assert best >= max(f1(holds, scores, other) for other in others) - 1e-12
    assert threshold == 0.5 or f1(holds, scores, 0.5) < best
    order = np.random.default_rng(0).permutation(len(rows))
    assert best_threshold(holds[order], scores[order]) == threshold


def test_a_threshold_is_halfway_between_the_scores_that_it_separates():
    holds = np.array([False] * 6 + [True] * 6)
    scores = np.array([0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.2, 0.22, 0.24, 0.3, 0.4, 0.45], "float32")
    assert best_threshold(holds, scores) == pytest.approx(0.15)
    assert best_threshold(holds, scores + np.float32(0.35)) == 0.5  # 0.45 and 0.55: the default separates them too


@given(st.integers(1, FEWEST - 1), st.integers(0, 2**32 - 1), st.booleans())
def test_the_fewer_examples_a_threshold_is_based_on_the_nearer_it_is_to_a_half(few, seed, rare):
    rng = np.random.default_rng(seed)
    holds = np.arange(40) < few if rare else np.arange(40) >= few
    scores = rng.random(40).astype("float32")
    best, chosen = best_threshold(holds, scores), chosen_threshold(holds, scores)
    assert chosen == np.float32(chosen) and min(best, 0.5) <= chosen <= max(best, 0.5)
    assert np.log(1 / chosen - 1) == pytest.approx(np.log(1 / best - 1) * few / FEWEST, abs=1e-5)


@pytest.mark.parametrize("n", [0, 40])
def test_a_label_that_no_or_every_validation_example_has_keeps_a_half(n):
    y = np.zeros((n, 3), "float32")
    y[:, 1], y[: n // 2, 2] = 1, 1
    scores = np.where(y > 0, 0.2, 0.1).astype("float32")
    target = calibrate(TARGET_OF_COLOURS, {TARGET: y}, scores)
    first, second, third = target.facts["thresholds"]
    assert first == second == 0.5 and third == pytest.approx(0.15 if n else 0.5)
    assert json.loads(json.dumps(target.to_dict(), allow_nan=False))["facts"]["thresholds"] == [first, second, third]


def test_thresholds_survive_json_exactly():
    target = TARGET_OF_COLOURS.with_facts(thresholds=[float(np.float32(1) / 3), 0.5, float(np.nextafter(np.float32(0.5), 1))])
    again = Target.from_dict(json.loads(json.dumps(target.to_dict())))
    scores = thresholds(target)
    assert decisions(scores, again).all() and not decisions(np.nextafter(scores, np.float32(0)), again).any()
    for own, expected in ((again, tuple(target.facts["thresholds"])), (TARGET_OF_COLOURS, (0.5, 0.5, 0.5))):
        (group,) = spec(own)["columns"]
        assert group["thresholds"] == expected


# === Loss ===


def learnt(y, **options):
    return multilabel.learn(TARGET_OF_COLOURS, {TARGET: np.array(y, "float32")}, Options(**options))


def test_positive_weights_are_negatives_over_positives_within_limits():
    y = np.zeros((100, 3))
    y[:20, 0] = 1
    y[:1, 1] = 1
    assert learnt(y, class_weights=True).facts["positive_weights"] == [4.0, 20.0, 1.0]
    assert learnt(1 - y, class_weights=True).facts["positive_weights"] == [0.25, 0.05, 1.0]
    assert learnt(y) == TARGET_OF_COLOURS


def test_the_loss_is_that_of_keras_and_positives_are_weighted_where_they_are_to_be():
    rng = np.random.default_rng(0)
    y, scores = (rng.random((8, 3)) < 0.5).astype("float32"), rng.random((8, 3)).astype("float32")
    scores[0] = [0, 1, 0.5]  # saturated in float32
    assert multilabel.loss(TARGET_OF_COLOURS) == "binary_crossentropy"
    weights = np.array([4.0, 0.25, 1.0], "float32")
    expected = np.asarray(keras.losses.binary_crossentropy(y, scores))
    equal = multilabel.loss(TARGET_OF_COLOURS.with_facts(positive_weights=[1.0, 1.0, 1.0]))
    np.testing.assert_allclose(equal(y, tf.constant(scores)), expected, rtol=1e-4)
    weighted = multilabel.loss(TARGET_OF_COLOURS.with_facts(positive_weights=weights.tolist()))
    p = np.clip(scores, 1e-7, 1 - 1e-7)
    by_hand = -(weights * y * np.log(p) + (1 - y) * np.log(1 - p)).mean(-1)
    np.testing.assert_allclose(weighted(y, tf.constant(scores)), by_hand, rtol=1e-4)


# === Figures ===


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 5))
def test_figures_are_those_of_scikit_learn(seed, n, count):
    rng = np.random.default_rng(seed)
    y, scores = rng.random((n, count)) < rng.random(count), rng.random((n, count)).astype("float32").round(1)
    target = Target(kind="labels", labels=tuple(map(str, range(count)))).with_facts(thresholds=rng.random(count).round(1).tolist())
    got = multilabel.score({TARGET: y.astype("float32")}, scores, target)
    predicted = decisions(scores, target)
    assert got.hamming_loss == pytest.approx(sklearn_metrics.hamming_loss(y, predicted))
    assert got.exact_match == pytest.approx((y == predicted).all(1).mean())
    some = y.any(axis=0) | predicted.any(axis=0)
    if some.any():
        by_label = [sklearn_metrics.f1_score(y[:, i], predicted[:, i], zero_division=0.0) for i in range(count)]
        assert got.macro_f1 == pytest.approx(np.mean(np.array(by_label)[some]))
        assert [row.f1 for row in got.per_label] == pytest.approx(by_label)
        counts = [(y & predicted).sum(), (y ^ predicted).sum()]
        assert got.micro_f1 == pytest.approx(2 * counts[0] / (2 * counts[0] + counts[1]))
    held = y.any(axis=0)
    precisions = [sklearn_metrics.average_precision_score(y[:, i], scores[:, i]) for i in range(count) if held[i]]
    assert got.mean_average_precision == (pytest.approx(np.mean(precisions)) if precisions else None)
    json.dumps(got.detailed(), allow_nan=False)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4))
def test_no_constant_answer_is_better_than_the_one_beside_the_headline(seed, n, count):
    rng = np.random.default_rng(seed)
    y = rng.random((n, count)) < rng.random(count)
    target = Target(kind="labels", labels=tuple(map(str, range(count))))
    got = multilabel.score({TARGET: y.astype("float32")}, rng.random((n, count)).astype("float32"), target).constant
    every = [np.array([code >> i & 1 for i in range(count)], bool) for code in range(2**count)]
    assert got["micro_f1"] == pytest.approx(max(multilabel.micro_f1(np.tile(row, (n, 1)), y) for row in every))
    held = np.isin(np.array(target.labels), got["labels"])
    assert multilabel.micro_f1(np.tile(held, (n, 1)), y) == pytest.approx(got["micro_f1"])


def test_the_headline_names_the_constant_answer_and_what_is_never_predicted():
    y = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [1, 0, 0]], "float32")
    figures = multilabel.score({TARGET: y}, np.tile(np.float32([0.9, 0.1, 0.1]), (4, 1)), TARGET_OF_COLOURS)
    assert figures.constant == {"labels": ["blau"], "micro_f1": pytest.approx(0.8)}
    assert "always predicting 'blau' would reach micro-F1 0.800: the model is no better than that" in figures.headline("test")
    assert figures.headline("test").endswith("never predicted: 'grün', 'rot|tief'")
    assert figures.confused.sum() == 0 and [row.average_precision for row in figures.per_label][0] == 1


def test_a_label_that_is_missed_while_another_is_added_is_counted_as_a_confusion():
    y = np.array([[1, 0, 0], [1, 0, 1], [1, 0, 0], [0, 1, 0]], "float32")
    scores = np.array([[0.1, 0.9, 0.1], [0.1, 0.9, 0.9], [0.9, 0.9, 0.1], [0.1, 0.1, 0.1]], "float32")
    figures = multilabel.score({TARGET: y}, scores, TARGET_OF_COLOURS)
    assert figures.confused.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 0]]
    (_, body) = multilabel_pages.report(figures, "test", TARGET_OF_COLOURS, "")[2]
    assert "<td>blau</td><td>grün</td><td>2</td>" in body
    rows = [multilabel.columns(tuple(np.array(COLOURS)[own > 0]), row, TARGET_OF_COLOURS) for own, row in zip(y, scores, strict=True)]
    content = multilabel_pages.publish({"val": {"n": 0}, "test": {"n": 4}}, rows, TARGET_OF_COLOURS)
    assert content["weaknesses"]["confused"] == [{"missed": "blau", "added": "grün", "n": 2}]
    assert content["weaknesses"]["worst"][0]["label"] == "grün"


def test_nothing_held_and_nothing_predicted_is_correct():
    figures = multilabel.score({TARGET: np.zeros((4, 3))}, np.full((4, 3), 0.1, "float32"), TARGET_OF_COLOURS)
    assert (figures.micro_f1, figures.macro_f1, figures.mean_average_precision) == (1.0, None, None)
    assert figures.exact_match == 1 and figures.constant == {"labels": [], "micro_f1": 1.0} and "no label" in figures.headline("val")


# === Answers ===


def test_labels_are_those_that_reach_their_own_threshold_best_first():
    target = TARGET_OF_COLOURS.with_facts(thresholds=[0.25, 0.75, 0.5])
    scores = np.array([0.3, 0.7, 0.5], "float32")
    answer = multilabel.answer(scores, target, None)
    assert answer["labels"] == ["rot|tief", "blau"] and list(answer["scores"]) == list(COLOURS)
    assert multilabel.answer(scores * 0, target, None)["labels"] == []


def test_the_best_scores_include_those_of_every_label_that_holds():
    scores = np.array([0.6, 0.7, 0.2], "float32")
    every, best = (multilabel.answer(scores, TARGET_OF_COLOURS, top_k) for top_k in (3, 1))
    assert list(every["scores"]) == ["grün", "blau", "rot|tief"] and list(best["scores"]) == best["labels"] == ["grün", "blau"]
    assert Prediction(file="x", **best).cells() == ["grün", "0.7000", "blau", "0.6000"]
    assert list(multilabel.answer(scores - np.float32(0.5), TARGET_OF_COLOURS, 1)["scores"]) == ["grün"]


def test_what_could_not_be_read_differs_from_every_answer_even_from_no_label():
    scores = tf.constant([[0.9, 0.9, 0.9], [0.0, 0.0, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, 0.0]])
    outputs = multilabel.signature(scores, tf.constant([True, True, True, False]), TARGET_OF_COLOURS)
    assert outputs["label_mask"].numpy().tolist() == [[1, 1, 1], [0, 0, 0], [0, 1, 0], [-1, -1, -1]]
    texts = [[cell.decode() for cell in row] for row in outputs["labels"].numpy()]
    assert texts == [list(COLOURS), ["", "", ""], ["", "grün", ""], ["?", "?", "?"]]


def test_labels_with_the_separator_in_their_names_are_read_back_from_the_table_of_predictions():
    target = Target(kind="labels", labels=("a", "a|b", "b", "c")).with_facts(thresholds=[0.5] * 4)
    y = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1], [0, 1, 0, 1]], "float32")
    rows = [multilabel.columns(tuple(np.array(target.labels)[row > 0]), row.astype("float32"), target) for row in y]
    content = multilabel_pages.publish({"val": {"n": 0}, "test": {"n": 4}}, rows, target)
    assert [row["n"] for row in content["label_scores"]] == [1, 2, 0, 2]
    assert all(row["f1"] == 1 for row in content["label_scores"] if row["n"])


# === The whole way ===


def patches(n=160, size=32, seed=0):
    """Returns images with a patch of each colour of their set, and the sets: every one occurs, none and all among them."""
    rng = np.random.default_rng(seed)
    images, sets = rng.integers(0, 60, (n, size, size, 3), "uint8"), []
    for index, image in enumerate(images):
        held = [channel for channel in range(3) if index % 8 >> channel & 1]
        for channel in held:
            top, left = rng.integers(0, size // 2, 2)
            image[top : top + size // 2, left : left + size // 2, 2 - channel] = 230
        sets.append(tuple(COLOURS[channel] for channel in held))
    return images, sets


def dataset(n=160, seed=0):
    examples = [
        Example(id=f"{index}", label=label, array=image) for index, (image, label) in enumerate(zip(*patches(n, seed=seed), strict=True))
    ]
    return Dataset(name="patches", examples=tuple(examples), target=TARGET_OF_COLOURS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network fine-tuned for sets of labels, exported."""
    values = {
        "backbone": "cnn",
        "weights": "none",
        "image_size": 32,
        "unfreeze": "all",
        "learning_rate": 0.003,
        "epochs": 15,
        "class_weights": True,
        "export": ["saved_model", "tflite", "onnx"],
        "out": str(tmp_path_factory.mktemp("patches") / "run"),
    }
    return finetune.finetune(RunConfig.from_dict(values), dataset=dataset(), reporter=None)


def facts_of(run):
    return json.loads((run.run.root / "metrics.json").read_text(encoding="utf-8")), target_of(read_manifest(run.run.exports))


def test_the_task_follows_from_the_target_and_is_learnt(run):
    metrics, target = facts_of(run)
    assert metrics["config"]["task"] == "multilabel" and metrics["test"]["micro_f1"] > max(0.85, metrics["test"]["constant"]["micro_f1"])
    assert len(target.facts["thresholds"]) == 3 and len(target.facts["positive_weights"]) == 3
    with run.run.history.open(encoding="utf-8") as file:
        assert "val_binary_accuracy" in next(csv.DictReader(file))


def test_every_artifact_is_judged_by_its_micro_f1_and_holds_the_thresholds(run):
    metrics, target = facts_of(run)
    assert set(metrics["exports"]) == {"saved_model", "tflite", "onnx"}
    for name, record in metrics["exports"].items():
        assert record["verified"] and abs(record["accuracy"] - metrics["test"]["micro_f1"] + record["drop"]) < 1e-6, name
    assert [metrics["exports"][name]["agreement"] for name in ("saved_model", "tflite", "onnx")] == [1, 1, 1]
    import onnx

    texts = {entry.key: entry.value for entry in onnx.load(run.run.exports / "model.onnx").metadata_props}
    assert json.loads(texts["target"])["facts"]["thresholds"] == target.facts["thresholds"]


ARTIFACTS = ("", "exports/saved_model", "exports/model.tflite", "exports/model.onnx")


@pytest.mark.parametrize("name", ARTIFACTS)
def test_a_run_and_its_artifacts_are_evaluated_and_predict_the_same_sets(run, name):
    where = run.run.root / name
    images, sets = patches(40, seed=1)
    evaluated = evaluate.evaluate(where, dataset(40, seed=1), part="all", reporter=None)
    assert evaluated.score.micro_f1 > 0.8 and set(evaluated.to_dict()["per_label"]) == set(COLOURS)
    answers = predict.predict(where, list(images))
    assert np.mean([set(answer.labels) == set(own) for answer, own in zip(answers, sets, strict=True)]) == pytest.approx(
        evaluated.score.exact_match
    )


@pytest.mark.slow  # tests/tasks/test_everywhere.py has whole numbers for the task with every kind of target
def test_a_file_in_whole_numbers_is_evaluated(run, tmp_path):
    export_run.export_run(run.run.root, ["tflite-int8"], tmp_path / "out", data=dataset(), changes={"max_drop": 0.1}, reporter=None)
    evaluated = evaluate.evaluate(tmp_path / "out" / "model_int8.tflite", dataset(40, seed=1), part="all", reporter=None)
    assert evaluated.score.micro_f1 > 0.8


def test_a_saved_model_answers_with_names_and_reports_what_it_cannot_read(run):
    served = tf.saved_model.load(str(run.run.exports / "saved_model")).signatures["serving_default"]
    images, _ = patches(8, seed=2)
    encoded = [tf.io.encode_png(image).numpy() for image in images]
    outputs = served(image_bytes=tf.constant([*encoded, b"damaged"]))
    assert set(outputs) == {"scores", "labels", "label_mask", "status", "known"}
    answers = predict.predict(run.run.root, list(images))
    for answer, row in zip(answers, outputs["labels"].numpy()[:8], strict=True):
        assert set(answer.labels) == {cell.decode() for cell in row} - {""}
    assert set(outputs["labels"].numpy()[8]) == {b"?"} and outputs["status"][8] != b"ok"


def test_the_report_has_figures_and_labels(run):
    page = run.run.report.read_text(encoding="utf-8")
    assert "<h2>Labels</h2>" in page and "<h2>Confusions</h2>" in page and "micro-F1 on" in page
    assert "<th>threshold</th>" in page and "<td>rot|tief</td>" in page and "<th>Hamming loss</th>" in page


def test_it_is_published_described_and_loaded(run, tmp_path):
    zoo = Zoo(tmp_path / "zoo")
    entry = publish.publish(run.run.root, "patches", zoo, data_licence="CC0", data_source="made up", reporter=None)
    card = (entry.path / "README.md").read_text(encoding="utf-8")
    assert "any number of 3 labels (`blau`, `grün`, `rot|tief`)" in card and "## Labels" in card and "threshold" in card
    assert 'model.predict("image.jpg")[0].labels' in card and 'outputs["label"]' not in card
    images, _ = patches(8, seed=3)
    opened = load("patches", root=zoo.root)
    assert [answer.labels for answer in opened.predict(images)] == [answer.labels for answer in predict.predict(run.run.root, images)]
    assert target_of(entry.manifest) == opened.target


def test_a_run_is_exported_again_with_its_thresholds(run, tmp_path):
    export_run.export_run(run.run.root, ["onnx"], tmp_path / "again", data=dataset(), reporter=None)
    assert target_of(read_manifest(tmp_path / "again")) == facts_of(run)[1]


# === Real images: two clothes side by side, their classes as the set ===

SIDE = 128


def mosaics(folder, split, n, seed=0):
    """Returns n examples of two photos of different classes or of one, each in half of a square."""
    rng = np.random.default_rng(seed)
    files = sorted((folder / "clothing" / split).glob("*/*"))
    examples = []
    for index in range(n):
        pair = [files[place] for place in rng.choice(len(files), 2, replace=False)]
        halves = [Image.open(file).convert("RGB").resize((SIDE // 2, SIDE), Image.Resampling.BILINEAR) for file in pair]
        labels = tuple(sorted({file.parent.name for file in pair}))
        examples.append(Example(id=f"{split}/{index}", label=labels, array=np.concatenate([*map(np.asarray, halves)], axis=1), split=split))
    return examples


@pytest.fixture(scope="module")
def clothes(shared_data, tmp_path_factory):
    """A pretrained network whose head was trained on mosaics of clothes, as a TFLite file, and its run."""
    parts = [mosaics(shared_data, split, n) for split, n in (("train", 1500), ("val", 400), ("test", 400))]
    labels = sorted({label for example in parts[0] for label in example.label})
    data = Dataset(name="mosaics", examples=tuple(sum(parts, [])), target=Target(kind="labels", labels=tuple(labels)))
    out = str(tmp_path_factory.mktemp("clothes") / "run")
    values = {"out": out, "backbone": "efficientnet", "image_size": SIDE, "epochs": 10, "export": "tflite,tflite-int8,mobile"}
    return finetune.finetune(RunConfig.from_dict(values), dataset=data, reporter=None), parts[2]


@pytest.mark.slow
def test_sets_of_clothes_are_found_better_than_by_any_constant_answer(clothes):
    metrics, target = facts_of(clothes[0])
    test = metrics["test"]
    assert test["micro_f1"] > test["constant"]["micro_f1"] + 0.1 and test["mean_average_precision"] > 0.5
    assert len(set(target.facts["thresholds"])) > 1
    assert all(metrics["exports"][name]["drop"] < 0.02 for name in ("tflite-int8", "mobile"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MediaPipe still uses a deprecated way of NumPy
def test_mediapipe_gives_the_label_sets_of_keras_on_held_out_photos(clothes):
    pytest.importorskip("mediapipe", reason="MediaPipe is in the extra `test`")
    result, held_out = clothes
    images = [example.array for example in held_out]
    expected = [set(answer.labels) for answer in predict.predict(result.run.root, images)]
    answers = answered_by_mediapipe(result.run.exports / "model.tflite", images)
    assert len(images) == 400 and [set(answer) for answer in answers] == expected
    assert len(set(map(frozenset, expected))) > 20 and len(set(map(len, expected))) > 2
