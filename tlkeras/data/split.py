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
    given: Sequence[str | None],
    *,
    val_split: float | None = None,
    test_split: float | None = None,
    seed: int = 0,
) -> Splits:
    """Splits examples.

    Each content gets a number in [0, 1) from its hash and the seed; below `test_split` it is for the test, then for
    validation, else for training. So copies stay together, and adding or renaming files moves no other. Each class
    is hit in proportion up to chance; a class with three or more different pictures gets at least one in each
    split asked for (the one whose number is nearest), which is the only case where an added file can move another.
    Splits that the source gives are kept; one that it lacks is carved from its training examples only when asked for
    or, for validation, when there is none.

    Args:
        sha256: of the content of each example.
        y: (n,) class of each example.
        given: the split that the source says, or None, for each example.
        val_split, test_split: fractions; None means 0.15 where the source has no splits.
        seed: of the numbers.
    """
    has = {name for name in given if name}
    fractions = {"test": _fraction(test_split, 0.0 if has else DEFAULT), "val": _fraction(val_split, 0.0 if "val" in has else DEFAULT)}
    names = np.array([name or "train" for name in given], dtype=object)
    numbers = np.array([_number(seed, one) for one in sha256])
    limits = {"test": (0.0, fractions["test"]), "val": (fractions["test"], fractions["test"] + fractions["val"])}
    pool = names == "train"
    for name, (low, high) in limits.items():
        if high > low and name not in has:
            names[pool & (numbers >= low) & (numbers < high)] = name
            _repair(names, pool, numbers, sha256, y, name, high)
    return Splits(**{name: np.flatnonzero(names == name) for name in SPLITS})


def _fraction(asked: float | None, default: float) -> float:
    return default if asked is None else asked


def _number(seed: int, sha256: str) -> float:
    digest = hashlib.sha256(f"{seed}:{sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _repair(names: np.ndarray, pool: np.ndarray, numbers: np.ndarray, sha256: Sequence[str], y: np.ndarray, name: str, high: float) -> None:
    """Gives `name` one picture of each class that chance left without, and leaves one at least for training."""
    hashes = np.array(sha256)
    for label in np.unique(y[pool]):
        members = np.flatnonzero(pool & (y == label))
        if len(set(hashes[members])) >= 3 and not (names[members] == name).any():
            nearest = min((i for i in members if names[i] == "train"), key=lambda i: abs(numbers[i] - high), default=None)
            if nearest is not None:
                names[pool & (hashes == hashes[nearest])] = name
        if not (names[members] == "train").any():
            last = max(members, key=lambda i: numbers[i])
            names[pool & (hashes == hashes[last])] = "train"
