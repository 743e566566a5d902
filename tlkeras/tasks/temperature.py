"""Temperatures: what logits are divided by so that scores are as certain as they are right.

Guo et al. 2017, On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599. A temperature minimises the mean loss of held-out
examples. In the inverse temperature that loss is convex, so its minimum is the root of its slope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

# Validation examples below which nothing is fitted. By how much the loss of new examples falls (mean of 100 draws of simulated models of 10
# classes) with 20 / 50 / 200 of them, where the temperature should be 1: -0.009 / -0.006 / -0.002; 1.5: 0.033 / 0.067 / 0.079; 3: 0.72 / 0.76 / 0.76;
# of 2 classes -0.003 / -0.007 / -0.002; 0.000 / 0.010 / 0.021; 0.13 / 0.19 / 0.22 (`python benchmarks/calibration.py --floor`).
FEWEST = 50
# Wrong decisions below which scores are not made more certain: a model that is right on all of few examples would be made certain of everything.
FEWEST_WRONG = 5
FEWEST_OF_LABEL = 20  # examples with a label, and without it, below which it shares the temperature of all labels
FOLDS = 5
LOWEST, HIGHEST = 0.05, 20.0  # temperatures
STEPS = 60  # of the search for a root, at most; each that is no step of Newton's halves the interval in the logarithm


@dataclass(frozen=True, kw_only=True)
class Tempering:
    """The temperatures of some columns of logits, and how they were found.

    Args:
        temperatures: what each column is divided by; all 1 where nothing is changed.
        n: validation examples.
        gain: by how much they lower the mean loss of examples that they were not fitted to (cross-fitting); None where that was not compared.
        note: what was decided and why, as the rest of a sentence.
    """

    temperatures: tuple[float, ...]
    n: int
    gain: float | None = None
    note: str = ""

    @property
    def changes(self) -> bool:
        """Whether any column is divided by anything but 1."""
        return any(temperature != 1.0 for temperature in self.temperatures)


def unchanged(width: int, n: int, note: str, gain: float | None = None) -> Tempering:
    """Returns temperatures of 1, with the reason."""
    return Tempering(temperatures=(1.0,) * width, n=n, gain=gain, note=note)


# === Classes ===


def classes(logits: np.ndarray, y: np.ndarray) -> Tempering:
    """Returns the one temperature of a softmax.

    Args:
        logits: (n, classes) of the validation examples.
        y: class ids, int (n,).
    """
    logits, (n, width) = np.asarray(logits, "float64"), logits.shape
    if n < FEWEST or width < 2:
        return unchanged(width, n, f"{n} validation examples, and a temperature needs {FEWEST}" if width > 1 else "there is one class")
    wrong = int((logits[np.arange(n), y] < logits.max(axis=1)).sum())
    temperature = of_classes(logits, y)
    if (reason := _too_sure(temperature, wrong)) is not None:
        return unchanged(width, n, reason)
    folds = np.empty(n, int)
    folds[np.argsort(y, kind="stable")] = np.arange(n) % FOLDS
    losses = np.empty(n)
    for fold, others in _folds(folds):
        losses[fold] = losses_of_classes(logits[fold] / of_classes(logits[others], y[others]), y[fold])
    gain = float(losses_of_classes(logits, y).mean() - losses.mean())
    if gain <= 0:
        return unchanged(width, n, _no_gain(gain), gain)
    return Tempering(temperatures=(temperature,) * width, n=n, gain=gain, note=f"temperature {temperature:.3g}")


def of_classes(logits: np.ndarray, y: np.ndarray) -> float:
    """Returns the temperature with the lowest mean cross-entropy, from 0.05 to 20.

    Args:
        logits: float64 (n, classes).
        y: class ids, int (n,).
    """
    own = logits[np.arange(len(y)), y]

    def slope(inverse: float) -> tuple[float, float]:
        p = _softmax(inverse * logits)
        mean = (p * logits).sum(axis=1)
        return float((mean - own).mean()), float(((p * logits**2).sum(axis=1) - mean**2).mean())

    return 1 / _root(slope)


def losses_of_classes(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the cross-entropy of each example, float64 (n,)."""
    highest = logits.max(axis=1)
    return np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest - logits[np.arange(len(y)), y]


