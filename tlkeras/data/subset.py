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
    ids: set[str] = set()
    for members in groups.values():
        ranked = sorted(members, key=lambda example: hashlib.sha256(f"{seed}:{example.id}".encode()).digest())
        ids.update(example.id for example in ranked[: max(1, int(share * len(members)))])
    return dataclasses.replace(dataset, examples=tuple(example for example in dataset.examples if example.id in ids))
