"""95 % intervals of every figure, by resampling the examples.

The bootstrap: Efron 1979, doi:10.1214/aos/1176344552. The interval is that between the 2.5 % and 97.5 % quantiles of the resamples (Davison &
Hinkley 1997, Bootstrap Methods and their Application, 5.3.1); of calibration errors, which noise makes larger in every resample, the
basic one, which subtracts that (5.2.1); of shares of right answers that of Wilson 1927, doi:10.1080/01621459.1927.10502953, which has a
width even where all are right.

Where examples belong together (a patient, a video), whole groups are drawn (Davison & Hinkley 3.8, strategy 1), for shares of right answers
too: Wilson's interval takes the answers of a group for independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tlkeras.tasks.classification import interval as wilson
from tlkeras.tasks.markup import escape, figure, table
from tlkeras.tasks.measures import Compute, Family, Figure, Measures

LEVEL = 0.95
RESAMPLES = 1000  # of cheap figures; of others as many as the budget allows
FEWEST = 50  # resamples, with fewer of which there is no interval
BUDGET = 4e7  # example x resample x cost of a family: about a second
BLOCK = 4_000_000  # weights that are in memory at a time
BOOTSTRAP = "95 % bootstrap intervals"
KINDS = "percentile; basic for calibration errors"
TITLE = "Figures with intervals"
LABELS_SHOWN = 50  # rows of the table of labels; the rest stands in evaluation.json


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its interval.

    Args:
        value: on the examples; None where it is not defined, for example without an example of the class.
        low, high: ends of the interval; None where there is none.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Returns the figure as JSON holds it."""
        return {"value": self.value, "low": self.low, "high": self.high}


# === Resamples ===


def grouped(measures: Mapping[str, Measures], groups: np.ndarray | None) -> dict[str, Measures]:
    """Returns the figures of each target, whose resamples draw whole groups where any examples belong together.

    Args:
        measures: target -> its figures, on the same examples.
        groups: int (n,), the same number for examples that belong together; None where nothing does.
    """
    if groups is None or len(np.unique(groups)) == len(groups):
        return dict(measures)
    return {name: replace(part, groups=groups) for name, part in measures.items()}


def count_of(family: Family, measures: Measures) -> int:
    """Returns how many resamples a family of figures may have; 0 where too few to mean anything."""
    count = int(min(RESAMPLES, BUDGET / max(1.0, measures.n * family.cost)))
    return count if count >= FEWEST and measures.units > 1 else 0


