"""Which examples are held out: by their content, so that a file stays where it is when others are added."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "val", "test")
DEFAULT = 0.15


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Indices into a store: int64 arrays, ascending, disjoint, together all of it."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def split(
    sha256: Sequence[str],
    y: np.ndarray,
    source_splits: Sequence[str | None],
    *,
    val_split: float | None = None,
    test_split: float | None = None,
    seed: int = 0,
) -> Splits:
    """Splits examples.

    Each content gets a number in [0, 1) from its hash and the seed; below `test_split` it is for the test, then for
    validation, else for training. So copies stay together, and adding or renaming files moves no other. Each class
    is hit in proportion up to chance; a class with three or more different images gets at least one in each
    split asked for (the one whose number is nearest), which is the only case where an added file can move another.
    Splits that the source gives are kept; one that it lacks is carved from its training examples only when asked for
    or, for validation, when there is none.

    Args:
        sha256: of the content of each example.
        y: (n,) class of each example; or (n, labels), which labels it has.
        source_splits: the split from the source, or None, for each example.
        val_split, test_split: fractions; None means 0.15 where the source has no splits.
        seed: of the numbers.
    """
    has = {name for name in source_splits if name}
    test = _fraction(test_split, 0.0 if has else DEFAULT)
    val = _fraction(val_split, 0.0 if "val" in has else DEFAULT)
    # Where a name's numbers begin and end; one that the source gives takes nothing from the rest.
    ranges = {"test": (0.0, 0.0 if "test" in has else test)}
    ranges["val"] = (ranges["test"][1], ranges["test"][1] + (0.0 if "val" in has else val))
    names = np.array([name or "train" for name in source_splits], dtype=object)
    numbers = np.array([_number(seed, one) for one in sha256])
    pool = names == "train"
    for name, (low, high) in ranges.items():
        names[pool & (numbers >= low) & (numbers < high)] = name
    split_names = ["train", *(name for name, (low, high) in ranges.items() if high > low)]
    for members in [y == label for label in np.unique(y[pool])] if y.ndim == 1 else y.T > 0:
        _repair(names, pool, pool & members, numbers, np.array(sha256), split_names)
    return Splits(**{name: np.flatnonzero(names == name) for name in SPLITS})


def _fraction(asked: float | None, default: float) -> float:
    return default if asked is None else asked


def _number(seed: int, sha256: str) -> float:
    digest = hashlib.sha256(f"{seed}:{sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _repair(
    names: np.ndarray, pool: np.ndarray, members: np.ndarray, numbers: np.ndarray, hashes: np.ndarray, split_names: Sequence[str]
) -> None:
    """Gives every wanted split an image of the class, from the split that has most; training comes first."""
    contents = len(set(hashes[members]))
    for name in split_names if contents >= len(SPLITS) else split_names[:1]:
        if (members & (names == name)).any():
            continue
        held = {other: len(set(hashes[members & (names == other)])) for other in split_names}
        donor = max(held, key=lambda other: held[other])
        if held[donor] < 2 and name != "train":
            continue
        candidates = np.flatnonzero(members & (names == donor))
        # Training takes the highest number, a held-out split the lowest: the nearest to where it would have been.
        chosen = (max if name == "train" else min)(candidates, key=lambda i: numbers[i])
        names[pool & (hashes == hashes[chosen])] = name
