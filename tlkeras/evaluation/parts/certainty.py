"""How far the model's own certainty can be trusted: reliability, and accuracy against coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlkeras.evaluation.report_data import ReportData
from tlkeras.evaluation.report_parts import Section
from tlkeras.tasks.cases import Cases
from tlkeras.tasks.charts import Point, lines
from tlkeras.tasks.markup import escape
from tlkeras.tasks.measures import BINS

STEPS = 60  # points of the curve of coverage
FEWEST = 10  # examples; the curves of fewer are noise
NAMED = (0.5, 0.8, 0.9)  # coverages named in words


def certainty(data: ReportData) -> Sequence[Section]:
    """Returns both curves, of each target that states probabilities."""
    sections = []
    for name, answers in data.cases.items():
        drawn = _reliability(answers) + _coverage(answers)
        title = f"{name}: Certainty" if name else "Certainty"
        sections.append((title, f"<div class=charts>{drawn}</div>" if drawn else ""))
    return sections


def bins(probabilities: np.ndarray, events: np.ndarray, count: int = BINS) -> list[tuple[float, float, int]]:
    """Returns (mean probability, share of events, examples) of each bin that has examples.

    Example:
        >>> bins(np.array([0.1, 0.9, 0.9]), np.array([False, True, False]), 2)
        [(0.1, 0.0, 1), (0.9, 0.5, 2)]
    """
    numbers = np.minimum((probabilities * count).astype(int), count - 1)
    rows = []
    for number in np.unique(numbers):
        own = numbers == number
        rows.append((float(probabilities[own].mean()), float(events[own].mean()), int(own.sum())))
    return rows


def calibration_error(rows: Sequence[tuple[float, float, int]]) -> float:
    """Returns the expected calibration error: the gap of each bin, weighted by its examples (Naeini et al. 2015)."""
    total = sum(n for _, _, n in rows)
    return sum(abs(stated - true) * n for stated, true, n in rows) / total if total else 0.0


def _reliability(answers: Cases) -> str:
    if answers.probabilities is None or answers.events is None or len(answers.probabilities) < FEWEST:
        return ""
    rows = bins(answers.probabilities, answers.events)
    points = [Point(x=p, y=y, title=f"stated {p:.0%}, true {y:.0%}, {n:,} answers") for p, y, n in rows]
    error = calibration_error(rows)
    surplus = sum((p - y) * n for p, y, n in rows)
    lean = "about as certain as it should be" if error < 0.02 else "too certain" if surplus > 0 else "less certain than it could be"
    chart = lines(
        {"share that holds": points},
        title=f"Reliability: the share of answers that hold against the probability stated; expected calibration error {error:.3f}",
        x="probability that the model states",
        y="share that holds",
        diagonal=True,
        limits=(-0.03, 1.03),
    )
    text = f"The model is {lean}: expected calibration error {error:.3f} in {BINS} bins. Perfect certainty lies on the dashed line."
    return f"<figure>{chart}<figcaption>{escape(text)}</figcaption></figure>"


def _coverage(answers: Cases) -> str:
    if answers.certainty is None or answers.correct is None or len(answers) < FEWEST:
        return ""
    order = np.argsort(-answers.certainty, kind="stable")
    right = np.cumsum(answers.correct[order]) / np.arange(1, len(order) + 1)  # share that is right among the most certain
    counts = np.unique(np.linspace(max(1, len(order) // 20), len(order), STEPS).round().astype(int))
    points = [
        Point(
            x=int(n) / len(order),
            y=float(right[n - 1]),
            title=f"the {n / len(order):.0%} most certain: {right[n - 1]:.1%} correct (certainty of {answers.certainty[order[n - 1]]:.0%} or more)",
        )
        for n in counts
    ]
    chart = lines(
        {"correct": points},
        title="Accuracy against coverage: how many answers are correct when only the most certain ones are given",
        x="share of examples that get an answer",
        y="share of those that is correct",
    )
    examples = "; ".join(f"{right[max(1, round(share * len(order))) - 1]:.1%} of the {share:.0%} most certain" for share in NAMED)
    text = (
        f"Answers that are correct: {examples}; {right[-1]:.1%} of all. A model that knows what it does not know falls from left to right."
    )
    return f"<figure>{chart}<figcaption>{escape(text)}</figcaption></figure>"
