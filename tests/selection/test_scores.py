"""LogME and the H-score are what their definitions say, and H-score shrinks as Ledoit and Wolf do."""

import numpy as np
import pytest
from scipy import optimize, stats

from tests.targets import TARGETS, values
from tlkeras.selection import scores


def regression(count, width, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, width)) * rng.uniform(0.1, 3, width)
    return x, x @ rng.normal(size=width) + rng.normal(size=count)


def largest_evidence(x, y):
    """Returns the largest log density of y under the model's marginal Gaussian, per example, found by a general optimiser."""

    def negative(logarithms):
        alpha, beta = np.exp(logarithms)
        return -stats.multivariate_normal.logpdf(y, np.zeros(len(y)), np.eye(len(y)) / beta + x @ x.T / alpha)

    starts = [(0.0, 0.0), (2.0, -1.0), (-2.0, 1.0)]
    found = [optimize.minimize(negative, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-10}) for start in starts]
    return -min(result.fun for result in found) / len(y)


@pytest.mark.parametrize(("count", "width"), [(40, 6), (60, 1), (25, 24)])
def test_logme_is_the_largest_evidence_of_the_marginal_gaussian(count, width):
    x, y = regression(count, width)
    assert scores.logme(x, y[:, None]) == pytest.approx(largest_evidence(x, y), abs=1e-6)


def test_logme_of_more_features_than_examples_is_that_of_the_same_features_with_zeros_added_to_the_evidence_of_the_prior():
    x, y = regression(30, 5)
    wide = np.concatenate([x, np.zeros((30, 50))], axis=1)  # weights of features that are always 0 integrate out
    assert scores.logme(wide, y[:, None]) == pytest.approx(scores.logme(x, y[:, None]), abs=1e-6)


def test_logme_is_the_mean_over_columns_and_ignores_classes_without_examples():
    x, y = regression(30, 5)
    columns = np.stack([y, np.square(y), np.zeros(30)], axis=1)
    each = [scores.logme(x, columns[:, [index]]) for index in range(2)]
    assert scores.logme(x, columns) == pytest.approx(np.mean(each))


def test_logme_of_numbers_that_features_explain_without_error_is_finite_and_high():
    x, _ = regression(30, 5)
    exact, noisy = x[:, :1], x[:, :1] + np.random.default_rng(1).normal(size=(30, 1))
    assert np.isfinite(scores.logme(x, exact)) and scores.logme(x, exact) > scores.logme(x, noisy)


@pytest.mark.parametrize("groups", [2, 5])
def test_the_h_score_of_one_hot_classes_is_their_number_minus_1(groups):
    y = np.arange(40) % groups
    assert scores.h_score(np.eye(groups)[y], y, shrink=False) == pytest.approx(groups - 1)


def test_the_h_score_is_the_trace_of_its_definition_with_ledoit_and_wolfs_shrinkage():
    from sklearn.covariance import LedoitWolf

    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(60, 8)) + np.eye(3)[y] @ rng.normal(size=(3, 8))
    centred = x - x.mean(0)
    means = np.stack([centred[y == label].mean(0) for label in y])  # of the group of each example
    between = means.T @ means / 60
    plain = np.trace(np.linalg.inv(centred.T @ centred / 60) @ between)
    fitted = LedoitWolf().fit(x)
    shrunk = np.trace(np.linalg.inv(fitted.covariance_) @ between) * (1 - fitted.shrinkage_)
    assert scores.h_score(x, y, shrink=False) == pytest.approx(plain)
    assert scores.h_score(x, y) == pytest.approx(shrunk) and shrunk < plain


def test_the_shrunk_h_score_of_wide_noise_is_near_0_where_the_plain_one_is_at_its_largest():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 200)), np.arange(40) % 4
    assert scores.h_score(x, y, shrink=False) == pytest.approx(3) and scores.h_score(x, y) < 0.6


@pytest.mark.parametrize("kind", list(TARGETS))
def test_every_kind_of_target_has_columns_for_logme_and_groups_for_the_h_score(kind):
    target, known = TARGETS[kind], values(kind, 24)
    columns, groups = scores.responses(target, known), list(scores.partitions(target, known))
    assert columns.shape == (24, len(target.labels)) and np.isfinite(columns).all()
    assert all(len(group) == 24 and len(np.unique(group)) > 1 for group in groups)
    assert bool(groups) == (kind != "numbers")
    assert scores.mean_h_score(columns, groups) is None or scores.mean_h_score(columns, groups) > 0
