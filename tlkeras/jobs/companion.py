"""A run that is trained beside another one, on its examples and splits, to be compared with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tlkeras.data.examples import Example
from tlkeras.jobs.examples import Data


def examples_of(data: Data) -> tuple[Example, ...]:
    """Returns the examples of a run, each with the split that it is in."""
    return tuple(replace(example, split=name) for example, name in zip(data.store.examples, data.splits.names(), strict=True))


def settings(folder: Path) -> dict[str, Any]:
    """Returns the flat keys by which the run beside differs from the one that it is compared with.

    Args:
        folder: where it is written.
    """
    return {
        "data": None,
        "limit": None,
        "val_split": 0.0,  # the examples have their splits, and nothing more is carved from them
        "test_split": 0.0,
        "relabel": None,  # they are relabelled and grouped already
        "group_column": None,
        "cross_validate": None,
        "compare_single": False,
        "baseline": None,
        "export": (),
        "out": str(folder),
    }
