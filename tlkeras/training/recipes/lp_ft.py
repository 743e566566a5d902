"""The exact head, then all layers from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tlkeras.training.recipes.linear_probe import HEAD
from tlkeras.training.recipes.registry import Facts, Phase

# The rate ends at 0, so that the last weights need no choice by the loss, which rises while accuracy still does. It is the same for all
# sections: with 0.8 times the rate from section to section, clothes lost 3 points on validation against `full` (docs/benchmarks.md).
TUNE = Phase(name="tune", unfreeze="all", epochs=10, learning_rate=3e-4, warmup=0.1, weight_decay=1e-4, keep="last")


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns the head, and a phase for all layers, whose rate ends at 0."""
    return after_head(facts)


def after_head(facts: Facts, **changes: Any) -> tuple[Phase, ...]:
    """Returns the exact head and the phase that follows it, with some fields of it changed.

    Args:
        facts: of the run.
        changes: fields of the second `Phase`.
    """
    usual = {"minutes": facts.minutes, **facts.full_tuning, "keep": "last"}
    tune = dataclasses.replace(TUNE, **{**usual, **changes})
    return (HEAD, tune) if facts.fixed_features else (tune,)
