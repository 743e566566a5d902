"""The examples that backbones are compared on: never those of the test split, in an order whose beginnings are all alike, in folds."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlkeras.data.examples import Dataset, Example
from tlkeras.data.split import in_columns, split, together
from tlkeras.data.stratify import assign
from tlkeras.errors import DataError
from tlkeras.files import open_regular

FOLDS = 5
MOST = 4096  # examples; with more, which backbone is best hardly changes


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Examples in the order in which a race takes them.

    Args:
        dataset: the examples; any number of the first has every class in its share.
        sha256: of the content of each.
        held_out: examples of the test split, which are left out.
    """

    dataset: Dataset
    sha256: tuple[str, ...]
    held_out: int

    def __len__(self) -> int:
        return len(self.sha256)


def compared(dataset: Dataset, *, val_split: float | None, test_split: float | None, seed: int, most: int = MOST) -> Compared:
    """Returns the examples that a choice may be made on: those that a run with the same settings trains and validates on.

    Args:
        dataset: all examples of a source.
        val_split, test_split, seed: as of the run.
        most: examples at most.
    """
    digests = [content_digest(example) for example in dataset.examples]
    splits = split(
        digests,
        dataset.target.strata([example.label for example in dataset.examples]),
        [example.split for example in dataset.examples],
        val_split=val_split,
        test_split=test_split,
        seed=seed,
        groups=[example.group for example in dataset.examples],
    )
    index = np.sort(np.concatenate([splits.train, splits.val]))
    strata = dataset.target.strata([dataset.examples[row].label for row in index])
    chosen = index[nested(strata, [digests[row] for row in index], seed)][:most]
    examples = tuple(dataset.examples[row] for row in chosen)
    return Compared(
        dataset=dataclasses.replace(dataset, examples=examples),
        sha256=tuple(digests[row] for row in chosen),
        held_out=len(splits.test),
    )


def content_digest(example: Example) -> str:
    """Returns the sha256 of what an example is, as its store will have it; of its name where its file cannot be read."""
    if example.text is not None:
        return hashlib.sha256(example.text.encode("utf-8", "replace")).hexdigest()
    if example.array is not None:
        return hashlib.sha256(np.ascontiguousarray(example.array).tobytes()).hexdigest()
    if example.content is not None:
        return hashlib.sha256(example.content).hexdigest()
    try:
        if example.path is not None:
            with open_regular(example.path) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        pass  # reported where it is decoded
    return hashlib.sha256(example.id.encode()).hexdigest()


def nested(strata: np.ndarray, sha256: Sequence[str], seed: int) -> np.ndarray:
    """Returns an order of examples, of which any number of the first has each class in proportion; sets of labels by chance.

    Args:
        strata: int (n,), or uint8 (n, labels).
        sha256: of the content of each.
        seed: of the order within a class.
    """
    chance = np.array([int.from_bytes(hashlib.sha256(f"{seed}:{digest}".encode()).digest()[:7], "big") for digest in sha256])
    if strata.ndim > 1:
        return np.argsort(chance, kind="stable")
    share = np.empty(len(strata))  # of its class that comes before an example
    for label in np.unique(strata):
        members = np.flatnonzero(strata == label)
        share[members[np.argsort(chance[members], kind="stable")]] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((chance, share))


def folds(
    strata: np.ndarray, sha256: Sequence[str], *, count: int, seed: int, groups: Sequence[str | None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the fold of each example, and its unit, both int (n,): folds with their share of every class or label, each unit in one of them.

    A unit is what must not be separated: examples of equal content, and those of a group (a patient, a video).

    Args:
        strata: int (n,), or uint8 (n, labels).
        sha256: of the content of each.
        count: folds; fewer where there are not as many units.
        seed: of the order in which they are dealt out.
        groups: what each example belongs to, or None. Large groups are dealt out first, as nothing evens them out afterwards.

    Raises:
        DataError: when everything belongs together, so that nothing can be held out.
    """
    grouped = groups is not None and any(group is not None for group in groups)
    keys = together(sha256, groups) if grouped and groups is not None else list(sha256)
    _, unit = np.unique(np.array(keys), return_inverse=True)
    unit = unit.reshape(-1)
    members = np.split(np.argsort(unit, kind="stable"), np.cumsum(np.bincount(unit))[:-1])
    if len(members) < 2:
        what = "one group" if grouped else "copies of one example"
        raise DataError(
            f"the examples to compare on are {what}, so none can be held out; expected two {'groups' if grouped else 'examples'} or more"
        )
    count = max(2, min(count, len(members)))
    order = np.random.default_rng((seed, len(sha256))).permutation(len(members)).astype(float)
    if grouped:
        sizes = np.array([len(index) for index in members])
        order[np.lexsort((order, -sizes))] = np.arange(len(members))
    fold_of = np.empty(len(sha256), int)
    for index, part in zip(
        members, assign(members, in_columns(strata), order, {str(fold): 1 / count for fold in range(count)}), strict=True
    ):
        fold_of[index] = int(part)
    return fold_of, unit
