"""Classification: what its figures say."""

import numpy as np
import pytest

from tests.targets import classes
from tlkeras.tasks.classification import interval, judge, score
from tlkeras.tasks.registry import TARGET, encode

HAM = np.array([0] * 7 + [1])


def test_class_ids_are_indices_into_the_label_map():
    assert encode(["b", "a", "b"], classes("a", "b"))[TARGET].tolist() == [1, 0, 1]


def test_the_headline_stands_beside_the_majority_baseline():
    figures = score({TARGET: HAM}, np.eye(2)[HAM], classes("ham", "spam"))
    assert figures.headline("test") == "test: accuracy 1.000; always predicting 'ham' would reach 0.875"


def test_a_model_that_always_answers_one_class_is_named_as_such():
    figures = score({TARGET: HAM}, np.eye(3)[np.zeros(8, int)], classes("ham", "spam", "absent"))
    assert figures.majority == {"label": "ham", "accuracy": 0.875} and figures.never_predicted == ["spam"]
    assert figures.headline("test").endswith("would reach 0.875: the model is no better than that; never predicted: 'spam'")


def test_without_examples_there_is_no_headline():
    figures = score({TARGET: np.zeros(0, int)}, np.zeros((0, 2)), classes("a", "b"))
    assert figures.majority is None and figures.headline("val") == ""


@pytest.mark.parametrize(
    ("n", "accuracy", "low", "high"), [(10, 1.0, 0.7225, 1.0), (100, 0.5, 0.4038, 0.5962), (153, 0.9412, 0.8919, 0.9688)]
)
def test_the_interval_is_wilson_s(n, accuracy, low, high):
    got = interval(n, accuracy)
    np.testing.assert_allclose(got, (low, high), atol=2e-4)


def test_a_drop_is_measured_by_the_targets_where_they_are_known_and_by_agreement_where_not():
    reference, scores = np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 1, 0]]
    judged = judge(scores, reference, {TARGET: np.array([0, 0, 1, 0])})
    assert (judged.agreement, judged.accuracy, judged.drop) == (0.5, 0.75, 0.0)
    blind = judge(scores, reference, None)
    assert (blind.agreement, blind.accuracy, blind.drop) == (0.5, None, 0.5)


def test_scores_of_width_one_are_not_judged_by_their_largest():
    scores, reference = np.array([[0.9], [0.1]]), np.array([[0.1], [0.9]])
    assert judge(scores, reference, None) is None and judge(scores, reference, {TARGET: np.array([0, 0])}) is None
