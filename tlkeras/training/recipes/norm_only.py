"""The exact head, then the normalisations alone."""

from __future__ import annotations

from collections.abc import Sequence

from tlkeras.training.recipes.lp_ft import after_head
from tlkeras.training.recipes.registry import Facts, Phase


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns the head and a phase for scales, offsets and statistics of the normalisations."""
    return after_head(facts, only=("gamma", "beta", "scale"), batch_norm="train", learning_rate=1e-3)
