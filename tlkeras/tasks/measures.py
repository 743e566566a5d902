"""Figures of a model as functions of the weights of the examples, so that one pass gives them for a thousand resamples.

scikit-learn scores one sample at a time. Here every figure is computed for many weightings at once, and equals that of scikit-learn for
weights of 1 (`tests/tasks/test_measures.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 15  # of equal width, for calibration errors. Guo et al. 2017, https://arxiv.org/abs/1706.04599
SMALLEST = 1e-7  # probabilities are clipped there, as Keras' own cross-entropies do
EACH = "each:"  # before the name of a figure that every label has
Compute = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What one figure is.

    Args:
        name: its key in JSON.
        title: what tables and sentences call it.
        higher: whether more is better.
        share: whether it lies between 0 and 1 and differences are given in points; otherwise it is in the unit of the data.
        each: whether every label has its own value.
        counted: whether it is the share of the examples that are right, so that it has an interval without resampling.
        biased: whether it is larger in resamples than in the sample, by noise alone, as calibration errors are.
    """

    name: str
    title: str
    higher: bool = True
    share: bool = True
    each: bool = False
    counted: bool = False
    biased: bool = False

    @property
    def key(self) -> str:
        """Its key among the results of a family."""
        return f"{EACH}{self.name}" if self.each else self.name


@dataclass(frozen=True, kw_only=True)
class Family:
    """Figures that are computed together.

    Args:
        figures: what they are.
        compute: weights float (resamples, n) -> key -> values (resamples,), or (resamples, labels) for figures of each label; NaN where a
            figure is not defined.
        cost: passes over the examples that one resample takes, in sorted sums; a column of a product counts for 0.01.
    """

    figures: tuple[Figure, ...]
    compute: Compute
    cost: float


@dataclass(frozen=True, kw_only=True)
class Measures:
    """All figures of a model on `n` examples for one target.

    Args:
        n: number of examples.
        labels: what figures of each label belong to: classes, labels or numbers.
        families: the figures.
        headline: name of the figure that the task is judged by.
        mistakes: float64 (n,): how wrong each answer is: 0 or 1, the share of wrong decisions, or the error in standard deviations.
        correct: bool (n,): whether each answer is right; None where answers are right by degrees.
        errors: float64 (n, labels): absolute errors of numbers; None elsewhere.
        groups: int (n,): examples that belong together have the same number, and are drawn together; None where each stands alone.
    """

    n: int
    labels: tuple[str, ...]
    families: tuple[Family, ...]
    headline: str
    mistakes: np.ndarray
    correct: np.ndarray | None = None
    errors: np.ndarray | None = None
    groups: np.ndarray | None = None

    @property
    def group_count(self) -> int | None:
        """How many groups there are; None where each example stands alone."""
        return None if self.groups is None else len(np.unique(self.groups))

    @property
    def units(self) -> int:
        """How many pieces of evidence are independent of each other: groups, or else examples."""
        return self.group_count or self.n

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What all figures are."""
        return tuple(figure for family in self.families for figure in family.figures)

    def family_of(self, name: str) -> Family:
        """Returns the family of a figure that is not of each label."""
        return next(family for family in self.families if any(figure.key == name for figure in family.figures))

    @property
    def headline_figure(self) -> Figure:
        """What the headline is."""
        return next(figure for figure in self.figures if figure.key == self.headline)


LOSSES = (
    Figure(name="log_loss", title="log loss", higher=False, share=False),
    Figure(name="brier", title="Brier score", higher=False, share=False),
)


# === Weighted sums ===


def ratio(above: np.ndarray, below: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    """Returns above / below, and `otherwise` where below is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, "float64"), np.asarray(below, "float64"))
    return np.divide(above, below, out=np.full(above.shape, otherwise), where=below != 0)


def sums(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the weighted sums of values (n,) or (n, columns), float64 (resamples,) or (resamples, columns)."""
    return (weights @ np.asarray(values, weights.dtype)).astype("float64")


def means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the weighted means of values (n,) or (n, columns)."""
    total = weights.sum(axis=1, dtype="float64")
    return ratio(sums(weights, values), total if values.ndim == 1 else total[:, None])


def mean_losses(losses: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the figures `LOSSES` from those of each example, (n, 2)."""
    values = means(weights, losses)
    return {"log_loss": values[:, 0], "brier": values[:, 1]}


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Returns the mean of each row over the columns that are defined; NaN where none is."""
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1))