def resamples(measures: Measures, count: int, seed: int) -> Iterator[np.ndarray]:
    """Yields the weights of resamples, float32 (resamples of a block, n): how often each example or its group is drawn."""
    rng = np.random.default_rng(seed)
    unit_of: Any = slice(None) if measures.groups is None else np.unique(measures.groups, return_inverse=True)[1]
    units, size = measures.units, max(1, BLOCK // measures.n)
    for start in range(0, count, size):
        rows = min(size, count - start)
        drawn = rng.integers(0, units, (rows, units)) + np.arange(rows)[:, None] * units
        yield np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype("float32")[:, unit_of]


def values_of(computes: Sequence[Compute], measures: Measures, count: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Returns key -> values (resamples, …) of several families, all for the same resamples, so that they can be subtracted."""
    parts: list[list[Mapping[str, np.ndarray]]] = [[] for _ in computes]
    for weights in resamples(measures, count, seed):
        for part, compute in zip(parts, computes, strict=True):
            part.append(compute(weights))
    return [{key: np.concatenate([block[key] for block in part]) for key in part[0]} for part in parts]


def point(compute: Compute, n: int) -> dict[str, np.ndarray]:
    """Returns key -> value () or (labels,) on the examples themselves."""
    return {key: values[0] for key, values in compute(np.ones((1, n))).items()}


def quantiles(values: np.ndarray) -> tuple[float, float] | None:
    """Returns the ends of the percentile interval; None where half of the resamples or more do not define the figure."""
    defined = values[np.isfinite(values)]
    if len(defined) < max(FEWEST, len(values) / 2):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


# === Estimates ===


def estimates(measures: Measures, *, seed: int = 0, families: Sequence[Family] | None = None) -> dict[str, Any]:
    """Returns every figure with its interval, as JSON holds them.

    Args:
        measures: the figures of a model.
        seed: of the resamples.
        families: those that are asked for; all when None.

    Returns:
        `n`; `groups`, how many are drawn, or None where examples are; `headline`; `figures`: name -> `title`, `higher` and `share` (see
        `Figure`), `value`, `low`, `high`, `resamples`; `labels`: label -> name -> `value`, `low`, `high`.
    """
    figures: dict[str, Any] = {}
    labels: dict[str, dict[str, Any]] = {}
    for family in measures.families if families is None else families:
        count, values = count_of(family, measures), point(family.compute, measures.n)
        drawn = values_of([family.compute], measures, count, seed)[0] if count else {}
        for item in family.figures:
            sampled = drawn.get(item.key)
            if item.each:
                for index, label in enumerate(measures.labels):
                    own = None if sampled is None else sampled[:, index]
                    labels.setdefault(label, {})[item.name] = _estimate(item, float(values[item.key][index]), own, measures).to_dict()
            else:
                meaning = {"title": item.title, "higher": item.higher, "share": item.share, "resamples": count}
                figures[item.name] = {**meaning, **_estimate(item, float(values[item.key]), sampled, measures).to_dict()}
    return {"n": measures.n, "groups": measures.group_count, "headline": measures.headline, "figures": figures, "labels": labels}


def headline(measures: Measures, *, seed: int = 0) -> Estimate:
    """Returns the figure that the task is judged by, with its interval."""
    row = estimates(measures, seed=seed, families=[measures.family_of(measures.headline)])["figures"][measures.headline]
    return Estimate(value=row["value"], low=row["low"], high=row["high"])


def _estimate(item: Figure, value: float, sampled: np.ndarray | None, measures: Measures) -> Estimate:
    if not np.isfinite(value):
        return Estimate(value=None)
    if item.counted and (measures.groups is None or value in (0, 1)):
        # Where all groups answer alike no resample differs: then each group counts as one answer.
        ends = wilson(measures.units, value)
    else:
        ends = None if sampled is None else quantiles(sampled)
        if ends is not None and item.biased:
            ends = max(0.0, 2 * value - ends[1]), max(0.0, 2 * value - ends[0])
    return Estimate(value=value) if ends is None else Estimate(value=value, low=ends[0], high=ends[1])


# === Text and report ===


def method(content: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns in words how intervals were made.

    Args:
        content: target -> what `estimates` returned.
    """
    groups = next((part.get("groups") for part in content.values()), None)
    if groups is None:
        return f"{BOOTSTRAP} ({KINDS}; Wilson for shares of right answers)"
    return f"{BOOTSTRAP} that draw whole groups, of which there are {groups:,} ({KINDS})"


def text(row: Mapping[str, Any]) -> str:
    """Returns a figure with its interval as text."""
    value = number(row["value"])
    return value if row["low"] is None else f"{value} ({number(row['low'])} to {number(row['high'])})"


def number(value: float | None) -> str:
    """Returns a figure with 3 decimals, and large ones with 4 digits; a dash where it is not defined."""
    if value is None or not np.isfinite(value):
        return figure(None)
    return figure(value) if abs(value) < 10 else f"{value:.4g}"


def lines(content: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the figures of each target as lines of the terminal."""
    shown = []
    for name, part in content.items():
        shown += [f"  {name}:"] if len(content) > 1 else []
        shown += [f"  {row['title']:<36} {text(row)}" for row in part["figures"].values()]
        for label, rows in part["labels"].items():
            shown.append(f"  {label:<24} " + "  ".join(f"{key.replace('_', ' ')} {text(row)}" for key, row in rows.items()))
    return [*shown, f"  {method(content)}"]


def section(content: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """Returns title and HTML of the figures, for the report.

    Args:
        content: target -> what `estimates` returned.
    """
    parts = []
    for name, part in content.items():
        title = f"<h3>{escape(name)}</h3>" if len(content) > 1 else ""
        rows = [(row["title"], text(row)) for row in part["figures"].values()]
        parts.append(title + table(("figure", "value (95 % interval)"), rows) + _labels(part["labels"]))
    return TITLE, "".join(parts) + f"<p class=muted>{escape(method(content))}.</p>"


def _labels(labels: Mapping[str, Mapping[str, Any]]) -> str:
    if not labels:
        return ""
    head = ("", *(key.replace("_", " ") for key in next(iter(labels.values()))))
    shown = [(label, *map(text, rows.values())) for label, rows in list(labels.items())[:LABELS_SHOWN]]
    more = f"<p class=muted>{len(labels) - LABELS_SHOWN} more in evaluation.json.</p>" if len(labels) > LABELS_SHOWN else ""
    return table(head, shown) + more
