"""Several fine-tunings from the same start, and the mean of their weights."""

from __future__ import annotations

from collections.abc import Sequence

from tlkeras.training.recipes.lp_ft import after_head
from tlkeras.training.recipes.registry import Facts, Phase


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns the head and the phase for all layers, which runs three times."""
    return after_head(facts, repeats=3)
