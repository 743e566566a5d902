"""Prediction sets: those of MAPIE, and as often right as was asked for."""

import math

import numpy as np
import pytest
from scipy import stats

from tests.targets import classes as classes_of
from tests.tasks.test_temperature import drawn
from tlkeras.data.target import Target
from tlkeras.tasks import classification, conformal, multilabel, regression
from tlkeras.tasks.certainty import OfLabels, OfNumbers
from tlkeras.tasks.registry import TARGET


def scored(n, seed=0, classes=5):
    """Returns scores that are too certain, and the classes."""
    logits, y = drawn(n, classes, sharpness=2.0, seed=seed)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (p / p.sum(axis=1, keepdims=True)).astype("float32"), y


class Scores:
    """An estimator whose examples are their own scores."""

    def __init__(self, classes=5):
        self.classes_ = np.arange(classes)

    def fit(self, x, y):
        return self

    def predict(self, x):
        return x.argmax(axis=1)

    def predict_proba(self, x):
        return x

    def __sklearn_is_fitted__(self):
        return True


class NotRandom(np.random.RandomState):
    """MAPIE's aps takes a random part of the score of the true class off; ours, which are deterministic, take nothing off."""

    def uniform(self, *args, size=None, **kwargs):
        return np.zeros(size)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("method", conformal.METHODS)
def test_sets_of_classes_are_those_of_mapie_and_the_best_class(method, alpha):
    from mapie.classification import SplitConformalClassifier

    scores, y = scored(400)
    new, _ = scored(200, seed=1)
    theirs = SplitConformalClassifier(Scores(), confidence_level=1 - alpha, conformity_score=method, prefit=True, random_state=NotRandom())
    settings = {} if method == "lac" else {"conformity_score_params": {"include_last_label": False}}
    _, sets = theirs.conformalize(scores, y).predict_set(new, **settings)
    ours = conformal.classes_in(new, conformal.fit_classes(scores, y, alpha, method))
    best = np.eye(5, dtype=bool)[new.argmax(axis=1)]
    np.testing.assert_array_equal(ours, sets[:, :, 0] | best)


@pytest.mark.parametrize("alpha", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("method", conformal.METHODS)
def test_sets_contain_the_true_class_as_often_as_was_asked_for(method, alpha):
    inside = []
    for seed in range(40):
        (scores, y), (new, true) = scored(100, seed=seed), scored(100, seed=seed + 1000)
        sets = conformal.classes_in(new, conformal.fit_classes(scores, y, alpha, method))
        assert sets.any(axis=1).all()
        inside.append(sets[np.arange(100), true].mean())
    # Of 40 draws of validation and of test examples: the sd of one coverage is that of a beta-binomial.
    n, k = 100, math.ceil(101 * (1 - alpha))
    sd = stats.betabinom(100, k, n + 1 - k).std() / 100 / math.sqrt(40)
    assert np.mean(inside) >= 1 - alpha - 4 * sd


def test_the_sets_of_lac_are_not_larger_than_they_need_to_be():
    (scores, y), (new, true) = scored(20000), scored(20000, seed=1)
    sets = conformal.classes_in(new, conformal.fit_classes(scores, y, 0.1, "lac"))
    inside = int(sets[np.arange(len(true)), true].sum())
    low, high = stats.binom.interval(0.9999, len(true), 0.9)
    assert low - 60 <= inside <= high + 60  # the threshold is fitted, too


@pytest.mark.parametrize(("alpha", "needed"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.01, 99), (0.3, 3)])
def test_an_error_rate_needs_so_many_examples(alpha, needed):
    assert conformal.needed(alpha) == needed
    assert conformal.rank(needed, alpha) <= needed and conformal.rank(needed - 1, alpha) > needed - 1


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_of_sets_of_labels_no_more_are_missed_than_was_asked_for(alpha):
    rng, missed, sizes = np.random.default_rng(0), [], []

    def examples(n):
        p = rng.beta(0.5, 1.0, size=(n, 6))
        return p.astype("float32"), (rng.random(p.shape) < p).astype("float32")

    target = Target(kind="labels", labels=tuple("abcdef"))
    for _ in range(60):
        (scores, y), (new, true) = examples(80), examples(200)
        own = OfLabels().conformal({TARGET: y}, scores, target, alpha, "lac")
        covered = OfLabels().covered({TARGET: true}, new, own)["label"]
        missed.append(1 - covered["covered"])
        sizes.append(covered["size"])
    assert alpha - 0.05 < np.mean(missed) < alpha + 0.01 and np.mean(sizes) < 6


def test_the_risk_of_the_threshold_of_labels_is_the_largest_that_is_allowed():
    rng = np.random.default_rng(0)
    y, scores = (rng.random((99, 4)) < 0.4).astype("float32"), rng.random((99, 4)).astype("float32")
    fact = conformal.fit_labels(scores, y, 0.2)

    def risk(threshold):
        share = ((scores < threshold) & (y > 0)).sum(axis=1) / np.maximum(y.sum(axis=1), 1)
        return (share.sum() + 1) / 100

    higher = scores[(scores > fact["threshold"]) & (y > 0)].min()
    assert risk(fact["threshold"]) <= 0.2 < risk(np.nextafter(higher, np.float32(1)))


def test_intervals_of_numbers_have_the_coverage_that_was_asked_for():
    rng, target = np.random.default_rng(0), Target(kind="numbers", labels=("a", "b"))
    inside = []
    for _ in range(60):
        scores, new = rng.normal(size=(60, 2)), rng.normal(size=(200, 2))
        y, true = (values + rng.standard_t(3, size=values.shape) * [1, 5] for values in (scores, new))
        own = OfNumbers().conformal({TARGET: y}, scores, target, 0.2, "lac")
        inside.append(OfNumbers().covered({TARGET: true}, new, own)["label"]["covered"])
    assert own.facts["interval_coverage"] == 0.8 and np.mean(inside) == pytest.approx(0.8 + 0.2 / 61, abs=0.015)


def test_answers_list_their_set_best_first():
    target = classes_of("a", "b", "c").with_facts(conformal={"method": "lac", "alpha": 0.1, "threshold": 0.3, "n": 9})
    answer = classification.answer(np.array([0.35, 0.05, 0.6], "float32"), target, None)
    assert answer["prediction_set"] == ["c", "a"] and answer["label"] == "c"
    sets = Target(kind="labels", labels=("a", "b"), facts={"conformal": {"threshold": 0.2}})
    assert multilabel.answer(np.array([0.3, 0.1], "float32"), sets, None)["prediction_set"] == ["a"]
    assert "prediction_set" not in classification.answer(np.array([0.4, 0.6]), classes_of("a", "b"), None)
    numbers = Target(kind="numbers", labels=("x",), facts={"interval": [2.0]})
    assert regression.answer(np.array([1.0]), numbers, None)["intervals"] == {"x": [-1.0, 3.0]}
