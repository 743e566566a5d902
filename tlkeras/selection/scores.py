"""Scores of features that need no training: LogME and the H-score. They stand beside the probe, which decides.

Deshpande et al. 2021 (https://arxiv.org/abs/2102.00084) and Agostinelli et al. 2022 (https://arxiv.org/abs/2204.01403) compare such scores:
none of them is best for every data set. `benchmarks/recommend.py` shows what they are worth on ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tlkeras.data.target import Target, by_part

TOLERANCE = 1e-8  # relative change of the ratio of the two precisions that ends the iteration of LogME
MOST_STEPS = 1000  # of it; two or three are usual
SMALLEST = 1e-12  # of a squared singular value, relative to the largest one: below, a direction is not one of the features


# === What is to be predicted, as the scores need it ===


def responses(target: Target, values: Sequence[Any]) -> np.ndarray:
    """Returns what is to be predicted as columns, float64 (n, columns): one for each class, label or number, of all parts of a target.

    Args:
        target: with its label map.
        values: what is to be predicted for each example.
    """
    if target.parts:
        return np.concatenate([responses(part, own) for part, own in zip(target.parts, by_part(target, values), strict=True)], axis=1)
    encoded = np.asarray(target.encode(values))
    return np.eye(len(target.labels))[encoded] if encoded.ndim == 1 else encoded.astype("float64")


def partitions(target: Target, values: Sequence[Any]) -> Iterator[np.ndarray]:
    """Yields the ways in which a target divides examples into groups, each int (n,): by class, or by having a label or not; none for numbers."""
    if target.parts:
        for part, own in zip(target.parts, by_part(target, values), strict=True):
            yield from partitions(part, own)
        return
    strata = target.strata(values)
    for column in [strata] if strata.ndim == 1 else strata.T:
        if len(np.unique(column)) > 1:
            yield column


# === LogME ===


def logme(features: np.ndarray, columns: np.ndarray) -> float:
    """Returns LogME: the logarithm of the maximum evidence of a Bayesian linear model, for one example, the mean over columns.

    You et al. 2021, https://arxiv.org/abs/2102.11005; the iteration is MacKay's, of which You et al. 2022
    (https://jmlr.org/papers/v23/21-1251.html) show that it converges.

    Args:
        features: float (n, width), as they are: neither centred nor scaled.
        columns: float (n, columns), see `responses`; those of a class without examples do not count.

    Returns:
        In nats; larger is better. Only scores of the same examples may be compared.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 5))
        >>> logme(x, x[:, :1] + x[:, 1:2]) > logme(x[:, 2:], x[:, :1] + x[:, 1:2])
        True
    """
    x = np.asarray(features, "float64")
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    squares = np.square(singular)
    within = squares > SMALLEST * squares.max(initial=0.0)
    left, squares = left[:, within], squares[within]
    y = np.asarray(columns, "float64")
    return float(np.mean([_evidence(column, left.T @ column, squares, x.shape) for column in y.T if column.any()]))


def _evidence(y: np.ndarray, inside: np.ndarray, squares: np.ndarray, shape: tuple[int, int]) -> float:
    """Returns the largest log evidence of one column, divided by the number of examples.

    Args:
        y: (n,).
        inside: (rank,), the column in the directions of the features.
        squares: (rank,), squared singular values of the features.
        shape: of the features.
    """
    count, width = shape
    outside = max(float(y @ y - inside @ inside), 0.0)  # what no weights can explain
    floor = SMALLEST * float(y @ y)  # of a fit without any error, whose evidence would have no bound
    alpha = beta = 1.0  # precisions of the weights and of the noise
    for _ in range(MOST_STEPS):
        ratio = alpha / beta
        shrunk = squares / (squares + ratio)
        gamma = float(shrunk.sum())  # number of weights that the data decide
        weights = max(float((squares * np.square(inside / (squares + ratio))).sum()), floor)  # squared norm
        residual = max(outside + float(np.square(inside * (1 - shrunk)).sum()), floor)
        alpha, beta = max(gamma, SMALLEST) / weights, max(count - gamma, SMALLEST) / residual
        if abs(alpha / beta - ratio) <= TOLERANCE * ratio:
            break
    log_determinant = float(np.log(alpha + beta * squares).sum()) + (width - len(squares)) * np.log(alpha)
    evidence = count * np.log(beta / (2 * np.pi)) + width * np.log(alpha) - beta * residual - alpha * weights - log_determinant
    return float(evidence / 2 / count)


# === H-score ===


def h_score(features: np.ndarray, groups: np.ndarray, *, shrink: bool = True) -> float:
    """Returns the H-score: how far apart the means of groups are, in units of the spread of all features.

    It is the trace of the inverse covariance of the features times the covariance of their means by group. Bao et al. 2019
    (https://doi.org/10.1109/ICIP.2019.8803726); the shrinkage is that of Ibrahim, Ponomareva and Mazumder 2021
    (https://arxiv.org/abs/2110.06893): Ledoit and Wolf's for the features, and the means are damped by the same share.

    Args:
        features: float (n, width).
        groups: int (n,).
        shrink: whether to shrink, without which wide features of few examples always look good.

    Returns:
        From 0 to the number of groups minus 1; larger is better.

    Example:
        >>> round(h_score(np.eye(3)[np.arange(30) % 3], np.arange(30) % 3, shrink=False), 6)
        2.0
    """
    x = np.asarray(features, "float64")
    x = x - x.mean(axis=0)
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), x.shape[1]))
    np.add.at(sums, inverse.reshape(-1), x)
    means = sums / np.sqrt(counts)[:, None]  # so that their products are weighted by the sizes of the groups
    if not shrink:
        covariance, share = x.T @ x / len(x), 0.0
        return float(np.trace(np.linalg.pinv(covariance, hermitian=True) @ (means.T @ means)) / len(x))
    from scipy import linalg  # both take a while to import
    from sklearn.covariance import ledoit_wolf

    covariance, share = ledoit_wolf(x, assume_centered=True)
    try:
        solved = linalg.solve(covariance, means.T, assume_a="pos")  # (width, groups)
    except linalg.LinAlgError:  # nothing was shrunk, and features depend on each other
        solved = np.linalg.lstsq(covariance, means.T, rcond=None)[0]
    return float((1 - share) * np.sum(solved * means.T) / len(x))


def mean_h_score(features: np.ndarray, groupings: Sequence[np.ndarray]) -> float | None:
    """Returns the mean H-score over several ways to group examples; None without any, as for numbers."""
    return float(np.mean([h_score(features, groups) for groups in groupings])) if groupings else None
