"""Whether a map means something: what deleting and inserting its highest parts does to the answer, and whether it depends on the weights.

Deletion and insertion: Petsiuk, Das & Saenko 2018, https://arxiv.org/abs/1806.07421. Random weights: Adebayo et al. 2018, https://arxiv.org/abs/1810.03292.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from tlkeras.explain.answers import VALUE
from tlkeras.explain.array_networks import Network
from tlkeras.explain.explanation import Sample, resized
from tlkeras.explain.occlusion import numbers_without

CELLS = 14  # of an image in each direction: single pixels that are deleted make noise, which networks have never seen
STEPS = 14  # of a curve


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The answer while parts are deleted or inserted, the highest first.

    Args:
        shares: of the parts, 0 to 1, float (steps + 1,).
        deletion, insertion: the answer at each share: a probability, or the number; float (steps + 1,).
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deleted(self) -> float:
        """Mean answer while parts are deleted; the lower, the better the map."""
        return float(np.trapezoid(self.deletion, self.shares))

    @property
    def inserted(self) -> float:
        """Mean answer while parts are inserted; the higher, the better the map."""
        return float(np.trapezoid(self.insertion, self.shares))


def curves(network: Network, sample: Sample, column: int, values: np.ndarray, *, steps: int = STEPS, cells: int = CELLS) -> Curves:
    """Deletes and inserts the parts of an input in the order of a map.

    Args:
        network: that answers.
        sample: the whole input.
        column: of the answer, counted from the first label of the target.
        values: of the map: over an image of any size, (words,), (time,) or (time, features).
        steps: of the curves; fewer where there are fewer parts.
        cells: parts of an image in each direction.
    """
    owners, ranks = ranked(network, sample, values, cells)
    count = int(owners.max(initial=-1)) + 1
    shares = np.unique(np.round(np.linspace(0, count, min(steps, count) + 1)).astype(int))
    highest = np.stack([ranks[owners] < share for share in shares])
    deletion = numbers_without(network, sample, highest, column)
    insertion = numbers_without(network, sample, ~highest, column)
    deletion, insertion = (_answer(network, numbers) for numbers in (deletion, insertion))
    return Curves(shares=shares / max(count, 1), deletion=deletion, insertion=insertion)


def _answer(network: Network, numbers: np.ndarray) -> np.ndarray:
    return numbers if network.answers.scale == VALUE else 1 / (1 + np.exp(-np.clip(numbers, -50, 50)))


def ranked(network: Network, sample: Sample, values: np.ndarray, cells: int = CELLS) -> tuple[np.ndarray, np.ndarray]:
    """Returns the part that each unit belongs to, int (*units), and the rank of each part, 0 for the highest.

    The parts of an image are squares, of other inputs the units themselves.
    """
    units = network.units(sample)
    if len(units) == 2:
        rows, columns = (np.arange(side) * min(cells, side) // side for side in units)
        owners = rows[:, None] * (columns[-1] + 1) + columns
        values = resized(values, *units)
    else:
        owners = np.arange(units[0])
        values = values.sum(axis=tuple(range(1, values.ndim))) if values.ndim > 1 else values
    totals = np.bincount(owners.ravel(), weights=np.asarray(values, "float64").ravel())
    ranks = np.empty(len(totals), int)
    ranks[np.argsort(-totals, kind="stable")] = np.arange(len(totals))
    return owners, ranks


def random_map(network: Network, sample: Sample, seed: int, cells: int = CELLS) -> np.ndarray:
    """Returns a map of random values, one for each part that `curves` deletes."""
    units = network.units(sample)
    shape = tuple(min(cells, side) for side in units) if len(units) == 2 else units
    values = np.random.default_rng(seed).random(shape)
    if len(units) != 2:
        return values
    rows, columns = (np.arange(side) * count // side for side, count in zip(units, shape, strict=True))
    return values[rows][:, columns]


@contextmanager
def randomised(model: keras.Model, seed: int = 0) -> Iterator[None]:
    """Shuffles every weight of a model while the body runs: each array keeps its values, and the network loses what it has learnt."""
    rng, before = np.random.default_rng(seed), model.get_weights()
    try:
        model.set_weights([rng.permutation(array.ravel()).reshape(array.shape) for array in before])
        yield
    finally:
        model.set_weights(before)
