"""Fine-tuning that ends with a moving average of the weights."""

from __future__ import annotations

from collections.abc import Sequence

from tlkeras.training.recipes.lp_ft import after_head
from tlkeras.training.recipes.registry import Facts, Phase


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns the head and the phase for all layers, whose weights are averaged over about the last hundred steps."""
    return after_head(facts, ema=0.99)
