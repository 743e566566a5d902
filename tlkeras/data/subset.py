"""A smaller data set of the same mixture."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict

import numpy as np

from tlkeras.data.examples import Dataset, Example
from tlkeras.data.stratify import assign
from tlkeras.errors import ConfigError


def subset(dataset: Dataset, limit: int, seed: int) -> Dataset:
    """Returns at most `limit` examples, from each class and split in proportion, at least one of each; numbers by chance alone.

    Raises:
        ConfigError: for a limit below the number of classes.

    Sets of labels are chosen so that each label has its share, see `stratify.assign`.
    The choice depends on the seed and the ids alone; the order is kept.
    """
    examples = dataset.examples
    if len(examples) <= limit:
        return dataset
    strata = dataset.target.strata([example.label for example in examples])
    ranked = sorted(range(len(examples)), key=lambda index: _digest(examples[index], seed))
    if strata.ndim > 1:
        chosen = _of_sets(examples, strata, ranked, limit)
    else:
        groups: dict[tuple[int, str | None], list[int]] = defaultdict(list)
        for index in ranked:
            groups[int(strata[index]), examples[index].split].append(index)
        if len(groups) > limit:
            raise ConfigError(
                f"limit is {limit}, and {dataset.name} has {len(groups):,} classes (or classes in splits), of each of which one example at "
                f"least is used; pass --limit {len(groups)} or more"
            )
        share = limit / len(examples)
        counts = {group: max(1, int(share * len(members))) for group, members in groups.items()}
        for _ in range(sum(counts.values()) - limit):  # what the smallest groups have more than their share, the largest give
            counts[max(counts, key=lambda group: counts[group])] -= 1
        chosen = {index for group, members in groups.items() for index in members[: counts[group]]}
    return dataclasses.replace(dataset, examples=tuple(example for index, example in enumerate(examples) if index in chosen))


def _digest(example: Example, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{example.id}".encode()).digest()


def _of_sets(examples: tuple[Example, ...], strata: np.ndarray, ranked: list[int], limit: int) -> set[int]:
    """Returns indices of a part of each split in which every label has its share."""
    share = limit / len(examples)
    chosen: list[int] = []
    for split in dict.fromkeys(example.split for example in examples):
        members = [index for index in ranked if examples[index].split == split]
        groups = [np.array([index]) for index in members]
        parts = assign(groups, strata, np.arange(len(members)), {"in": share, "out": 1 - share})
        inside = [index for index, part in zip(members, parts, strict=True) if part == "in"]
        chosen += inside[: max(1, int(share * len(members)))]
    return set(chosen)
