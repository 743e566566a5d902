"""Estimates over folds, near-duplicates and outliers by features, mistakes and label errors of every task."""

import numpy as np
import pytest

from tests.targets import TARGETS, values
from tlkeras.data.target import Target
from tlkeras.evaluation import cross_validation, errors
from tlkeras.registry import load_function
from tlkeras.tasks.registry import TARGET, TASKS

# === Estimates ===


def test_the_interval_is_that_of_nadeau_and_bengio():
    values_of_folds = [0.80, 0.84, 0.82, 0.86, 0.83]
    part = cross_validation.estimate(values_of_folds, tested=0.25)
    sd = np.std(values_of_folds, ddof=1)
    half = 2.7764451052 * sd * np.sqrt(1 / 5 + 1 / 4)  # Student's t of 4 degrees of freedom
    assert part["mean"] == pytest.approx(0.83) and part["sd"] == pytest.approx(sd)
    assert (part["low"], part["high"]) == pytest.approx((0.83 - half, 0.83 + half))
    assert cross_validation.estimate([0.5], 0.5) == {"mean": 0.5, "sd": None, "low": None, "high": None}


def test_figures_that_a_fold_lacks_have_no_estimate():
    rows = [{"train": 8, "test": 4, "figures": {"R²": value, "MAE": 1.0, "n": 4}} for value in (0.5, None, 0.7)]
    assert set(cross_validation.figures(rows)) == {"MAE"}


def content(repeats):
    rows = [
        {"repeat": repeat, "fold": fold, "train": 8, "val": 0, "test": 4, "figures": {"accuracy": 0.5 + fold / 10, "n": 4}}
        for repeat in range(repeats)
        for fold in range(3)
    ]
    extra = {"folds": 3, "repeats": repeats, "examples": 12, "recipe": "full", "grouped_by": "patient", "final": "<all>"}
    return {"rows": rows, "figures": cross_validation.figures(rows), **extra}


@pytest.mark.parametrize("repeats", [1, 2])
def test_the_section_of_the_report_has_every_fold_and_says_what_the_estimates_are_of(repeats):
    title, page = cross_validation.section(content(repeats))
    assert title == "Cross-validation" and page.count("<tr>") == 2 + 1 + 3 * repeats
    assert "The estimates are from the folds" in page and "&lt;all&gt;" in page and "no group of &#x27;patient&#x27;" in page
    assert cross_validation.lines(content(repeats)) == [
        f"mean ± standard deviation over the folds (95 % interval): accuracy {cross_validation.interval_text(content(repeats)['figures']['accuracy'])}"
    ]


# === Features ===


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 16)).astype("float32") + 5
    points[150] = points[3] + 0.01  # the test has a copy of a training example
    points[7] = points[8] + 0.01  # two training examples of two labels
    points[9] = points[10] + 0.01  # two of one label, in one split
    points[199] = -40 * rng.normal(size=16)
    splits = ["train"] * 140 + ["test"] * 60
    labels = ["a"] * 8 + ["b"] * 192
    return points, splits, labels


@pytest.mark.parametrize("block", [7, 1024])
def test_near_duplicates_are_those_across_splits_or_labels(features, monkeypatch, block):
    monkeypatch.setattr(errors, "BLOCK", block)
    twins = errors.near_duplicates(*features)
    assert {(twin.index, twin.other) for twin in twins} == {(150, 3), (8, 7)}
    assert all(0.99 < twin.cosine <= 1 for twin in twins)


@pytest.mark.parametrize("block", [7, 1024])
def test_outliers_are_far_from_the_training_examples(monkeypatch, block):
    monkeypatch.setattr(errors, "BLOCK", block)
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(4, 16))
    points = centres[np.arange(200) % 4] + 0.05 * rng.normal(size=(200, 16))
    points[199] = rng.normal(size=16)
    train = np.arange(140)
    distances = errors.unusual(points, train)
    assert errors.outliers(distances, train).tolist() == [199]
    unit = (points - points.mean(0)) / np.linalg.norm(points - points.mean(0), axis=1, keepdims=True)
    others = np.linalg.norm(unit[5] - unit[np.delete(train, 5)], axis=1)
    assert distances[5] == pytest.approx(np.sort(others)[9], abs=1e-5)


def test_few_training_examples_have_no_outliers():
    distances = errors.unusual(np.eye(3), np.array([0]))
    assert distances.tolist() == [0, 0, 0] and not len(errors.outliers(distances, np.array([0])))


# === Mistakes and label errors ===


def scores_of(kind, target, n, rng):
    """Returns good scores of examples, as a model gives them that has not seen them."""
    if kind == "several":
        return np.concatenate([scores_of(part.kind, part, n, rng) for part in target.parts], axis=1)
    y = np.asarray(target.encode(values(kind, n)), "float64")
    if kind == "class":
        scores = 0.1 + 0.7 * np.eye(len(target.labels))[y.astype(int)] + 0.05 * rng.random((n, len(target.labels)))
        return scores / scores.sum(1, keepdims=True)
    return 0.2 * rng.random(y.shape) + 0.8 * y - 0.25 * y * rng.random(y.shape) if kind == "labels" else y + 0.3 * rng.normal(size=y.shape)


WRONG = {"class": ("0", "1"), "labels": (("0",), ("1", "2")), "numbers": ((0.0, 10.0), (90.0, 10.0))}
WRONG["several"] = tuple(zip(*WRONG.values(), strict=True))


@pytest.mark.parametrize("task", [task for task in TASKS if task.label_errors], ids=lambda task: task.name)
def test_flipped_labels_are_suspects_and_what_they_were_is_suggested(task):
    pytest.importorskip("cleanlab")
    rng, kind = np.random.default_rng(0), task.target
    target, right = TARGETS[kind], values(kind, 240)
    scores = scores_of(kind, target, 240, rng)
    given = list(right)
    flipped = [i for i in range(240) if right[i] == WRONG[kind][0]][:3]
    flipped = flipped or [i for i in range(240) if right[i][0] == "0"][:3]  # several targets
    for index in flipped:
        given[index] = WRONG[kind][1]
        if kind == "labels":
            scores[index] = np.where(scores[index] > 0.4, 0.99, 0.01)
    targets = {TARGET: target.encode(given)}
    suspects = load_function(task.label_errors)(given, targets, scores, target)
    assert {suspect.index for suspect in suspects[: len(flipped)]} == set(flipped) and len(suspects) <= 2 * len(flipped)
    assert all(0 <= suspect.quality < 0.5 for suspect in suspects)
    if kind in ("class", "labels"):
        assert {suspect.suggested for suspect in suspects[:3]} == {WRONG[kind][0]}
    mistakes = load_function(task.mistakes)(targets, scores, target)
    assert {mistake.index for mistake in mistakes[:3]} == set(flipped) or kind == "several"


def test_the_most_confused_classes_come_first():
    target = Target(kind="class", labels=("cat", "dog", "cow"))
    y, answers = np.array([0, 0, 0, 1, 2, 2]), np.array([1, 1, 0, 1, 2, 0])
    confused = load_function(TASKS.get("classification").confused)({TARGET: y}, np.eye(3)[answers], target)
    assert confused == [("cat", "dog", 2), ("cow", "cat", 1)]


def test_a_label_that_all_examples_have_is_never_a_suspect():
    pytest.importorskip("cleanlab")
    target = Target(kind="labels", labels=("always", "never"))
    given = [("always",)] * 20
    find = load_function(TASKS.get("multilabel").label_errors)
    assert find(given, {TARGET: target.encode(given)}, np.full((20, 2), 0.2), target) == []
