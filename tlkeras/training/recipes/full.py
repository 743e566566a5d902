"""The whole network is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tlkeras.training.recipes.registry import Facts, Phase

PHASE = Phase(name="full", unfreeze="all", epochs=10, learning_rate=3e-4, warmup=0.1, weight_decay=1e-4)


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns one phase for all layers, with the figures that are usual for the modality where it has any."""
    return (dataclasses.replace(PHASE, **facts.full_tuning),)
