"""Integrated gradients: the gradient along the straight way from an empty input, times that way.

Sundararajan, Taly & Yan 2017, https://arxiv.org/abs/1703.01365. The values add up to the difference between the answer to the input and that to the empty
one (completeness). How closely they do is measured for each input, and points are added until the gap is at most 1 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkeras.explain.array_networks import Network
from tlkeras.explain.explanation import Map, Sample

GAP = 0.01  # of completeness, as a share of the difference
FIRST = 16  # intervals, all of one length
MOST = 512  # points
HELD = 1 << 30  # bytes of gradients that are held at a time
TINY = 1e-3  # share of the sum of the sizes of all values below which a gap is none: where the answers to both inputs are equal


def integrated_gradients(network: Network, samples: Sequence[Sample], columns: Sequence[int], gap: float = GAP) -> list[Map]:
    """Returns contributions that add up; see `Method.function`.

    Args:
        network, samples, columns: see `Method.function`.
        gap: largest gap of completeness, as a share of the difference.
    """
    return [_explained(network, sample, column, gap) for sample, column in zip(samples, columns, strict=True)]


@dataclass
class _Way:
    """What is known at points of the way, from the empty input (share 0) to the input (share 1), sorted.

    Args:
        shares: float64 (points,).
        numbers: the explained number at each, float64 (points,).
        gradients: float32 (points, …).
        slopes: the gradient along the way, float64 (points,).
    """

    shares: np.ndarray
    numbers: np.ndarray
    gradients: np.ndarray
    slopes: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """What the trapezoid of each interval misses of the change of the number in it, which is known: float64 (points - 1,)."""
        means = (self.slopes[1:] + self.slopes[:-1]) / 2
        return means * np.diff(self.shares) - np.diff(self.numbers)

    @property
    def difference(self) -> float:
        """The number of the input less that of the empty one."""
        return float(self.numbers[-1] - self.numbers[0])

    def mean_gradient(self) -> np.ndarray:
        """Returns the integral of the gradient by trapezoids, float64."""
        lengths = np.diff(self.shares)
        weights = (np.append(lengths, 0) + np.append(0, lengths)) / 2
        return np.tensordot(weights, self.gradients, axes=1)

    def merged(self, other: _Way) -> _Way:
        """Returns both together."""
        order = np.argsort(np.append(self.shares, other.shares), kind="stable")
        pairs = [(getattr(self, name), getattr(other, name)) for name in ("shares", "numbers", "gradients", "slopes")]
        return _Way(*(np.concatenate(pair)[order] for pair in pairs))


def _explained(network: Network, sample: Sample, column: int, gap: float) -> Map:
    baseline = network.baseline(sample)
    step = (network.point(sample) - baseline)[0].astype("float64")

    def along(shares: np.ndarray) -> _Way:
        points = (baseline + shares.reshape(-1, *[1] * step.ndim) * step).astype("float32")
        parts = list(network.gradients(sample, points, column))
        gradients = np.concatenate([gradients for _, gradients in parts])
        slopes = np.tensordot(gradients.astype("float64"), step, axes=step.ndim)
        return _Way(shares, np.concatenate([numbers for numbers, _ in parts]).astype("float64"), gradients, slopes)

    way = along(np.linspace(0, 1, FIRST + 1))
    most = max(FIRST + 1, min(MOST, HELD // max(1, way.gradients[0].nbytes)))
    while True:
        values = way.mean_gradient() * step
        missing = abs(float(way.errors.sum()))
        allowed = max(gap * abs(way.difference), TINY * gap * float(np.abs(values).sum()))
        if missing <= allowed or len(way.shares) >= most:
            return Map(values=network.reduced(sample, values, signed=True), details={"completeness": _completeness(way, values)})
        way = way.merged(along(_next(way, min(network.batch_size, most - len(way.shares)))))


def _next(way: _Way, count: int) -> np.ndarray:
    """Returns the middles of the intervals that miss most: the network has its kinks there."""
    worst = np.sort(np.argsort(-np.abs(way.errors), kind="stable")[:count])
    return (way.shares[worst] + way.shares[worst + 1]) / 2


def _completeness(way: _Way, values: np.ndarray) -> dict[str, Any]:
    total = float(values.sum())
    return {
        "points": len(way.shares),
        "empty": float(way.numbers[0]),
        "difference": way.difference,
        "sum": total,
        "gap": abs(total - way.difference) / max(abs(way.difference), 1e-9),
    }
