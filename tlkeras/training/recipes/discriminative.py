"""The whole network is trained, each section slower than the one above."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tlkeras.training.recipes import full
from tlkeras.training.recipes.registry import Facts, Phase

DECAY = 1 / 2.6  # of the paper; it had 3 layers, and this is spread over as many sections as there are
LAYERS = 3


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns one phase for all layers."""
    (phase,) = full.phases(sections, facts)
    return (dataclasses.replace(phase, layer_decay=DECAY ** (LAYERS / max(LAYERS, len(sections))), keep="last"),)
