"""The whole network is trained, and pulled back to where it started."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tlkeras.training.recipes import full
from tlkeras.training.recipes.registry import Facts, Phase

PULL = 0.1  # weight decay: much stronger than one towards 0 can be


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns one phase for all layers."""
    (phase,) = full.phases(sections, facts)
    return (dataclasses.replace(phase, weight_decay=PULL, towards_start=True, keep="last"),)
