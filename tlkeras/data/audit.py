"""Issues with the data, each with path and reason, found before training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tlkeras.data import audit_targets
from tlkeras.data.examples import Issue
from tlkeras.data.split import SPLITS, Splits
from tlkeras.data.store import Store

NEAR = 3  # bits in which the hashes of two near-duplicates may differ, of 64
LISTED = 100  # issues of one kind that are listed; all are counted
CROWD = 1000  # images with one band of the hash in common that are compared with each other
FLAT = 6  # hashes with fewer bits set, or unset, come from images without structure and say nothing


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The issues found, counted and listed.

    Args:
        issues: at most `LISTED` of each kind.
        counts: kind -> how many there are.
        classes: label -> split -> number of examples; or name of a number -> split -> n, min, mean and max.
        skipped: examples that could not be used.
    """

    issues: tuple[Issue, ...]
    counts: dict[str, int]
    classes: dict[str, dict[str, Any]]
    skipped: int

    def to_dict(self) -> dict[str, Any]:
        """Returns what `data_audit.json` holds."""
        return {
            "skipped": self.skipped,
            "counts": self.counts,
            "classes": self.classes,
            "issues": [asdict(issue) for issue in self.issues],
        }

    def summary(self, shown: int = 3) -> list[str]:
        """Returns lines for the screen: for each kind the count and the first few."""
        lines = []
        for kind, count in sorted(self.counts.items()):
            first = [issue for issue in self.issues if issue.kind == kind][:shown]
            more = f" … and {count - len(first)} more in data_audit.json" if count > len(first) else ""
            lines.append(f"audit: {kind} ({count}): " + "; ".join(f"{i.path}: {i.reason} ({i.action})" for i in first) + more)
        return lines


def audit(store: Store, splits: Splits) -> Audit:
    """Looks for bad files, duplicates, leaks between splits, near-duplicates and unusual targets."""
    where = _split_of(store, splits)
    facts = audit_targets.Facts(ids=[example.id for example in store.examples], splits=where, noun=store.noun)
    issues = [
        *store.notes,
        *store.skipped,
        *_duplicates(store, where),
        *_near_duplicates(store, where),
        *audit_targets.issues(store.target, store.values, facts),
    ]
    counts = Counter(issue.kind for issue in issues)
    listed: Counter[str] = Counter()
    reported = []
    for issue in issues:
        listed[issue.kind] += 1
        if listed[issue.kind] <= LISTED:
            reported.append(issue)
    return Audit(
        issues=tuple(reported),
        counts=dict(counts),
        classes=audit_targets.figures(store.target, store.values, where),
        skipped=len(store.skipped),
    )


def _split_of(store: Store, splits: Splits) -> list[str]:
    where = [""] * len(store)
    for name in SPLITS:
        for index in getattr(splits, name):
            where[index] = name
    return where


def _duplicates(store: Store, where: Sequence[str]) -> Iterator[Issue]:
    groups: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(store.sha256):
        groups[digest].append(index)
    for first, *others in groups.values():
        for other in others:
            kind, tail = "duplicate", ""
            if store.values[first] != store.values[other]:
                kind, tail = (
                    "contradicting-labels",
                    f", labelled {store.target.text(store.values[first])!r} there and {store.target.text(store.values[other])!r} here",
                )
            elif where[first] != where[other]:
                kind, tail = "duplicate-across-splits", f", which is in {where[first]} and this in {where[other]}"
            yield Issue(kind=kind, path=store.examples[other].id, reason=f"same content as {store.examples[first].id}{tail}", action="kept")


def _near_duplicates(store: Store, where: Sequence[str]) -> Iterator[Issue]:
    for first, other in _same_words(store) if store.alike else near_pairs(store.dhash):
        if store.sha256[first] == store.sha256[other]:
            continue
        across = where[first] != where[other]
        kind = "near-duplicate-across-splits" if across else "near-duplicate"
        tail = f", which is in {where[first]} and this in {where[other]}" if across else ""
        yield Issue(kind=kind, path=store.examples[other].id, reason=f"looks like {store.examples[first].id}{tail}", action="kept")


def _same_words(store: Store) -> Iterator[tuple[int, int]]:
    seen: dict[str, int] = {}
    for index, words in enumerate(store.alike):
        if words:
            first = seen.setdefault(words, index)
            if first != index:
                yield first, index


def near_pairs(hashes: np.ndarray, distance: int = NEAR) -> list[tuple[int, int]]:
    """Returns pairs (i, j), i < j, whose hashes differ in at most `distance` bits; each j appears once at most.

    Hashes that differ in at most 3 of 64 bits agree in one of four 16-bit bands at least, so only such pairs are
    compared. Hashes of flat images are left out, and of a band that more than `CROWD` images share (drawings on an
    even ground) only the first ones are compared, so that the time grows with the number of images and not its square.
    """
    ones = np.bitwise_count(hashes)
    useful = np.flatnonzero((ones >= FLAT) & (ones <= 64 - FLAT))
    best: dict[int, int] = {}
    for band in range(distance + 1):  # pigeonhole: 3 differing bits leave one of 4 bands alone
        keys = (hashes[useful] >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = useful[np.argsort(keys, kind="stable")]
        sizes = np.unique(keys, return_counts=True)[1]
        for group in np.split(order, np.cumsum(sizes)[:-1]):
            group = group[:CROWD]
            for position, other in enumerate(group[1:], start=1):
                close = np.flatnonzero(np.bitwise_count(hashes[group[:position]] ^ hashes[other]) <= distance)
                if len(close):
                    first = int(group[close[0]])
                    best[int(other)] = min(first, best.get(int(other), first))
    return sorted((first, other) for other, first in best.items())
