"""Splits in which every label of a set, and every part of the range of a number, has its share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def assign(groups: Sequence[np.ndarray], labels: np.ndarray, order: np.ndarray, shares: Mapping[str, float]) -> list[str]:
    """Returns the part of each group by iterative stratification (Sechidis, Tsoumakas & Vlahavas 2011, doi 10.1007/978-3-642-23808-6_10).

    The rarest label comes first, since it is the hardest to share out: each of its groups goes where most examples with the label are
    still missing; in a tie, where most examples are missing. Groups without a label come last.

    Args:
        groups: indices of the examples that stay together.
        labels: uint8 (n, labels), 1 where an example has the label.
        order: float (groups,), which is assigned first.
        shares: part -> fraction of the examples; together 1.
    """
    counts = np.array([labels[index].sum(axis=0, dtype="int64") for index in groups]).reshape(len(groups), labels.shape[1])
    sizes = np.array([len(index) for index in groups])
    fractions = np.array(list(shares.values()))
    missing = fractions[:, None] * counts.sum(axis=0)[None, :]  # (parts, labels)
    room = fractions * sizes.sum()
    parts = np.full(len(groups), -1)
    left = (counts > 0).sum(axis=0)  # groups with the label that are not assigned yet

    def put(group: int, wishes: np.ndarray) -> None:
        part = int(max(range(len(fractions)), key=lambda i: (fractions[i] > 0, round(float(wishes[i]), 9), round(float(room[i]), 9))))
        parts[group] = part
        missing[part] -= counts[group]
        room[part] -= sizes[group]
        left[counts[group] > 0] -= 1

    by_order = np.argsort(order, kind="stable")
    while left.any():
        label = int(np.where(left > 0, left, left.max() + 1).argmin())
        for group in by_order[(parts[by_order] < 0) & (counts[by_order, label] > 0)]:
            put(int(group), missing[:, label])
    for group in by_order[parts[by_order] < 0]:
        put(int(group), room)
    names = list(shares)
    return [names[part] for part in parts]


BINS = 10  # quantiles that the folds of numbers are stratified by


def quantiles(numbers: np.ndarray) -> np.ndarray:
    """Returns in which tenth of the examples each number (n, numbers) is: int (n,) of one number, uint8 (n, numbers * 10) of several."""
    edges = [np.quantile(column, np.arange(1, BINS) / BINS) for column in numbers.T] if len(numbers) else []
    bins = [np.searchsorted(edge, column, side="right") for edge, column in zip(edges, numbers.T, strict=True)]
    if len(bins) == 1:
        return bins[0].astype("int32")
    return np.concatenate([np.eye(BINS, dtype="uint8")[column] for column in bins], axis=1) if bins else np.zeros((0, 1), "uint8")
