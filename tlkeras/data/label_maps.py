"""The label maps of a dataset, and whether there is something to learn in its values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from tlkeras.data.target import KINDS, Target, by_part
from tlkeras.errors import DataError
from tlkeras.registry import load_function

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def ordered(labels: Iterable[str]) -> list[str]:
    """Returns labels in the order of their class ids: numerical where all are numbers, lexicographic otherwise.

    Example:
        >>> ordered({"10", "2", "1"}), ordered({"10", "2", "b"})
        (['1', '2', '10'], ['10', '2', 'b'])
    """
    names = sorted(labels)
    return sorted(names, key=float) if all(NUMBER.fullmatch(name) for name in names) else names


def complete(name: str, draft: Target, values: Sequence[Any]) -> Target:
    """Returns a target with the label maps of its values.

    Args:
        name: of the source, for errors.
        draft: the target without them.
        values: of the examples.

    Raises:
        DataError: when there is nothing to learn: one class, one label, or numbers that are all equal.
    """
    return load_function(KINDS.get(draft.kind).complete)(name, draft, values)


def complete_class(name: str, draft: Target, values: Sequence[str]) -> Target:
    """Returns the classes that occur, of which there must be two."""
    classes = ordered(set(values))
    if len(classes) < 2:
        raise DataError(f"{name} has only one class ({classes[0]!r}); expected two or more")
    return replace(draft, labels=tuple(classes))


def complete_labels(name: str, draft: Target, values: Sequence[tuple[str, ...]]) -> Target:
    """Returns the labels that occur, and those that have a column of their own, of which there must be two."""
    labels = ordered({*draft.labels, *(label for value in values for label in value)})
    if draft.labels and not any(values):
        raise DataError(f"{name} has no example with any of the labels {', '.join(draft.labels)}; expected at least one 1")
    if len(labels) < 2:
        had = f"only one label ({labels[0]!r})" if labels else "no labels"
        raise DataError(f"{name} has {had}; expected sets of two or more labels: pass --label-separator if labels stand in one cell")
    return replace(draft, labels=tuple(labels))


def complete_numbers(name: str, draft: Target, values: Sequence[tuple[float, ...]]) -> Target:
    """Returns the numbers, each of which must be finite and differ between examples."""
    for label, column in zip(draft.labels, zip(*values, strict=True), strict=True):
        if not all(map(math.isfinite, column)):
            raise DataError(f"{name} has {label} = {next(v for v in column if not math.isfinite(v))}; expected finite numbers")
        if min(column) == max(column):
            raise DataError(f"{name} has {label} = {column[0]:g} in every example; expected numbers that differ")
    return draft


def complete_several(name: str, draft: Target, values: Sequence[tuple[Any, ...]]) -> Target:
    """Returns the parts with their label maps."""
    columns = by_part(draft, values)
    parts = [complete(f"{name}, target {part.name!r},", part, column) for part, column in zip(draft.parts, columns, strict=True)]
    return replace(Target.several(parts, draft.facts), name=draft.name)
