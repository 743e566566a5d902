"""The exact head and then all layers, on the labels and on the scores of a larger model."""

from __future__ import annotations

from collections.abc import Sequence

from tlkeras.training.recipes.lp_ft import after_head
from tlkeras.training.recipes.registry import Facts, Phase


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns the head and a phase for all layers."""
    return after_head(facts)