def precision_recall_f1(correct: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns precision, recall and F1 from counts; 0 where their denominator is 0, as in scikit-learn with `zero_division=0`."""
    return ratio(correct, predicted, 0.0), ratio(correct, true, 0.0), ratio(2 * correct, predicted + true, 0.0)


def macro_means(precision: np.ndarray, recall: np.ndarray, f1: np.ndarray, present: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the macro means of figures of each label, (resamples, labels), over the labels that occur: `present`, of the same shape."""
    parts = {"macro_precision": precision, "macro_recall": recall, "macro_f1": f1}
    return {name: ratio(np.where(present, values, 0).sum(axis=1), present.sum(axis=1)) for name, values in parts.items()}


# === Ranking ===


def ranking(weights: np.ndarray, holds: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the area under the ROC curve and the average precision of one label.

    Args:
        weights: (resamples, n).
        holds: bool (n,), whether each example has the label.
        scores: (n,), of the label; equal ones count as one step of the curves.

    Returns:
        Both (resamples,): NaN where no example has the label, the area also where all have it.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    seen = weights[:, order]
    true = np.cumsum(np.where(holds[order], seen, 0), axis=1)[:, ends]
    seen = np.cumsum(seen, axis=1)[:, ends]
    positive, negative = true[:, -1].astype("float64"), (seen[:, -1] - true[:, -1]).astype("float64")
    steps = np.diff(true, axis=1, prepend=0)
    precision = np.divide(true, seen, out=np.zeros_like(true), where=seen > 0)
    average = ratio(np.einsum("bn,bn->b", steps, precision, dtype="float64"), positive)
    false = np.diff(seen - true, axis=1, prepend=0)
    area = ratio(np.einsum("bn,bn->b", false, true - steps / 2, dtype="float64"), positive * negative)
    return area, average


def rankings(weights: np.ndarray, holds: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns areas and average precisions of several labels, each (resamples, labels); see `ranking`.

    Args:
        weights: (resamples, n).
        holds: bool (n, labels).
        scores: (n, labels).
    """
    pairs = [ranking(weights, holds[:, index], scores[:, index]) for index in range(scores.shape[1])]
    return np.stack([area for area, _ in pairs], axis=1), np.stack([average for _, average in pairs], axis=1)


# === Calibration ===


def _bin_of(confidence: np.ndarray) -> np.ndarray:
    """Returns the bin of each probability; its upper end belongs to a bin, as in Guo et al. 2017."""
    return np.clip(np.ceil(np.asarray(confidence, "float64") * BINS).astype(int) - 1, 0, BINS - 1)


def reliability(confidence: np.ndarray, outcome: np.ndarray) -> list[dict[str, Any]]:
    """Returns, for each of 15 bins of equal width that is not empty: its ends, how many, what they claim, and what is so.

    Args:
        confidence: predicted probabilities, 0 to 1, (n,).
        outcome: bool (n,), what they are the probabilities of.

    Example:
        >>> [(row["n"], row["confidence"], row["correct"]) for row in reliability(np.array([0.1, 0.9, 0.9]), np.array([False, True, False]))]
        [(1, 0.1, 0.0), (2, 0.9, 0.5)]
    """
    bins, rows = _bin_of(confidence), []
    for index in np.unique(bins):
        inside = bins == index
        claimed, actual = float(confidence[inside].mean(dtype="float64")), float(outcome[inside].mean())
        rows.append({"from": index / BINS, "to": (index + 1) / BINS, "n": int(inside.sum()), "confidence": claimed, "correct": actual})
    return rows


def expected_calibration_error(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns the calibration error of what `reliability` gives; None without any."""
    total = sum(row["n"] for row in rows)
    return sum(row["n"] * abs(row["confidence"] - row["correct"]) for row in rows) / total if total else None


def calibration_error(weights: np.ndarray, confidence: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Returns the expected calibration error (Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602) over 15 bins of equal width.

    Args:
        weights: (resamples, n).
        confidence: (n,), predicted probabilities.
        outcome: bool (n,), what they are the probabilities of.

    Returns:
        (resamples,): the mean distance of predicted from observed frequency, weighted by the examples of the bins.
    """
    gaps = np.zeros((len(confidence), BINS))
    gaps[np.arange(len(confidence)), _bin_of(confidence)] = confidence - outcome
    return ratio(np.abs(sums(weights, gaps)).sum(axis=1), weights.sum(axis=1, dtype="float64"))


def calibration_errors(weights: np.ndarray, confidence: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Returns the calibration error of each column, (resamples, columns); see `calibration_error`."""
    return np.stack([calibration_error(weights, confidence[:, index], outcome[:, index]) for index in range(confidence.shape[1])], axis=1)
