"""What the audit says of the values of examples: how many there are of each class, the range of numbers, and what is unusual about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkeras.data.examples import Issue
from tlkeras.data.split_names import TEST, TRAIN, VAL
from tlkeras.data.target import KINDS, Target, by_part, number_text
from tlkeras.registry import load_function

SPLITS = (TRAIN, VAL, TEST)
IMBALANCE = 20  # largest class over smallest, from which it is reported
# Iglewicz & Hoaglin 1993, "How to Detect and Handle Outliers": distances from the median in units of MAD / 0.6745, of which they call more
# than 3.5 potential outliers. The threshold is higher, so that a skewed distribution is not reported as a whole.
MAD_OF_NORMAL, OUTLIER = 0.6745, 6.0

Figures = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about the examples whose values are audited.

    Args:
        ids: of each.
        splits: of each.
        noun: what one example is called.
        weighted: whether the weights of classes can be set, so that advice names them.
    """

    ids: Sequence[str]
    splits: Sequence[str]
    noun: str
    weighted: bool = True


def figures(target: Target, values: Sequence[Any], splits: Sequence[str]) -> Figures:
    """Returns what `data_audit.json` has of each entry of the label map: split -> number of examples, or facts about the numbers."""
    return load_function(KINDS.get(target.kind).figures)(target, values, splits)


def issues(target: Target, values: Sequence[Any], facts: Facts) -> Iterator[Issue]:
    """Yields what is unusual about the values."""
    return load_function(KINDS.get(target.kind).issues)(target, values, facts)


# === Classes and labels ===


def counts(target: Target, values: Sequence[Any], splits: Sequence[str]) -> Figures:
    """Returns the number of examples of each label in each split."""
    table = {label: dict.fromkeys(SPLITS, 0) for label in target.labels}
    for value, split in zip(values, splits, strict=True):
        for label in target.tally(value):
            table[label][split] += 1
    return table


def lopsided(target: Target, values: Sequence[Any], facts: Facts) -> Iterator[Issue]:
    """Yields labels of a single example, imbalance, and labels that are held out only."""
    total = Counter(label for value in values for label in target.tally(value))
    for label in target.labels:
        if total[label] == 1:
            yield Issue(
                kind=f"single-example-{target.entry}", path=label, reason=f"only one {facts.noun}, so none can be held out", action="kept"
            )
    present = [label for label in target.labels if total[label]]
    if present:
        large, small = max(present, key=total.__getitem__), min(present, key=total.__getitem__)
        if total[large] >= IMBALANCE * total[small]:
            reason = f"{large!r} has {total[large]} {facts.noun}s and {small!r} {total[small]}"
            reason += "; --class-weights compensates for that" if facts.weighted else ""
            yield Issue(kind="imbalance", path=small, reason=reason, action="kept")
    yield from _untrained(target, values, facts)


def _untrained(target: Target, values: Sequence[Any], facts: Facts) -> Iterator[Issue]:
    """Names classes which the source holds out only: the model would never see one of them."""
    table = counts(target, values, facts.splits)
    if not any(row[TRAIN] for row in table.values()):  # nothing is to be trained on: an evaluation
        return
    for label, row in table.items():
        if not row[TRAIN] and any(row.values()):
            reason = f"all its {facts.noun}s are in val or test, so it cannot be learnt"
            yield Issue(kind=f"untrained-{target.entry}", path=label, reason=reason, action="kept")


def unusual_labels(target: Target, values: Sequence[tuple[str, ...]], facts: Facts) -> Iterator[Issue]:
    """Yields what is lopsided about sets of labels, and labels that all training examples have, or none of any split."""
    yield from lopsided(target, values, facts)
    table, trained = counts(target, values, facts.splits), facts.splits.count(TRAIN)
    for label, row in table.items():
        if trained and (row[TRAIN] == trained or not any(row.values())):
            reason = f"{'every' if row[TRAIN] else 'no'} {facts.noun} has it, so it cannot be learnt"
            yield Issue(kind="constant-label", path=label, reason=reason, action="kept")


# === Numbers ===


def ranges(target: Target, values: Sequence[tuple[float, ...]], splits: Sequence[str]) -> Figures:
    """Returns number of examples, least, mean and largest of each number in each split."""
    table: Figures = {}
    where = np.array(splits, dtype=object)
    for index, label in enumerate(target.labels):
        column = np.array([value[index] for value in values], "float64")
        table[label] = {split: _range(column[where == split]) for split in SPLITS}
    return table


def _range(column: np.ndarray) -> dict[str, float | int | None]:
    if not len(column):
        return {"n": 0, "min": None, "mean": None, "max": None}
    return {"n": len(column), "min": float(column.min()), "mean": float(column.mean()), "max": float(column.max())}


def unusual_numbers(target: Target, values: Sequence[tuple[float, ...]], facts: Facts) -> Iterator[Issue]:
    """Yields numbers far from all others, and those that are equal in all training examples."""
    trained = np.array([split == TRAIN for split in facts.splits], bool)
    for index, label in enumerate(target.labels):
        column = np.array([value[index] for value in values], "float64")
        median = float(np.median(column)) if len(column) else 0.0
        spread = float(np.median(np.abs(column - median))) if len(column) else 0.0
        distance = MAD_OF_NORMAL * np.abs(column - median) / spread if spread else np.zeros(len(column))
        for at in map(int, np.flatnonzero(distance > OUTLIER)):
            reason = (
                f"{label} is {number_text(column[at])}; the median is {number_text(median)}, and half of the {facts.noun}s are within "
                f"{number_text(spread)} of it"
            )
            yield Issue(kind="outlier", path=facts.ids[at], reason=reason, action="kept")
        if trained.any() and np.ptp(column[trained]) == 0:
            reason = f"{number_text(column[trained][0])} in every {facts.noun} of the training split, so it cannot be learnt"
            yield Issue(kind="constant-number", path=label, reason=reason, action="kept")


# === Several ===


def figures_of_parts(target: Target, values: Sequence[tuple[Any, ...]], splits: Sequence[str]) -> Figures:
    """Returns the figures of each part, as `NAME:LABEL`."""
    return {
        f"{part.name}:{entry}": row
        for part, column in zip(target.parts, by_part(target, values), strict=True)
        for entry, row in figures(part, column, splits).items()
    }


def issues_of_parts(target: Target, values: Sequence[tuple[Any, ...]], facts: Facts) -> Iterator[Issue]:
    """Yields what is unusual about each part."""
    own = Facts(ids=facts.ids, splits=facts.splits, noun=facts.noun, weighted=False)
    for part, column in zip(target.parts, by_part(target, values), strict=True):
        for issue in issues(part, column, own):
            yield Issue(kind=issue.kind, path=_of_part(part, issue.path), reason=f"{part.name}: {issue.reason}", action=issue.action)


def _of_part(part: Target, path: str) -> str:
    """Returns the name of a label among those of all parts; that of an example stays."""
    return f"{part.name}:{path}" if path in part.labels else path
