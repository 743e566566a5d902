"""The exact head, then more and more of the network from the top."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from tlkeras.training.recipes.lp_ft import after_head
from tlkeras.training.recipes.registry import Facts, Phase

STEPS = 3  # phases until everything trains; the paper unfreezes one of its 4 layers in each epoch


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns the head, a phase of one epoch for each further part of the sections, and a last one for all."""
    *head, last = after_head(facts)
    shares = [math.ceil(len(sections) * step / STEPS) for step in range(1, STEPS)]
    counts = [count for count in dict.fromkeys(shares) if 0 < count < len(sections)]
    earlier = [dataclasses.replace(last, name=f"last-{count}", unfreeze=f"last:{count}", epochs=1, minutes=None) for count in counts]
    return (*head, *earlier, last)
