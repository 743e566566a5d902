"""Conformal prediction: sets of answers that contain the true one as often as was asked for, whatever the model.

They hold for new examples that are exchangeable with the validation examples, on average over both: Angelopoulos & Bates 2023, Conformal
Prediction: A Gentle Introduction, https://arxiv.org/abs/2107.07511. The validation examples also stop the training, choose temperatures and
thresholds; this makes the sets slightly too small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tlkeras.data.target import Target
from tlkeras.errors import ConfigError

CONFORMAL = "conformal"  # the fact of a target
METHODS = ("lac", "aps")  # of classes


def needed(alpha: float) -> int:
    """Returns how many validation examples an error rate needs: with fewer, only the set of everything would keep it."""
    return math.ceil(1 / alpha - 1e-9) - 1


def check_enough(alpha: float, examples: int, *, at_most: bool = False) -> None:
    """Checks that there are enough validation examples for an error rate.

    Args:
        alpha: error rate.
        examples: validation examples.
        at_most: whether there may be fewer.

    Raises:
        ConfigError: naming how many are needed.
    """
    if examples < needed(alpha):
        raise ConfigError(
            f"conformal is {alpha:g}, which needs {needed(alpha):,} validation examples, and there are {'at most ' * at_most}{examples:,}; "
            "use a larger --val-split or a larger error rate"
        )


def rank(n: int, alpha: float) -> int:
    """Returns which of n sorted values, from 1, is the finite-sample quantile: the ceil((n + 1) (1 - alpha))-th.

    It is greater than n where n is below `needed(alpha)`.
    """
    return math.ceil((n + 1) * (1 - alpha) - 1e-9)


def quantile(values: np.ndarray, alpha: float) -> np.ndarray:
    """Returns the finite-sample quantile of values (n, …) along the first axis; n is `needed(alpha)` or more."""
    return np.asarray(np.sort(values, axis=0)[rank(len(values), alpha) - 1])


# === Classes ===


def fit_classes(scores: np.ndarray, y: np.ndarray, alpha: float, method: str) -> dict[str, Any]:
    """Returns the fact of a target of classes.

    Args:
        scores: (n, classes) of the validation examples, rows sum to 1; n is `needed(alpha)` or more.
        y: class ids, int (n,).
        alpha: share of new examples whose set may lack the true class.
        method: `lac` (Sadinle, Lei & Wasserman 2019, doi:10.1080/01621459.2017.1395341): every class whose score reaches a threshold, the
            smallest sets on average. `aps` (Romano, Sesia & Candès 2020, https://arxiv.org/abs/2006.02544), without randomisation: the best
            classes until their scores add up to a threshold, larger sets for harder examples.
    """
    own = np.asarray(scores, "float64")[np.arange(len(y)), y]
    if method == METHODS[0]:
        threshold = -float(quantile(-own, alpha))
    else:
        threshold = float(quantile(np.where(scores >= own[:, None], scores, 0.0).sum(axis=1, dtype="float64"), alpha))
    return {"method": method, "alpha": alpha, "threshold": threshold, "n": len(y)}


def classes_in(scores: np.ndarray, fact: Mapping[str, Any]) -> np.ndarray:
    """Returns which classes are in the sets, bool (n, classes); the best class always is, so no set is empty."""
    scores = np.asarray(scores, "float64")
    best = scores >= scores.max(axis=1, keepdims=True)
    if fact["method"] == METHODS[0]:
        return best | (scores >= fact["threshold"] - ROUNDING)
    order = np.argsort(-scores, axis=1, kind="stable")
    before = np.zeros_like(scores)
    ranked = np.take_along_axis(scores, order, axis=1)
    np.put_along_axis(before, order, np.cumsum(ranked, axis=1) - ranked, axis=1)  # scores of the classes that are better
    return best | (before + scores <= fact["threshold"] + ROUNDING)


ROUNDING = 1e-6  # scores of the same example in two runtimes differ by less


# === Sets of labels ===


def fit_labels(scores: np.ndarray, y: np.ndarray, alpha: float) -> dict[str, Any]:
    """Returns the fact of a target of sets: the threshold at which no more than a share alpha of an example's labels are missed on average.

    Conformal risk control (Angelopoulos et al. 2024, https://arxiv.org/abs/2208.02814): the largest threshold whose mean share of missed
    labels, with one further example that misses all, is at most alpha.

    Args:
        scores: (n, labels) of the validation examples, 0 to 1; n is `needed(alpha)` or more.
        y: 0 or 1, (n, labels).
        alpha: see above.
    """
    holds, n = np.asarray(y) > 0, len(y)
    shares = holds / np.maximum(holds.sum(axis=1, keepdims=True), 1)  # what each label is of the labels of its example
    own, weights = np.asarray(scores, "float64")[holds], shares[holds]
    order = np.argsort(own, kind="stable")
    # A threshold that is the score of one of these labels misses those with lower scores.
    own, missed = own[order], np.cumsum(weights[order]) - weights[order]
    first = np.searchsorted(own, own, side="left")  # of equal scores, none is missed
    allowed = own[missed[first] + 1 <= alpha * (n + 1) + 1e-9]
    return {"method": "risk", "alpha": alpha, "threshold": float(allowed.max(initial=0.0)), "n": n}


def labels_in(scores: np.ndarray, fact: Mapping[str, Any]) -> np.ndarray:
    """Returns which labels are in the sets, bool of the shape of the scores."""
    return np.asarray(scores, "float64") >= fact["threshold"] - ROUNDING


def answer_set(scores: np.ndarray, target: Target, entries_in: Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]) -> dict[str, Any]:
    """Returns the field `prediction_set` of an answer, best first; nothing where no error rate was asked for.

    Args:
        scores: of one example, (width,).
        target: with the label map.
        entries_in: `classes_in` or `labels_in`.
    """
    if CONFORMAL not in target.facts:
        return {}
    inside = entries_in(scores[None], target.facts[CONFORMAL])[0]
    return {"prediction_set": [target.labels[index] for index in np.argsort(-scores, kind="stable") if inside[index]]}
