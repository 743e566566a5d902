"""Which examples are held out: by their content, so that a file stays where it is when others are added."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tlkeras.data.stratify import assign
from tlkeras.errors import DataError

SPLITS = ("train", "val", "test")
DEFAULT = 0.15


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Indices into a store: int64 arrays, ascending, disjoint, together all of it."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    def names(self) -> list[str]:
        """Returns the name of the split of each example.

        Example:
            >>> Splits(train=np.array([0, 2]), val=np.array([1]), test=np.array([], int)).names()
            ['train', 'val', 'train']
        """
        parts = {name: getattr(self, name) for name in SPLITS}
        names = np.empty(sum(map(len, parts.values())), object)
        for name, index in parts.items():
            names[index] = name
        return names.tolist()


def split(
    sha256: Sequence[str],
    strata: np.ndarray,
    source_splits: Sequence[str | None],
    *,
    val_split: float | None = None,
    test_split: float | None = None,
    seed: int = 0,
    groups: Sequence[str | None] | None = None,
) -> Splits:
    """Splits examples.

    Each content gets a number in [0, 1) from its hash and the seed; below `test_split` it is for the test, then for
    validation, else for training. So copies stay together, and adding or renaming files moves no other. Each class
    is hit in proportion up to chance; a class with three or more different images gets at least one in each
    split asked for (the one whose number is nearest), which is the only case where an added file can move another.
    Sets of labels are shared out by `stratify.assign`, so that each label is hit in proportion; there, adding files can move others.
    Splits that the source gives are kept; one that it lacks is carved from its training examples only when asked for
    or, for validation, when there is none.

    Args:
        sha256: of the content of each example.
        strata: int (n,), the class of each example; or uint8 (n, labels), which labels it has.
        source_splits: the split from the source, or None, for each example.
        val_split, test_split: fractions; None means 0.15 where the source has no splits.
        seed: of the numbers.
        groups: what each example belongs to, or None. Where there are any, everything that belongs together is in one split, and groups are
            shared out by `stratify.assign`, as sets of labels are.
    """
    grouped = groups is not None and any(group is not None for group in groups)
    if grouped and groups is not None:
        sha256, strata = together(sha256, groups), in_columns(strata)
        _check_whole(sha256, source_splits)
    has = {name for name in source_splits if name}
    test = _fraction(test_split, 0.0 if has else DEFAULT)
    val = _fraction(val_split, 0.0 if "val" in has else DEFAULT)
    # Where a name's numbers begin and end; one that the source gives takes nothing from the rest.
    ranges = {"test": (0.0, 0.0 if "test" in has else test)}
    ranges["val"] = (ranges["test"][1], ranges["test"][1] + (0.0 if "val" in has else val))
    names = np.array([name or "train" for name in source_splits], dtype=object)
    numbers = np.array([_number(seed, one) for one in sha256])
    pool = names == "train"
    if strata.ndim > 1:
        shares = {name: high - low for name, (low, high) in ranges.items()}
        _stratify(names, pool, strata, np.array(sha256), numbers, {"train": 1 - sum(shares.values()), **shares})
    else:
        for name, (low, high) in ranges.items():
            names[pool & (numbers >= low) & (numbers < high)] = name
    split_names = ["train", *(name for name, (low, high) in ranges.items() if high > low)]
    if grouped:
        return Splits(**{name: np.flatnonzero(names == name) for name in SPLITS})
    for members in _members(strata, pool):
        _repair(names, pool, members, numbers, np.array(sha256), split_names)
    return Splits(**{name: np.flatnonzero(names == name) for name in SPLITS})


def together(sha256: Sequence[str], groups: Sequence[str | None]) -> list[str]:
    """Returns a key for each example; those that must not be separated have the same one.

    Examples of equal content belong together, those of a group do, and so do groups that have a content in common.

    Args:
        sha256: of the content of each example.
        groups: what each belongs to, or None.
    """
    above: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while above.setdefault(node, node) != node:
            above[node] = node = above[above[node]]
        return node

    for digest, group in zip(sha256, groups, strict=True):
        content = root(("content", digest))
        if group is not None:
            first, second = sorted((content, root(("group", group))), reverse=True)
            above[second] = first  # the key is the name of a group where there is one, so that a further example moves none
    return [":".join(root(("content", digest))) for digest in sha256]


def group_numbers(sha256: Sequence[str], groups: Sequence[str | None]) -> np.ndarray | None:
    """Returns a number for each example, int (n,), the same for those that belong together; None where nothing names a group. See `together`."""
    if all(group is None for group in groups):
        return None
    return np.unique(np.array(together(sha256, groups)), return_inverse=True)[1].reshape(-1)


def in_columns(strata: np.ndarray) -> np.ndarray:
    """Returns strata as uint8 (n, strata), 1 where an example is in one."""
    return strata if strata.ndim > 1 else np.eye(int(strata.max(initial=0)) + 1, dtype="uint8")[strata]


def _check_whole(keys: Sequence[str], source_splits: Sequence[str | None]) -> None:
    """Checks that the splits of the source separate no group.

    Raises:
        DataError: naming a group that is in two of them.
    """
    known: dict[str, str] = {}
    for key, split_name in zip(keys, source_splits, strict=True):
        kind, _, name = key.partition(":")
        if kind == "group" and known.setdefault(name, split_name or "train") != (split_name or "train"):
            raise DataError(
                f"the group {name!r} is in the splits {known[name]} and {split_name or 'train'} of the source; expected each group in one: "
                "leave out --group-column, or the splits"
            )


def _fraction(asked: float | None, default: float) -> float:
    return default if asked is None else asked


def _number(seed: int, sha256: str) -> float:
    digest = hashlib.sha256(f"{seed}:{sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _stratify(
    names: np.ndarray, pool: np.ndarray, labels: np.ndarray, hashes: np.ndarray, numbers: np.ndarray, shares: Mapping[str, float]
) -> None:
    """Assigns the examples of the pool; those of equal content stay together."""
    index = np.flatnonzero(pool)
    if not len(index):
        return
    _, first, group = np.unique(hashes[index], return_index=True, return_inverse=True)
    groups = np.split(index[np.argsort(group, kind="stable")], np.cumsum(np.bincount(group))[:-1])
    for members, name in zip(groups, assign(groups, labels, numbers[index[first]], shares), strict=True):
        names[members] = name


def _members(strata: np.ndarray, pool: np.ndarray) -> list[np.ndarray]:
    """Returns which examples of the pool are of each class, or have each label, the rarest label last."""
    if strata.ndim == 1:
        return [pool & (strata == label) for label in np.unique(strata[pool])]
    columns = sorted((pool & (column > 0) for column in strata.T), key=lambda members: -int(members.sum()))
    return [members for members in columns if members.any()]


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
