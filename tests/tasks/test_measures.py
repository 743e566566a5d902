"""Figures for any weights of the examples: equal to scikit-learn's, also on resamples and where little is defined."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from tests.targets import TARGETS
from tlkeras.data.target import Target
from tlkeras.registry import load_function
from tlkeras.tasks.measures import BINS, EACH
from tlkeras.tasks.registry import TARGET, TASKS, take

N, LABELS = 120, ("a", "b", "c", "d", "e", "f")
CLASSES, SET = Target(kind="class", labels=LABELS), Target(kind="labels", labels=LABELS, facts={"thresholds": [0.4] * len(LABELS)})
NUMBERS = Target(kind="numbers", labels=("x", "y"), facts={"std": [2.0, 1.0], "interval": [1.5, 0.8]})


def scores(n=N, seed=0):
    """Returns probabilities, some of them equal."""
    logits = np.random.default_rng(seed).normal(size=(n, len(LABELS))).round(1)
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True)


def classification(seed=0):
    rng, p = np.random.default_rng(seed), scores(seed=seed)
    return {TARGET: np.where(rng.random(N) < 0.5, p.argmax(axis=1), rng.integers(0, len(LABELS), N))}, p, CLASSES


def multilabel(seed=0):
    rng, p = np.random.default_rng(seed), np.random.default_rng(seed + 1).random((N, len(LABELS))).round(2)
    return {TARGET: (rng.random(p.shape) < p).astype("float32")}, p, SET


def regression(seed=0):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(N, 2)).round(1) * [2, 1] + [100, -3]
    return {TARGET: true}, (true + rng.normal(size=true.shape)).round(1), NUMBERS


CASES = {"classification": classification, "multilabel": multilabel, "regression": regression}


def measures_of(task, targets, p, target):
    (found,) = load_function(TASKS.get(task).measures)(targets, p, target).values()
    return found


def copies(task, times):
    """Returns the figures of examples, of copies of them that are in a group each, and of copies that count as independent."""
    targets, p, target = CASES[task]()
    groups = np.repeat(np.arange(len(p)), times)
    many = measures_of(task, take(targets, groups), p[groups], target)
    return measures_of(task, targets, p, target), dataclasses.replace(many, groups=groups), many


def computed(measured, weights):
    return {key: values for family in measured.families for key, values in family.compute(weights).items()}


def point(task, *case):
    return {key: values[0] for key, values in computed(measures_of(task, *case), np.ones((1, len(case[1])))).items()}


def one_vs_rest(function, y, p):
    return [function(y[:, index], p[:, index]) for index in range(p.shape[1])]


def ece(confidence, outcome):
    """Returns the calibration error, bin by bin."""
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    parts = [(bins == at) for at in range(BINS)]
    return sum(part.mean() * abs(confidence[part].mean() - outcome[part].mean()) for part in parts if part.any())


def of_classes(targets, p, target):
    y, predicted, count = targets[TARGET], p.argmax(axis=1), p.shape[1]
    true = np.eye(count)[y]
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(y, predicted, labels=range(count), zero_division=0)
    areas, averages = one_vs_rest(metrics.roc_auc_score, true, p), one_vs_rest(metrics.average_precision_score, true, p)
    return {
        "accuracy": metrics.accuracy_score(y, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted),
        "macro_precision": precision.mean(),
        "macro_recall": recall.mean(),
        "macro_f1": metrics.f1_score(y, predicted, average="macro"),
        "top_3_accuracy": metrics.top_k_accuracy_score(y, p + np.linspace(1e-9, 0, count), k=3, labels=range(count)),
        "top_5_accuracy": metrics.top_k_accuracy_score(y, p + np.linspace(1e-9, 0, count), k=5, labels=range(count)),
        "log_loss": metrics.log_loss(y, p, labels=range(count)),
        "brier": metrics.brier_score_loss(y, p, labels=range(count)),
        "ece": ece(p.max(axis=1), predicted == y),
        "classwise_ece": np.mean([ece(p[:, index], true[:, index]) for index in range(count)]),
        "macro_roc_auc": metrics.roc_auc_score(y, p, multi_class="ovr"),
        "macro_average_precision": np.mean(averages),
        f"{EACH}precision": precision,
        f"{EACH}recall": recall,
        f"{EACH}f1": f1,
        f"{EACH}roc_auc": areas,
        f"{EACH}average_precision": averages,
    }


def of_labels(targets, p, target):
    y, predicted = targets[TARGET] > 0, p.astype("float32") >= np.float32(0.4)
    micro = metrics.precision_recall_fscore_support(y, predicted, average="micro", zero_division=0)
    each = metrics.precision_recall_fscore_support(y, predicted, zero_division=0)
    averages, areas = metrics.average_precision_score(y, p, average=None), metrics.roc_auc_score(y, p, average=None)
    errors = [ece(p[:, index], y[:, index]) for index in range(p.shape[1])]
    return {
        **dict(zip(("micro_precision", "micro_recall", "micro_f1"), micro, strict=False)),
        **{f"macro_{name}": values.mean() for name, values in zip(("precision", "recall", "f1"), each, strict=False)},
        "hamming_loss": metrics.hamming_loss(y, predicted),
        "exact_match": metrics.accuracy_score(y, predicted),
        "log_loss": np.mean([metrics.log_loss(y[:, at], np.clip(p[:, at], 1e-7, 1 - 1e-7)) for at in range(p.shape[1])]),
        "brier": np.mean([metrics.brier_score_loss(y[:, at], p[:, at]) for at in range(p.shape[1])]),
        "mean_ece": np.mean(errors),
        "mean_average_precision": averages.mean(),
        "macro_roc_auc": areas.mean(),
        **{f"{EACH}{name}": values for name, values in zip(("precision", "recall", "f1"), each, strict=False)},
        f"{EACH}ece": errors,
        f"{EACH}average_precision": averages,
        f"{EACH}roc_auc": areas,
    }


def of_numbers(targets, p, target):
    y = targets[TARGET]
    each = {
        "mae": metrics.mean_absolute_error(y, p, multioutput="raw_values"),
        "rmse": metrics.root_mean_squared_error(y, p, multioutput="raw_values"),
        "r2": metrics.r2_score(y, p, multioutput="raw_values"),
        "pearson": np.array([stats.pearsonr(y[:, at], p[:, at]).statistic for at in range(2)]),
        "spearman": np.array([stats.spearmanr(y[:, at], p[:, at]).statistic for at in range(2)]),
        "inside": (np.abs(y - p) <= [1.5, 0.8]).mean(axis=0),
    }
    overall = {name: values.mean() for name, values in each.items()}
    return {**overall, "relative_mae": (each["mae"] / [2.0, 1.0]).mean(), **{f"{EACH}{name}": values for name, values in each.items()}}


ORACLES = {"classification": of_classes, "multilabel": of_labels, "regression": of_numbers}


@pytest.mark.parametrize("task", CASES)
def test_every_figure_equals_that_of_scikit_learn_or_scipy(task):
    targets, p, target = CASES[task]()
    expected, found = ORACLES[task](targets, p, target), point(task, targets, p, target)
    assert set(found) == set(expected) == {figure.key for figure in measures_of(task, targets, p, target).figures}
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-9), key


@pytest.mark.parametrize("task", CASES)
def test_weights_are_how_often_an_example_stands_in_the_sample(task):
    targets, p, target = CASES[task]()
    weights = np.random.default_rng(3).multinomial(N, np.full(N, 1 / N), size=4)
    found = computed(measures_of(task, targets, p, target), weights.astype("float32"))
    for row, weight in enumerate(weights):
        index = np.repeat(np.arange(N), weight)
        # What stands for the whole sample, such as standard deviations, is a fact of the target.
        expected = point(task, take(targets, index), p[index], target)
        for key, values in expected.items():
            assert found[key][row] == pytest.approx(values, rel=1e-4, abs=1e-5, nan_ok=True), key


def test_targets_of_several_kinds_have_the_figures_of_each():
    target = TARGETS["several"]
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.integers(0, 3, (20, 1)), rng.integers(0, 2, (20, 3)), rng.normal(size=(20, 2))], axis=1).astype("float32")
    found = load_function(TASKS.get("several").measures)({TARGET: y}, rng.random((20, 8)), target)
    assert list(found) == [part.name for part in target.parts]
    assert [part.headline for part in found.values()] == ["accuracy", "micro_f1", "relative_mae"]


@pytest.mark.parametrize("task", CASES)
def test_a_single_example_and_one_value_give_undefined_figures_and_no_warning(task):
    targets, p, target = CASES[task]()
    for index in (np.zeros(1, int), np.zeros(5, int)):
        found = point(task, take(targets, index), p[index], target)
        undefined = {key for key, values in found.items() if not np.isfinite(values).any()}
        assert undefined == {"classification": {"macro_roc_auc", f"{EACH}roc_auc"}, "multilabel": {"macro_roc_auc", f"{EACH}roc_auc"}}.get(
            task, {f"{each}{name}" for each in ("", EACH) for name in ("r2", "pearson", "spearman")}
        )


def test_a_class_that_no_example_has_is_left_out_of_the_means():
    targets, p, target = classification()
    index = np.flatnonzero((targets[TARGET] != 2) & (p.argmax(axis=1) != 2))
    found, y = point("classification", take(targets, index), p[index], target), targets[TARGET][index]
    assert np.isnan([found[f"{EACH}{name}"][2] for name in ("precision", "recall", "f1", "roc_auc", "average_precision")]).all()
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(y, p[index].argmax(axis=1), average="macro"))
    assert found["macro_roc_auc"] == pytest.approx(np.mean([metrics.roc_auc_score(y == k, p[index, k]) for k in (0, 1, 3, 4, 5)]))


def test_two_classes_have_one_brier_score_and_no_top_k():
    p = scores()[:, :2]
    p /= p.sum(axis=1, keepdims=True)
    y = np.arange(N) % 2
    found = point("classification", {TARGET: y}, p, Target(kind="class", labels=("no", "yes")))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(y, p[:, 1]))
    assert not [key for key in found if key.startswith("top_")]


def test_a_single_number_has_no_figures_of_each():
    found = point("regression", {TARGET: np.arange(6.0)}, np.arange(6.0)[:, None] + 1, Target(kind="numbers", labels=("x",)))
    measured = measures_of("regression", {TARGET: np.arange(6.0)}, np.arange(6.0)[:, None] + 1, Target(kind="numbers", labels=("x",)))
    assert [figure.name for figure in measured.figures] == ["mae", "rmse", "r2", "pearson", "spearman"]
    assert found["mae"] == 1.0 and measured.headline == "mae"
