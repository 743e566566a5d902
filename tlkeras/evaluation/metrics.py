"""Metrics of a classifier on held-out examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import metrics as sk


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One row of the classification report: `n` examples of the class, `predicted` as this class `predicted` times."""

    label: str
    precision: float
    recall: float
    f1: float
    n: int
    predicted: int


@dataclass(frozen=True, kw_only=True)
class Score:
    """Accuracy, mean cross-entropy, macro-F1, per-class rows and the confusion matrix of `n` examples."""

    n: int
    accuracy: float | None
    loss: float | None
    macro_f1: float | None
    per_class: tuple[ClassScore, ...]
    confusion: np.ndarray

    @property
    def majority(self) -> dict[str, Any] | None:
        """The most frequent class of these examples, and the accuracy of always predicting it; None without examples."""
        if not self.n:
            return None
        most = max(self.per_class, key=lambda row: row.n)
        return {"label": most.label, "accuracy": most.n / self.n}

    @property
    def never_predicted(self) -> list[str]:
        """The classes that occur among these examples but are never predicted."""
        return [row.label for row in self.per_class if row.n and not row.predicted]

    def to_dict(self) -> dict[str, Any]:
        """Returns the record of a split in `metrics.json`."""
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "loss": self.loss,
            "macro_f1": self.macro_f1,
            "majority": self.majority,
            "never_predicted": self.never_predicted,
        }


def score(y: np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> Score:
    """Scores predictions; labels and predictions must come from the same pass over the data.

    Args:
        y: (n,) int, indices into `labels`.
        scores: (n, classes) float, rows sum to 1.
        labels: the label map.

    Returns:
        The scores; with n = 0, all figures are None. Macro-F1 is the mean over the classes that occur in `y`
        or in the predictions.
    """
    count = len(labels)
    if len(y) == 0:
        return Score(n=0, accuracy=None, loss=None, macro_f1=None, per_class=(), confusion=np.zeros((count, count), int))
    predicted = scores.argmax(axis=1)
    picked = np.clip(scores[np.arange(len(y)), y], 1e-7, 1.0)  # the clipping of Keras' own cross-entropy
    present = sorted(set(y.tolist()) | set(predicted.tolist()))
    precision, recall, f1, support = sk.precision_recall_fscore_support(y, predicted, labels=present, zero_division=0.0)
    rows = tuple(
        ClassScore(
            label=labels[index], precision=float(p), recall=float(r), f1=float(f), n=int(n), predicted=int((predicted == index).sum())
        )
        for index, p, r, f, n in zip(present, precision, recall, f1, support, strict=True)
    )
    return Score(
        n=len(y),
        accuracy=float((predicted == y).mean()),
        loss=float(-np.log(picked).mean()),
        macro_f1=float(np.mean(f1)),
        per_class=rows,
        confusion=sk.confusion_matrix(y, predicted, labels=range(count)),
    )


def interval(n: int, accuracy: float | None, z: float = 1.959964) -> tuple[float, float] | None:
    """Returns the 95 % interval of an accuracy (Wilson 1927, doi:10.1080/01621459.1927.10502953), or None without examples.

    Args:
        n: examples it was measured on.
        accuracy: 0 to 1.
        z: quantile of the normal distribution; another one for another level.
    """
    if not n or accuracy is None:
        return None
    middle, spread = accuracy + z * z / (2 * n), z * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return (middle - spread) / (1 + z * z / n), (middle + spread) / (1 + z * z / n)
