"""Fine-tuning, then the best mixture of the weights before and after it."""

from __future__ import annotations

from collections.abc import Sequence

from tlkeras.training.recipes.lp_ft import after_head
from tlkeras.training.recipes.registry import Facts, Phase

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the way from the weights before to those after


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns the head and the phase for all layers, which ends with the choice of the mixture."""
    return after_head(facts, interpolate=SHARES)
