"""What is said of a model of numbers on a split: the figures of each number, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class NumberScore:
    """The figures of one number, in its own unit: of the model, and of an answer that is always the mean of the training examples.

    Args:
        name: of the number.
        mae, rmse: mean absolute and root mean squared error.
        r2: 1 - squared error / that of the mean of these examples; None where they are all the same.
        pearson: correlation of predicted and true numbers; None where either are all the same.
        mean_mae, mean_rmse: those of the training mean; None where it is not known.
        inside: share of the examples inside the interval; None where there is none.
    """

    name: str
    mae: float
    rmse: float
    r2: float | None
    pearson: float | None
    mean_mae: float | None
    mean_rmse: float | None
    inside: float | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures of the number."""
        return {
            "mae": self.mae,
            "rmse": self.rmse,
            "r2": self.r2,
            "pearson": self.pearson,
            "mean": {"mae": self.mean_mae, "rmse": self.mean_rmse},
            "inside": self.inside,
        }


@dataclass(frozen=True, kw_only=True)
class Score:
    """Figures of each number on `n` examples, their means, and the loss in units of the standard deviations; with the numbers themselves."""

    n: int
    loss: float | None
    numbers: tuple[NumberScore, ...]
    true: np.ndarray = field(repr=False)
    predicted: np.ndarray = field(repr=False)

    def mean(self, figure: str) -> float | None:
        """Returns the mean of a figure over the numbers that have it."""
        return mean_of(getattr(number, figure) for number in self.numbers)

    def to_dict(self) -> dict[str, Any]:
        """Returns the record of a split in `metrics.json`."""
        means = {figure: self.mean(figure) for figure in ("mae", "rmse", "r2", "pearson", "inside")}
        numbers = {number.name: number.to_dict() for number in self.numbers}
        baseline = {"mae": self.mean("mean_mae"), "rmse": self.mean("mean_rmse")}
        return {"n": self.n, **means, "mean": baseline, "loss": self.loss, "numbers": numbers}

    def detailed(self) -> dict[str, Any]:
        """Returns the same: the figures of each number are in it."""
        return self.to_dict()

    def cells(self) -> dict[str, float | int | None]:
        """Returns the columns of the table of scores."""
        return {"R²": self.mean("r2"), "MAE": self.mean("mae"), "RMSE": self.mean("rmse"), "loss": self.loss, "n": self.n}

    def headline(self, split: str) -> str:
        """Returns R² and the mean absolute error beside that of always answering the training mean."""
        if not self.n:
            return ""
        r2, several = self.mean("r2"), len(self.numbers) > 1
        text = f"{split}: R² " + ("not defined" if r2 is None else f"{r2:.3f}") + f" (mean of {len(self.numbers)} numbers)" * several
        errors = []
        for number in self.numbers:
            name = f"{number.name} " if several else ""
            beside = "" if number.mean_mae is None else f" ({short(number.mean_mae)} by always answering the training mean)"
            errors.append(f"{name}{short(number.mae)}{beside}")
        worse = [repr(number.name) for number in self.numbers if number.mean_mae is not None and number.mae >= number.mean_mae]
        text += f"; mean absolute error {', '.join(errors)}"
        return text + (f": the model is no better than that for {', '.join(worse)}" if worse else "")

    def lines(self) -> list[str]:
        """Returns the figures of each number as text."""
        return [
            f"  {row.name:<24} MAE {short(row.mae)}  RMSE {short(row.rmse)}  R² {short(row.r2)}  Pearson r {short(row.pearson)}"
            + ("" if row.inside is None else f"  inside its interval {row.inside:.3f}")
            for row in self.numbers
        ]


def short(value: float | None) -> str:
    """Returns a figure with 4 digits, because numbers are of any size; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.4g}"


def number_score(name: str, true: np.ndarray, predicted: np.ndarray, mean: float | None, width: float | None) -> NumberScore:
    """Returns the figures of one number.

    Args:
        name: of the number.
        true, predicted: float64 (n,).
        mean: of the training examples, where it is known.
        width: half of that of the interval, where there is one.
    """
    errors = true - predicted
    return NumberScore(
        name=name,
        mae=float(np.abs(errors).mean()),
        rmse=_rmse(errors),
        r2=r_squared(true, predicted),
        pearson=_pearson(true, predicted),
        mean_mae=None if mean is None else float(np.abs(true - mean).mean()),
        mean_rmse=None if mean is None else _rmse(true - mean),
        inside=None if width is None else float((np.abs(errors) <= width).mean()),
    )


def _rmse(errors: np.ndarray) -> float:
    return float(np.sqrt(np.square(errors).mean()))


def r_squared(true: np.ndarray, predicted: np.ndarray) -> float | None:
    """Returns the coefficient of determination of one number, (n,); None where all true values are the same."""
    if len(true) < 2 or np.ptp(true) == 0:
        return None
    return float(1 - np.square(true - predicted).sum() / np.square(true - true.mean()).sum())


def _pearson(true: np.ndarray, predicted: np.ndarray) -> float | None:
    if len(true) < 2 or np.ptp(true) == 0 or np.ptp(predicted) == 0:
        return None
    return float(np.corrcoef(true, predicted)[0, 1])


def mean_of(values: Iterable[float | None]) -> float | None:
    """Returns the mean of the values that are defined; None where none is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
