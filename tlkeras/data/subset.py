"""A smaller data set of the same mixture."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict

from tlkeras.data.examples import Dataset, Example


def subset(dataset: Dataset, limit: int, seed: int) -> Dataset:
    """Returns at most `limit` examples, from each class and split in proportion, at least one of each.

    The choice depends on the seed and the ids alone; the order is kept.
    """
    if len(dataset.examples) <= limit:
        return dataset
    groups: dict[tuple[str, str | None], list[Example]] = defaultdict(list)
    for example in dataset.examples:
        groups[example.label, example.split].append(example)
    share = limit / len(dataset.examples)
    kept: set[str] = set()
    for members in groups.values():
        ranked = sorted(members, key=lambda one: hashlib.sha256(f"{seed}:{one.id}".encode()).digest())
        kept.update(one.id for one in ranked[: max(1, int(share * len(members)))])
    return dataclasses.replace(dataset, examples=tuple(one for one in dataset.examples if one.id in kept))
