"""Temperatures: those of scikit-learn, only where they help, and never another answer."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from tlkeras.tasks import temperature


def drawn(n, classes=4, sharpness=1.0, seed=0):
    """Returns logits and classes that are drawn from their softmax: logits that are right, times how over-confident they are to be."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * 1.5
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return logits * sharpness, y


def drawn_labels(n, sharpness, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, len(sharpness))) * 1.5
    return logits * np.array(sharpness), (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype("float32")


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("sharpness", [0.5, 1.7, 4.0])
def test_the_temperature_of_classes_is_that_of_scikit_learn(classes, sharpness):
    logits, y = drawn(700, classes, sharpness)
    given = logits if classes > 2 else (logits[:, 1] - logits[:, 0])[:, None]
    linear = LogisticRegression().fit(given[:100], y[:100])
    linear.coef_, linear.intercept_ = np.eye(given.shape[1]), np.zeros(given.shape[1])
    fitted = CalibratedClassifierCV(FrozenEstimator(linear), method="temperature").fit(given, y)
    scaled = logits / temperature.of_classes(logits, y)
    ours = np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours, fitted.predict_proba(given), atol=2e-4)


def test_the_temperature_has_the_lowest_loss():
    logits, y = drawn(300, sharpness=3.0)
    best = temperature.of_classes(logits, y)
    losses = [temperature.losses_of_classes(logits / t, y).mean() for t in (best, best * 1.01, best / 1.01)]
    assert losses[0] == min(losses) and 2.3 < best < 3.9


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 5.0])
def test_the_best_class_and_the_decisions_stay(sharpness):
    logits, y = drawn(400, sharpness=sharpness)
    scaled = logits / np.array(temperature.classes(logits, y).temperatures)
    assert (scaled.argmax(axis=1) == logits.argmax(axis=1)).all()
    logits, y = drawn_labels(400, (sharpness, 2.0, 0.5))
    assert ((logits / np.array(temperature.labels(logits, y).temperatures) > 0) == (logits > 0)).all()


def test_with_few_examples_nothing_is_changed_and_the_number_is_stated():
    logits, y = drawn(temperature.FEWEST - 1, sharpness=9.0)
    tempering = temperature.classes(logits, y)
    assert not tempering.changes and tempering.note == f"49 validation examples, and a temperature needs {temperature.FEWEST}"
    assert not temperature.labels(*drawn_labels(20, (5.0,))).changes


def test_a_model_that_is_right_about_everything_is_not_made_certain_of_everything():
    y = np.arange(100) % 3
    logits = 2.0 * np.eye(3)[y] + np.random.default_rng(0).normal(size=(100, 3)) * 0.1
    assert temperature.of_classes(logits, y) < 0.2
    tempering = temperature.classes(logits, y)
    assert not tempering.changes and "only 0 decisions" in tempering.note


def test_scores_that_are_calibrated_already_gain_nothing_that_matters():
    changed = [temperature.classes(*drawn(200, seed=seed)) for seed in range(20)]
    assert all(0.7 < one.temperatures[0] < 1.4 for one in changed) and not all(one.changes for one in changed)
    assert all("does not lower the loss" in one.note for one in changed if not one.changes)


def test_labels_that_differ_have_temperatures_of_their_own_and_those_that_do_not_share_one():
    apart = temperature.labels(*drawn_labels(2000, (1.0, 6.0)))
    assert "of each label" in apart.note and apart.temperatures[1] / apart.temperatures[0] > 3
    alike = temperature.labels(*drawn_labels(400, (3.0,) * 8))
    assert "of all labels" in alike.note and len(set(alike.temperatures)) == 1 and 2.3 < alike.temperatures[0] < 3.9


def test_a_label_that_few_have_shares_the_temperature_of_all():
    logits, y = drawn_labels(1000, (1.0, 6.0, 1.0))
    y[:, 2] = 0
    y[:5, 2] = 1
    each = temperature._each(logits, y > 0)
    assert each[2] == pytest.approx(temperature.of_labels(logits, y > 0)) and each[1] != each[2]


def test_logits_of_one_sign_give_a_finite_temperature():
    logits, y = np.tile([[40.0, -40.0]], (100, 1)), np.r_[np.zeros(60, int), np.ones(40, int)]
    assert temperature.LOWEST <= temperature.of_classes(logits, y) <= temperature.HIGHEST * 1.0001
    assert temperature.classes(np.zeros((80, 2)), np.arange(80) % 2).temperatures == (1.0, 1.0)
