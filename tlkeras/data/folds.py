"""The folds of a cross-validation: stratified, repeated, and without anything that belongs together on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlkeras.data.split import in_columns, together
from tlkeras.data.stratify import assign
from tlkeras.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Folds:
    """Which fold each example is tested in, in each repeat.

    Args:
        tested: int (repeats, n), from 0.
        count: folds of a repeat.
        keys: what must not be separated has the same one, (n,).
    """

    tested: np.ndarray
    count: int
    keys: tuple[str, ...]

    @property
    def repeats(self) -> int:
        """How often the examples are dealt out anew."""
        return len(self.tested)

    def pairs(self) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
        """Returns (repeat, fold, indices to learn from, indices to test) of every fold."""
        return [
            (repeat, fold, np.flatnonzero(row != fold), np.flatnonzero(row == fold))
            for repeat, row in enumerate(self.tested)
            for fold in range(self.count)
        ]


def parse(text: str) -> tuple[int, int]:
    """Returns the number of folds and of repeats.

    Example:
        >>> parse("5"), parse("10x3")
        ((5, 1), (10, 3))
    """
    count, _, repeats = text.partition("x")
    return int(count), int(repeats or 1)


def check_count(count: int, members: int, *, grouped: bool) -> None:
    """Checks that there is enough to deal out.

    Args:
        count: folds.
        members: what can be dealt out: different examples, or groups.
        grouped: whether it is groups.

    Raises:
        ConfigError: when there is less than folds.
    """
    if members < count:
        raise ConfigError(
            f"cross_validate asks for {count} folds, and there are {members} {'groups' if grouped else 'different examples'}; "
            f"expected {members} folds or less"
        )


def deal(
    strata: np.ndarray,
    sha256: Sequence[str],
    *,
    count: int,
    repeats: int = 1,
    groups: Sequence[str | None] | None = None,
    seed: int = 0,
) -> Folds:
    """Deals examples out to folds, so that each has its share of every class, label or quantile.

    What belongs together (equal content, a group) is in one fold. Shares are those of iterative stratification
    (`stratify.assign`). Without groups every repeat differs by chance alone; with groups, larger ones are dealt out first, as nothing evens
    them out afterwards.

    Args:
        strata: int (n,), the class of each example; or uint8 (n, labels), which labels it has.
        sha256: of the content of each example.
        count: folds.
        repeats: how often.
        groups: what each example belongs to, or None.
        seed: of the order in which they are dealt out.

    Raises:
        ConfigError: when there is less to deal out than folds.
    """
    keys = together(sha256, groups or [None] * len(sha256))
    _, first, inverse = np.unique(np.array(keys), return_index=True, return_inverse=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    grouped = groups is not None and any(group is not None for group in groups)
    check_count(count, len(members), grouped=grouped)
    columns = in_columns(strata)
    sizes = np.array([len(index) for index in members]) if grouped else np.zeros(len(members), int)
    rows = []
    for repeat in range(repeats):
        chance = [hashlib.sha256(f"{seed}:{repeat}:{keys[index]}".encode()).digest() for index in first]
        order = np.empty(len(members))
        order[sorted(range(len(members)), key=lambda unit: (-sizes[unit], chance[unit]))] = np.arange(len(members))
        parts = assign(members, columns, order, {str(fold): 1 / count for fold in range(count)})
        row = np.empty(len(keys), "int32")
        for index, part in zip(members, parts, strict=True):
            row[index] = int(part)
        rows.append(row)
    return Folds(tested=np.stack(rows), count=count, keys=tuple(keys))


def whole_groups(groups: np.ndarray, count: int) -> np.ndarray:
    """Returns the fold of each example, int (n,): the largest group first, each where most room is left.

    Args:
        groups: int (n,), what is not separated has the same number.
        count: folds, no more than groups.
    """
    _, of_group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    fold_of, filled = np.empty(len(sizes), int), np.zeros(count)
    for group in np.argsort(-sizes, kind="stable"):
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    return np.asarray(fold_of[of_group])
