"""What differs between two entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tlkeras.zoo.store import Entry

# What differs between any two entries, or is reported as files.
NOT_COMPARED = {"entry", "files"}
ABSENT = "absent"


@dataclass(frozen=True, kw_only=True)
class Diff:
    """The differences, seen from the first entry.

    Args:
        added: files that only the second has.
        removed: files that only the first has.
        changed: file -> bytes in the first and in the second.
        values: dotted key of the manifest -> value in the first and in the second.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[int, int]]
    values: Mapping[str, tuple[Any, Any]]


def diff(a: Entry, b: Entry) -> Diff:
    """Compares the files and the manifests of two entries."""
    ours, theirs = a.files, b.files
    both = sorted(set(ours) & set(theirs))
    before, after = dict(_leaves(a.manifest)), dict(_leaves(b.manifest))
    keys = [*before, *(key for key in after if key not in before)]
    return Diff(
        added=tuple(sorted(set(theirs) - set(ours))),
        removed=tuple(sorted(set(ours) - set(theirs))),
        changed={path: (ours[path]["bytes"], theirs[path]["bytes"]) for path in both if ours[path]["sha256"] != theirs[path]["sha256"]},
        values={
            key: (before.get(key, ABSENT), after.get(key, ABSENT)) for key in keys if before.get(key, ABSENT) != after.get(key, ABSENT)
        },
    )


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if prefix or key not in NOT_COMPARED:
                yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
