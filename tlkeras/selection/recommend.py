"""From a race and the costs to a recommendation: ranking, Pareto front, the choice, and its reason in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlkeras.selection import race
from tlkeras.selection.race import Race

FORMAT = 1


def ranking(course: Race, facts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a record of each candidate, best first.

    Args:
        course: the race.
        facts: name -> further fields of its record.
    """
    order = course.order
    records = []
    for rank, name in enumerate(order, start=1):
        rung = course.last_of(name)
        own = rung.estimates[name]
        first = max(rung.estimates, key=lambda other: rung.estimates[other].figure)
        behind = race.difference(rung.estimates[first], own)
        records.append(
            {
                "backbone": name,
                "rank": rank,
                "figure": own.figure,
                "standard_error": own.error,
                "interval": list(own.interval),
                "examples": own.examples,
                "behind": None
                if name == first
                else {
                    "best": first,
                    "difference": behind.figure,
                    "standard_error": behind.error,
                    "interval": list(behind.interval),
                    "significant": behind.significant,
                },
                "left": rung.left.get(name),
                **facts[name],
            }
        )
    return records


def finalists(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the records of the candidates that were compared on most examples."""
    return [record for record, early in zip(records, left_early(records), strict=True) if not early]


def left_early(records: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Returns whether the figure of each candidate is of fewer examples than those of the finalists, and so not comparable with them."""
    most = max(record["examples"] for record in records)
    return [record["examples"] < most for record in records]


def chosen(records: Sequence[Mapping[str, Any]], price: str | None = None) -> Mapping[str, Any]:
    """Returns the record of the recommended candidate.

    That is the best one; or, where a price counts, the cheapest of those that are at most one standard error of the difference behind it
    (the rule of Breiman et al. 1984, Classification and Regression Trees, section 3.4.3).

    Args:
        records: of `ranking`.
        price: field of the records; None where only the figure counts.
    """
    last = finalists(records)
    if price is None:
        return last[0]
    near = [record for record in last if record["behind"] is None or record["behind"]["difference"] <= record["behind"]["standard_error"]]
    priced = [record for record in near if record[price] is not None]
    return min(priced, key=lambda record: record[price]) if priced else last[0]


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns the indices of the points that no other one beats: none costs less and is better, or equal in one of these.

    Args:
        points: (cost, figure) of each.

    Example:
        >>> front([(1.0, 0.8), (2.0, 0.9), (3.0, 0.85)])
        [0, 1]
    """
    return [
        index
        for index, (cost, figure) in enumerate(points)
        if not any(
            other_cost <= cost and other >= figure and (other_cost, other) != (cost, figure)
            for at, (other_cost, other) in enumerate(points)
            if at != index
        )
    ]


def on_front(records: Sequence[Mapping[str, Any]], cost: str) -> list[bool]:
    """Returns whether each candidate is one that no other one beats; those that left early do not count, see `left_early`.

    Args:
        records: of `ranking`.
        cost: field of the records; those where it is None are not compared either.
    """
    early = left_early(records)
    known = [index for index, record in enumerate(records) if not early[index] and record[cost] is not None]
    best = {known[index] for index in front([(records[index][cost], records[index]["figure"]) for index in known])}
    return [index in best for index in range(len(records))]


def reason(records: Sequence[Mapping[str, Any]], choice: Mapping[str, Any], measure: str, folds: int, price: str | None) -> str:
    """Returns why a candidate is recommended, in one or two sentences."""
    last = finalists(records)
    best = last[0]
    low, high = choice["interval"]
    text = (
        f"{choice['backbone']} has {measure} {choice['figure']:.3f} (95 % interval {low:.3f} to {high:.3f}): an exact head on its frozen "
    )
    text += f"features, in {folds}-fold cross-validation on {choice['examples']:,} examples"
    if len(records) == 1:
        return f"{text}; it is the only backbone whose weights could be had"
    if choice is not best:
        how = f"{choice[price]:.1f} ms" if price and price.startswith("latency") else "of the smallest cost"
        ahead = choice["behind"]["difference"]
        return (
            f"{text}; it is the cheapest ({how}) of those within one standard error of the best, {best['backbone']}, "
            f"which is {ahead:.3f} better ({_certainty(choice)})"
        )
    text += f", the highest of {len(records)} backbones"
    if len(last) > 1:
        second = last[1]
        return f"{text}; {second['backbone']} is {second['behind']['difference']:.3f} behind ({_certainty(second)})"
    second = records[1]
    return f"{text}; the last other one, {second['backbone']}, left the comparison: {second['left']}"


def _certainty(record: Mapping[str, Any]) -> str:
    low, high = record["behind"]["interval"]
    known = "a significant difference" if record["behind"]["significant"] else "which may be chance"
    return f"{known}: 95 % interval {low:.3f} to {high:.3f}"
