"""Integrated gradients: the gradient along the straight way from an empty input, times that way.

Sundararajan, Taly & Yan 2017, https://arxiv.org/abs/1703.01365. The values add up to the difference between the answer to the input and that to the empty
one (completeness). How closely they do is measured for each input, and the steps are doubled until the gap is at most 1 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkeras.explain.explanation import Map, Sample
from tlkeras.explain.networks import Network

GAP = 0.01  # of completeness, as a share of the difference
FIRST, MOST = 16, 1024  # steps
TINY = 1e-3  # share of the sum of the sizes of all values below which a gap is none: where the answers to both inputs are equal


def integrated_gradients(network: Network, samples: Sequence[Sample], columns: Sequence[int], gap: float = GAP) -> list[Map]:
    """Returns contributions that add up; see `Method.function`.

    Args:
        network, samples, columns: see `Method.function`.
        gap: largest gap of completeness, as a share of the difference.
    """
    return [_explained(network, sample, column, gap) for sample, column in zip(samples, columns, strict=True)]


@dataclass
class _Sum:
    """The gradients at the ends and at inner points of the way, added up."""

    numbers: tuple[float, float]
    ends: np.ndarray
    inner: np.ndarray
    steps: int

    def trapezoid(self) -> np.ndarray:
        return (self.ends / 2 + self.inner) / self.steps


def _explained(network: Network, sample: Sample, column: int, gap: float) -> Map:
    point, baseline = network.point(sample), network.baseline(sample)
    way = (point - baseline)[0].astype("float64")
    total = _at_ends(network, sample, column, point, baseline)
    difference = total.numbers[1] - total.numbers[0]
    before: np.ndarray | None = None
    best, missing = np.zeros_like(way), np.inf
    while True:
        new = np.arange(1, total.steps) if before is None else np.arange(1, total.steps, 2)
        total.inner += _gradient_sum(network, sample, column, baseline, way, new / total.steps)
        trapezoid = total.trapezoid()
        # Simpson's rule, from the sums of both step sizes, is closer where the network is smooth, and the trapezoids where it has kinks.
        rules = [trapezoid] if before is None else [trapezoid, (4 * trapezoid - before) / 3]
        best, missing = min(((rule * way, abs(float((rule * way).sum()) - difference)) for rule in rules), key=lambda pair: pair[1])
        allowed = max(gap * abs(difference), TINY * gap * float(np.abs(best).sum()))
        if missing <= allowed or total.steps >= MOST:
            break
        before = trapezoid
        total.steps *= 2
    return Map(values=network.reduced(sample, best, signed=True), details={"completeness": _completeness(best, difference, missing, total)})


def _completeness(values: np.ndarray, difference: float, missing: float, total: _Sum) -> dict[str, Any]:
    return {
        "steps": total.steps,
        "empty": total.numbers[0],
        "difference": difference,
        "sum": float(values.sum()),
        "gap": missing / max(abs(difference), 1e-9),
    }


def _at_ends(network: Network, sample: Sample, column: int, point: np.ndarray, baseline: np.ndarray) -> _Sum:
    parts = list(network.gradients(sample, np.concatenate([baseline, point]), column))
    numbers = np.concatenate([numbers for numbers, _ in parts])
    ends = np.concatenate([gradients for _, gradients in parts]).astype("float64").sum(axis=0)
    return _Sum(numbers=(float(numbers[0]), float(numbers[1])), ends=ends, inner=np.zeros_like(ends), steps=FIRST)


def _gradient_sum(network: Network, sample: Sample, column: int, baseline: np.ndarray, way: np.ndarray, shares: np.ndarray) -> Any:
    """Returns the sum of the gradients at shares of the way, float64."""
    total = np.zeros_like(way)
    for start in range(0, len(shares), network.batch_size):
        part = shares[start : start + network.batch_size].reshape(-1, *[1] * way.ndim)
        for _, gradients in network.gradients(sample, (baseline + part * way).astype("float32"), column):
            total += gradients.sum(axis=0, dtype="float64")
    return total
