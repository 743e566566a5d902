"""The backbone stays frozen; the head is solved exactly on its features."""

from __future__ import annotations

from collections.abc import Sequence

from tlkeras.training.recipes.registry import Facts, Phase

STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)  # of the mean loss, see `tlkeras.training.exact`
HEAD = Phase(name="head", unfreeze="none", epochs=1, learning_rate=0.0, solver="exact", strengths=STRENGTHS, keep="last")


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns one phase, for the head alone."""
    return (HEAD,)
