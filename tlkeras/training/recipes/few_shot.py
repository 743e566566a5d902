"""The backbone stays frozen; the head is solved exactly with a fixed strong penalty."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tlkeras.training.recipes.linear_probe import HEAD
from tlkeras.training.recipes.registry import Facts, Phase

# The stronger the penalty, the more the weights of a class become the mean of its examples: prototypes, in the limit. Those themselves are no
# better with 1 to 20 examples of a class: `benchmarks/few_shot.py`.
STRENGTHS = (0.1,)


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns one phase, for the head alone."""
    return (dataclasses.replace(HEAD, strengths=STRENGTHS, validation_too=True),)
