"""A race among candidates: all are measured on few examples, those that are significantly worse leave, the rest go on with twice as many.

Successive halving (Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943) whose candidates leave by a test, as in the races of Maron and
Moore 1994; where time is short, the worst leave without one. Candidates are compared on the same examples and folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

FEWEST = 256  # examples of the first rung, at least
FEWEST_OF_CLASS = 8  # examples of a class there, on average, at least
GROUPS = 4  # parts of each fold
CONFIDENCE = 0.95


# === Figures with their uncertainty ===


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A cross-validated figure of one candidate.

    Args:
        figure: of all examples; larger is better.
        values: float (parts,), what each part of the examples says of the figure; see `estimate`.
        ratio: examples of a part over those that its answers were learnt from.
        examples: in all.
    """

    figure: float
    values: np.ndarray
    ratio: float
    examples: int

    @property
    def error(self) -> float:
        """The standard error."""
        return standard_error(self.values, self.ratio)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; no figure is above 1."""
        reach = _reach(self.error, len(self.values))
        return self.figure - reach, min(self.figure + reach, 1.0)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """By how much one candidate is better than another on the same examples.

    Args:
        figure: the difference.
        error: its standard error.
        parts: of the examples.
    """

    figure: float
    error: float
    parts: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        return self.interval_of(1)

    def interval_of(self, comparisons: int) -> tuple[float, float]:
        """Returns the interval that holds in 95 of 100 cases for that many comparisons at once (Bonferroni)."""
        reach = _reach(self.error, self.parts, comparisons)
        return self.figure - reach, self.figure + reach

    @property
    def significant(self) -> bool:
        """Whether the first is better beyond chance: its interval lies above 0."""
        return self.interval[0] > 0


def _reach(error: float, parts: int, comparisons: int = 1) -> float:
    """Returns how far an interval goes to either side."""
    from scipy import stats  # takes a while to import

    return float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / comparisons, max(parts - 1, 1))) * error


def standard_error(values: np.ndarray, ratio: float) -> float:
    """Returns the standard error of a mean over test parts whose training examples overlap.

    The correction of Nadeau and Bengio 2003 (https://doi.org/10.1023/A:1024068626366): without it, the parts would count as independent.
    """
    return math.sqrt((1 / len(values) + ratio) * float(np.var(values, ddof=1))) if len(values) > 1 else 0.0


def parts_of(fold_of: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
    """Returns the part of each example, int (n,): each fold is divided into up to four of equal size, so that errors have more than one value a fold.

    Args:
        fold_of: int (n,), the fold of each example.
        units: int (n,), the same for examples that belong together, which are in one part: they agree, and would make errors look too small.
    """
    parts = np.empty(len(fold_of), int)
    start = 0
    for fold in np.unique(fold_of):
        members = np.flatnonzero(fold_of == fold)
        _, first, unit, sizes = np.unique(
            members if units is None else units[members], return_index=True, return_inverse=True, return_counts=True
        )
        count = max(1, min(GROUPS, len(members) // 3, len(sizes)))
        held, part_of = np.zeros(count, int), np.empty(len(sizes), int)
        for index in np.lexsort((first, -sizes)):  # the largest first, each to the part that has least
            part_of[index] = held.argmin()
            held[part_of[index]] += sizes[index]
        parts[members] = start + part_of[unit.reshape(-1)]
        start += count
    return parts


def estimate(figure: Callable[[np.ndarray], float], fold_of: np.ndarray, units: np.ndarray | None = None) -> Estimate:
    """Returns a figure with its uncertainty by the jackknife over parts of the examples.

    What a part says is the figure of all, moved by what leaving the part out changes, times the number of parts; for a figure that is a mean,
    such as accuracy, this is the figure of the part.

    Args:
        figure: indices of examples -> their figure.
        fold_of: int (n,), the fold in which each was held out.
        units: int (n,), what belongs together; see `parts_of`.
    """
    parts, everything = parts_of(fold_of, units), np.arange(len(fold_of))
    whole, count = figure(everything), int(parts.max()) + 1
    without = np.array([figure(everything[parts != part]) for part in range(count)])
    folds = len(np.unique(fold_of))
    ratio = (1 / count) / (1 - 1 / folds) if folds > 1 else 1.0
    return Estimate(figure=whole, values=count * whole - (count - 1) * without, ratio=ratio, examples=len(fold_of))


def difference(first: Estimate, second: Estimate) -> Difference:
    """Returns by how much the first is better; both are of the same examples in the same folds."""
    apart = first.values - second.values
    return Difference(figure=first.figure - second.figure, error=standard_error(apart, first.ratio), parts=len(apart))


# === The race ===


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One step of the race.

    Args:
        examples: on how many.
        estimates: name -> its figure, of those that took part.
        left: name -> why it left after this step.
    """

    examples: int
    estimates: Mapping[str, Estimate]
    left: Mapping[str, str]


@dataclass
class Race:
    """The course of a race.

    Args:
        rungs: the steps so far.
        refused: name -> why it did not take part.
    """

    rungs: list[Rung] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def last_of(self, name: str) -> Rung:
        """Returns the last step that a candidate took part in."""
        return next(rung for rung in reversed(self.rungs) if name in rung.estimates)

    @property
    def order(self) -> list[str]:
        """The candidates, best first: those that came further before the others, then by their figure there."""
        names = list(self.rungs[0].estimates) if self.rungs else []
        rung_of = {name: self.last_of(name) for name in names}
        return sorted(names, key=lambda name: (-rung_of[name].examples, -rung_of[name].estimates[name].figure))


def sizes(examples: int, classes: int) -> list[int]:
    """Returns on how many examples each step is: all at the end, half as many in each before.

    Example:
        >>> sizes(3000, 10)
        [375, 750, 1500, 3000]
    """
    fewest = max(FEWEST, FEWEST_OF_CLASS * classes)
    steps = [examples]
    while steps[-1] // 2 >= fewest:
        steps.append(steps[-1] // 2)
    return steps[::-1]


def run(
    names: Sequence[str],
    steps: Sequence[int],
    measure: Callable[[str, int], Estimate],
    seconds: Mapping[str, float],
    *,
    remaining: Callable[[], float],
    clock: Callable[[], float],
    leave: Callable[[str], None] = lambda name: None,
) -> Race:
    """Runs a race.

    Args:
        names: of the candidates, the cheapest first.
        steps: numbers of examples, ascending; see `sizes`.
        measure: (name, examples) -> its figure on so many examples.
        seconds: name -> seconds that its features of one more example take.
        remaining: seconds that the race may still take.
        clock: seconds that have passed.
        leave: called with the name of a candidate that goes no further.
    """
    race, racing, before = Race(), list(names), 0
    comparisons = max(1, (len(names) - 1) * (len(steps) - 1))  # in which the best one could be sent away by chance
    solving = 0.0  # seconds per example and candidate of what is not features, as measured on the last step
    for index, size in enumerate(steps):
        more = size - before
        costs = {name: more * seconds[name] + size * solving for name in racing}
        racing, late = fitting(racing, race, costs, remaining())
        if index == 0:
            race.refused |= dict.fromkeys(late, f"its features of {more:,} examples would take longer than the time that is left")
        elif late:
            last = race.rungs[-1]
            short = f"time was short: it was not among the best of {last.examples:,} examples"
            race.rungs[-1] = Rung(examples=last.examples, estimates=last.estimates, left={**last.left, **dict.fromkeys(late, short)})
        for name in late:
            leave(name)
        if not racing:
            break
        began = clock()
        estimates = {name: measure(name, size) for name in racing}
        solving = max(0.0, (clock() - began - more * sum(seconds[name] for name in racing)) / size / len(racing))
        left = {} if size == steps[-1] else worse(estimates, comparisons)
        race.rungs.append(Rung(examples=size, estimates=estimates, left=left))
        for name in left:
            leave(name)
        racing, before = [name for name in racing if name not in left], size
    return race


def fitting(names: Sequence[str], race: Race, costs: Mapping[str, float], seconds: float) -> tuple[list[str], list[str]]:
    """Returns the candidates whose next step fits into the time that is left, and the others: the worst go first, before the first step the dearest.

    One always goes on to the first step; later the race ends where not even one fits.
    """
    if race.rungs:
        figures = race.rungs[-1].estimates
        ranked = sorted(names, key=lambda name: -figures[name].figure)
    else:
        ranked = list(names)
    fit: list[str] = []
    spent = 0.0
    for name in ranked:
        spent += costs[name]
        if spent > seconds and (fit or race.rungs):
            break
        fit.append(name)
    return [name for name in names if name in fit], [name for name in names if name not in fit] if fit else []


def worse(estimates: Mapping[str, Estimate], comparisons: int = 1) -> dict[str, str]:
    """Returns the candidates that are significantly worse than the best, with the reason.

    Args:
        estimates: name -> its figure.
        comparisons: of the whole race, all of which are to be free of error in 95 of 100 races.
    """
    best = max(estimates, key=lambda name: estimates[name].figure)
    left = {}
    for name, own in estimates.items():
        behind = difference(estimates[best], own)
        low, high = behind.interval_of(comparisons)
        if name != best and low > 0:
            left[name] = (
                f"on {own.examples:,} examples {behind.figure:.3f} behind {best} (95 % interval {low:.3f} to {high:.3f}): significantly worse"
            )
    return left
