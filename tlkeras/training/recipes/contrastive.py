"""Features that tell classes apart, from pairs of examples; then the exact head."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tlkeras.training.recipes import few_shot
from tlkeras.training.recipes.full import PHASE
from tlkeras.training.recipes.registry import Facts, Phase

SEEN = 2000  # examples in all passes together
PASSES = (2, 20)  # fewest and most


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns a phase for the backbone, with the more passes the fewer examples there are, and the head.

    The head has a fixed penalty: features that were fitted to the examples would show none to be best in cross-validation.
    """
    fewest, most = PASSES
    passes = most if not facts.examples else min(most, max(fewest, round(SEEN / facts.examples)))
    usual = {**facts.full_tuning, "epochs": passes, "keep": "last", "solver": "pairs"}
    pairs = dataclasses.replace(PHASE, name="pairs", why="features of a class are made alike, those of different classes unlike", **usual)
    return (pairs, *few_shot.phases(sections, facts))
