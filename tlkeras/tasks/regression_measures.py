"""Everything that is reported of a model of numbers, for any weights of the examples."""

from __future__ import annotations

from functools import partial

import numpy as np

from tlkeras.data.target import Target
from tlkeras.tasks.measures import EACH, Family, Figure, Measures, mean_of_defined, means, ratio
from tlkeras.tasks.registry import TARGET, Targets

MAE = Figure(name="mae", title="MAE", higher=False, share=False)
RMSE = Figure(name="rmse", title="RMSE", higher=False, share=False)
R2 = Figure(name="r2", title="R²", share=False)
PEARSON = Figure(name="pearson", title="Pearson r", share=False)
SPEARMAN = Figure(name="spearman", title="Spearman ρ", share=False)
RELATIVE = Figure(name="relative_mae", title="MAE in standard deviations", higher=False, share=False)
INSIDE = Figure(name="inside", title="inside its interval", counted=True)


def measures(targets: Targets, scores: np.ndarray, target: Target) -> dict[str, Measures]:
    """Returns the figures of a model of numbers: of each number, and their means where there are several; see `Task.measures`.

    Args:
        targets: true numbers, (n, numbers).
        scores: predicted ones.
        target: with the names of the numbers, their standard deviations and the widths of their intervals, where they are known.
    """
    predicted = np.asarray(scores, "float64")
    true = np.asarray(targets[TARGET], "float64").reshape(predicted.shape)
    n, count = len(true), len(target.labels)
    errors = np.abs(true - predicted)
    spread = np.asarray(target.facts.get("std", true.std(axis=0)), "float64")
    spread = np.where(spread > 0, spread, 1.0)
    inside = errors <= np.asarray(target.facts["interval"]) if "interval" in target.facts else None
    plain = (MAE, RMSE, R2, PEARSON, *([RELATIVE] if count > 1 else []), *([INSIDE] if inside is not None else []))
    families = (
        Family(figures=_with_each(plain, count), compute=partial(_moments, true, predicted, spread, inside), cost=0.07 * count),
        Family(figures=_with_each((SPEARMAN,), count), compute=partial(_ranks, true, predicted), cost=2.0 * count),
    )
    headline = RELATIVE.name if count > 1 else MAE.name  # a mean of errors in several units says nothing
    mistakes = (errors / spread).mean(axis=1)
    return {target.name: Measures(n=n, labels=target.labels, families=families, headline=headline, mistakes=mistakes, errors=errors)}


def _with_each(figures: tuple[Figure, ...], count: int) -> tuple[Figure, ...]:
    """Returns the figures, and where there are several numbers those of each; a mean of shares has no interval by counting."""
    if count == 1:
        return figures
    whole = [Figure(name=one.name, title=one.title, higher=one.higher, share=one.share) for one in figures]
    each = [
        Figure(name=one.name, title=one.title, higher=one.higher, share=one.share, counted=one.counted, each=True)
        for one in figures
        if one != RELATIVE
    ]
    return (*whole, *each)


def _moments(
    true: np.ndarray, predicted: np.ndarray, spread: np.ndarray, inside: np.ndarray | None, weights: np.ndarray
) -> dict[str, np.ndarray]:
    weights = weights.astype("float64")  # differences of squares
    errors = true - predicted
    absolute, squared = means(weights, np.abs(errors)), means(weights, np.square(errors))
    pearson, variance = _correlation(weights, true - true.mean(axis=0), predicted - predicted.mean(axis=0))
    total = weights.sum(axis=1, keepdims=True)
    # As scikit-learn: not defined for less than two examples, or where the true values are all the same.
    r2 = np.where((total >= 2) & (variance > 0), 1 - ratio(squared, variance), np.nan)
    values = {"mae": absolute, "rmse": np.sqrt(squared), "r2": r2, "pearson": pearson}
    if inside is not None:
        values["inside"] = means(weights, inside)
    return {**_overall(values), RELATIVE.name: (absolute / spread).mean(axis=1)}


def _correlation(weights: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the correlation of the columns of two arrays, and the variance of the first; NaN where either is constant."""
    mean_first, mean_second = means(weights, first), means(weights, second)
    variance, other = (_variance(weights, *pair) for pair in ((first, mean_first), (second, mean_second)))
    product = means(weights, first * second) - mean_first * mean_second
    defined = (variance > 0) & (other > 0)
    return np.where(defined, np.clip(ratio(product, np.sqrt(variance * other)), -1, 1), np.nan), variance


def _variance(weights: np.ndarray, values: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Returns the weighted variance; exactly 0 where all examples that count have the same value."""
    squares = means(weights, np.square(values))
    variance = squares - np.square(mean)
    return np.where(variance > 1e-12 * squares, variance, 0.0)


def _ranks(true: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    columns = []
    for index in range(true.shape[1]):
        first, second = (_weighted_ranks(weights, values[:, index]) for values in (true, predicted))
        columns.append(_rank_correlation(weights.astype("float64"), first, second))
    return _overall({"spearman": np.stack(columns, axis=1)})


def _weighted_ranks(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the mean rank of each example, as if it stood in the sample as often as its weight says, (resamples, n), centred."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(order) - 1)
    below = np.cumsum(weights[:, order], axis=1, dtype="float64")[:, ends]
    middle = (below + np.concatenate([np.zeros((len(weights), 1)), below[:, :-1]], axis=1) + 1) / 2
    sizes = np.diff(ends, prepend=-1)
    ranks = np.empty(weights.shape)
    ranks[:, order] = np.repeat(middle, sizes, axis=1)
    return ranks - (weights.sum(axis=1, keepdims=True, dtype="float64") + 1) / 2  # the mean rank of all


def _rank_correlation(weights: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    products = [np.einsum("bn,bn,bn->b", weights, one, other) for one, other in ((first, second), (first, first), (second, second))]
    return np.clip(ratio(products[0], np.sqrt(products[1] * products[2])), -1, 1)


def _overall(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the figures of each number, (resamples, numbers), with their means over the numbers."""
    return {**{name: mean_of_defined(each) for name, each in values.items()}, **{f"{EACH}{name}": each for name, each in values.items()}}
