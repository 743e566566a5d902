"""The backbone stays frozen; a head is trained on its features."""

from __future__ import annotations

from collections.abc import Sequence

from tlkeras.training.recipes.registry import Facts, Phase


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns one phase, for the head alone."""
    return (Phase(name="head", unfreeze="none", epochs=60, learning_rate=3e-3, weight_decay=1e-4),)
