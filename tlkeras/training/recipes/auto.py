"""The default: the exact head, and fine-tuning from it where data and time allow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tlkeras.training.recipes import few_shot, full
from tlkeras.training.recipes.lp_ft import after_head
from tlkeras.training.recipes.registry import RECIPES, Facts, Phase

FEWEST = 20  # examples of a class, below which nothing is chosen on validation
PAIRED = 64  # of a class, below which the recipe of a modality for few examples won; measured with 5, 10 and 50
FEW = 1000  # examples, up to which that recipe takes about a minute, without a GPU too
MINUTES = 10.0  # that fine-tuning takes at most on an accelerator, where nothing is said
SHARES = (0.0, 0.5, 1.0)  # of the way from the exact head to the fine-tuned network; 0 keeps the head


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns the phases that pay for these data on this machine."""
    if not facts.fixed_features:
        (whole,) = full.phases(sections, facts)
        return (dataclasses.replace(whole, why="all layers, as the network has weights that were never trained"),)
    phases_of_few = _of_few(sections, facts)
    if phases_of_few:
        return phases_of_few
    minutes = MINUTES if facts.minutes is None else facts.minutes
    head, tune = after_head(facts, minutes=minutes, interpolate=SHARES)
    why = "exact, the strength of its penalty by cross-validation"
    if facts.minutes == 0 or (facts.minutes is None and facts.accelerator is False):
        return (dataclasses.replace(head, why=f"{why}; no fine-tuning without a GPU, unless --max-minutes says how long it may take"),)
    return (
        dataclasses.replace(head, why=why),
        dataclasses.replace(tune, why=f"fine-tuning for at most {minutes:g} minutes, kept only as far as it is better on validation"),
    )


def _of_few(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns the phases for so few examples that nothing can be chosen on validation, or that pairs of them teach more; none for others."""
    recipe = RECIPES.get(facts.few_recipe)
    fits = (facts.examples or 0) <= FEW and (not recipe.targets or facts.target in recipe.targets)
    *earlier, head = recipe.phases_for(sections, facts)
    by_pairs = bool(earlier) and facts.minutes != 0 and fits
    limit = PAIRED if by_pairs else FEWEST
    if facts.fewest is None or facts.fewest >= limit:
        return ()
    reason = f"{facts.fewest} training examples of the rarest class are less than {limit}"
    if not by_pairs:
        (alone,) = few_shot.phases(sections, facts)
        return (dataclasses.replace(alone, why=f"exact, with a fixed penalty, and no fine-tuning: {reason}"),)
    return (dataclasses.replace(earlier[0], why=f"{earlier[0].why}: {reason}"), *earlier[1:], dataclasses.replace(head, why="exact"))