def _softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))


# === Sets of labels ===


def labels(logits: np.ndarray, y: np.ndarray) -> Tempering:
    """Returns the temperatures of sigmoids: one of all labels, or one of each, whichever has the lower loss by cross-fitting.

    Args:
        logits: (n, labels) of the validation examples.
        y: 0 or 1, (n, labels).
    """
    logits, y, (n, width) = np.asarray(logits, "float64"), np.asarray(y) > 0, logits.shape
    if n < FEWEST:
        return unchanged(width, n, f"{n} validation examples, and a temperature needs {FEWEST}")
    wrong = int(((logits > 0) != y).sum())
    candidates: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"of all labels": _shared, "of each label": _each}
    before = float(losses_of_labels(logits, y).mean())
    folds, gains = np.arange(n) % FOLDS, {}
    for name, fit in candidates.items():
        losses = [losses_of_labels(logits[fold] / fit(logits[others], y[others]), y[fold]).sum() for fold, others in _folds(folds)]
        gains[name] = before - float(sum(losses)) / y.size
    best = max(gains, key=lambda name: gains[name])
    if gains[best] <= 0:
        return unchanged(width, n, _no_gain(gains[best]), gains[best])
    temperatures = candidates[best](logits, y)
    if (reason := _too_sure(float(temperatures.min()), wrong)) is not None:
        return unchanged(width, n, reason)
    low, high = float(temperatures.min()), float(temperatures.max())
    note = f"temperature {low:.3g} {best}" if low == high else f"temperatures {low:.3g} to {high:.3g} {best}"
    return Tempering(temperatures=tuple(map(float, temperatures)), n=n, gain=gains[best], note=note)


def of_labels(logits: np.ndarray, y: np.ndarray) -> float:
    """Returns the temperature with the lowest mean binary cross-entropy, from 0.05 to 20.

    Args:
        logits: float64, of any shape.
        y: bool, of the same shape.
    """

    def slope(inverse: float) -> tuple[float, float]:
        p = _sigmoid(inverse * logits)
        return float(((p - y) * logits).mean()), float((p * (1 - p) * logits**2).mean())

    return 1 / _root(slope)


def _shared(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.full(logits.shape[1], of_labels(logits, y))


def _each(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the temperature of each label; that of all for labels that few examples have or do not have, or none is wrong about."""
    shared = _shared(logits, y)
    positives, wrong = y.sum(axis=0), ((logits > 0) != y).sum(axis=0)
    enough = (np.minimum(positives, len(y) - positives) >= FEWEST_OF_LABEL) & (wrong >= FEWEST_WRONG)
    return np.array([of_labels(logits[:, index], y[:, index]) if own else shared[index] for index, own in enumerate(enough)])


def losses_of_labels(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the binary cross-entropy of each decision, float64 (n, labels)."""
    return np.asarray(np.logaddexp(0.0, np.where(y, -logits, logits)))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))


# === Both ===


def _folds(folds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the examples of each fold and those of the others."""
    for fold in range(FOLDS):
        yield folds == fold, folds != fold


def _too_sure(temperature: float, wrong: int) -> str | None:
    """Returns why scores are not made more certain; None where they may be, or become less certain."""
    if temperature >= 1 or wrong >= FEWEST_WRONG:
        return None
    return f"only {wrong} decisions on validation are wrong, and scores become more certain from {FEWEST_WRONG} on"


def _no_gain(gain: float) -> str:
    return f"a temperature does not lower the loss of validation examples that it was not fitted to ({-gain:+.4f})"


def _root(slope: Callable[[float], tuple[float, float]]) -> float:
    """Returns where a rising function is 0, from 1/20 to 1/0.05; the nearer end where it is 0 nowhere between.

    Args:
        slope: x -> value of the function and its own slope there.
    """
    low, high, x = 1 / HIGHEST, 1 / LOWEST, 1.0
    for _ in range(STEPS):
        value, rise = slope(x)
        low, high = (low, x) if value > 0 else (x, high)
        following = x - value / rise if rise > 0 else 0.0
        if not low < following < high:
            following = float(np.sqrt(low * high))
        if abs(following - x) <= 1e-10 * x:
            break
        x = following
    return x
