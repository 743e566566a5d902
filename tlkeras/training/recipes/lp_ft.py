"""The exact head, then all layers from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tlkeras.training.recipes.linear_probe import HEAD
from tlkeras.training.recipes.registry import Facts, Phase

TUNE = Phase(
    name="tune", unfreeze="all", epochs=10, learning_rate=3e-4, warmup=0.1, weight_decay=1e-4, layer_decay=0.8, keep="last"
)  # the rate ends at 0, so that the last weights need no choice by the loss, which rises while accuracy still does


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns the head, and a phase for all layers, whose rate falls from section to section and ends at 0."""
    return after_head(facts)


def after_head(facts: Facts, **changes: Any) -> tuple[Phase, ...]:
    """Returns the exact head and the phase that follows it, with some fields of it changed.

    Args:
        facts: of the run.
        changes: fields of the second `Phase`.
    """
    augment = "light" if facts.augments else None
    usual = {"minutes": facts.minutes, "augment": augment, **facts.full_tuning, "keep": "last"}
    tune = dataclasses.replace(TUNE, **{**usual, **changes})
    return (HEAD, tune) if facts.fixed_features else (tune,)
