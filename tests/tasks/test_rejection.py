"""Known examples: as many of new ones as was asked for, and not those of other data."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.targets import TARGETS, classes
from tlkeras.data.target import Target
from tlkeras.tasks import rejection
from tlkeras.tasks.certainty import OfSeveral, certainty_of, known_of
from tlkeras.tasks.registry import TASKS, target_of

CLASSES = TASKS.get("classification")


def directions(n, seed, centre=0.0, width=16):
    """Returns features that point the same way but for noise."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, width)) * 0.3 + np.roll(np.eye(width)[0], int(centre)) * 3).astype("float32")


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_the_share_of_new_examples_that_are_known_is_the_coverage(coverage):
    shares = []
    for seed in range(40):
        values = np.random.default_rng(seed).normal(size=200).astype("float32")
        least = rejection.threshold(values[:100], coverage)
        shares.append((values[100:] >= least).mean())
    assert coverage - 0.01 < np.mean(shares) < coverage + 0.025


@pytest.mark.parametrize(("coverage", "needed"), [(0.95, 19), (0.9, 9), (0.5, 1), (0.99, 99)])
def test_a_coverage_needs_so_many_examples(coverage, needed):
    assert rejection.needed(coverage) == needed
    values = np.arange(needed, dtype="float32")
    assert rejection.threshold(values, coverage) is not None and rejection.threshold(values[1:], coverage) is None
    assert (values >= rejection.threshold(values, coverage)).all()


def test_examples_of_other_data_are_not_known_by_distance():
    fact = rejection.fit_distance(directions(50, 0), directions(100, 1), 0.95)
    target = classes("a", "b").with_facts(rejection=fact)
    tell = known_of(CLASSES, target)
    scores = np.full((100, 2), 0.5, "float32")
    assert np.asarray(tell(scores, directions(100, 2))).mean() > 0.85
    assert np.asarray(tell(scores, directions(100, 3, centre=8))).mean() < 0.05
    assert np.array_equal(tell(scores, 7 * directions(100, 2)), tell(scores, directions(100, 2)))  # only directions count


def test_a_graph_and_numpy_tell_the_same():
    target = classes("a", "b").with_facts(rejection=rejection.fit_distance(directions(50, 0), directions(100, 1), 0.8))
    features, scores = directions(60, 4), np.zeros((60, 2), "float32")
    tell = known_of(CLASSES, target)
    graph = tf.function(tell)(tf.constant(scores), tf.constant(features))
    assert graph.dtype == tf.bool and np.array_equal(graph, tell(scores, features)) and 0 < np.mean(graph) < 1


def test_uncertain_examples_are_not_known_by_probability():
    best = np.random.default_rng(0).uniform(0.5, 1, 99).astype("float32")
    target = classes("a", "b").with_facts(rejection=rejection.fit_probability(best, 0.9))
    known = np.asarray(known_of(CLASSES, target)(np.stack([best, 1 - best], axis=1)))
    assert known.sum() == 90 and known[best.argmax()] and not known[best.argmin()]


def test_of_several_targets_the_least_certain_answer_counts_and_numbers_do_not():
    target = Target.several([TARGETS["class"], TARGETS["numbers"], TARGETS["labels"]])
    scores = np.array([[0.2, 0.7, 0.1, 9.0, -9.0, 0.1, 0.9, 0.3]], "float32")
    assert np.asarray(OfSeveral().confidence(scores, target)) == pytest.approx([0.7])
    assert OfSeveral().confidence(scores[:, 3:5], Target.several([TARGETS["numbers"]])) is None
    assert certainty_of(TASKS.get("regression")).confidence(scores, TARGETS["numbers"]) is None


def test_the_reference_stands_in_the_manifest_and_not_in_artifacts():
    target = classes("a", "b").with_facts(rejection=rejection.fit_distance(directions(50, 0), directions(100, 1), 0.95))
    lean, further = rejection.without_reference(target)
    assert set(lean.facts["rejection"]) == {"method", "coverage", "n", "threshold"} and len(json.dumps(lean.to_dict())) < 300
    assert known_of(CLASSES, lean) is None  # it cannot be told without the reference
    metadata = {"target": json.dumps(lean.to_dict()), **further}
    assert target_of({"metadata": metadata, "labels": ["a", "b"]}) == target
    assert rejection.without_reference(classes("a")) == (classes("a"), {})


def test_the_reference_is_bounded_and_has_every_class():
    y = np.r_[np.zeros(5000, "int32"), np.ones(3, "int32")]
    rows = rejection.chosen(y, 384, seed=0)
    assert len(rows) == 128 and set(y[rows]) == {0, 1} and (y[rows] == 1).sum() == 3
    assert len(rejection.chosen(y, 4096, seed=0)) == 32 and len(rejection.chosen(y[:4], 8, seed=0)) == 4
    assert len(rejection.chosen(np.zeros((500, 3), "float32"), 100, seed=0)) == 128
