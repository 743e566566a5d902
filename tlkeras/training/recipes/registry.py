"""The recipes: each row names the function that returns its phases, with the reason and the source. Reading the table imports no Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tlkeras.registry import Registry, load_function


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One continuous piece of training.

    Args:
        name: short name, unique in its recipe; its checkpoint has it too.
        unfreeze: what trains besides the head, as in `freezing.parse`.
        epochs: maximum number of passes over the training split.
        learning_rate: peak of the schedule; a backbone whose row has one is trained at its own.
        warmup: fraction of the steps over which the learning rate rises from 0.
        weight_decay: decoupled (AdamW), not on biases and norms.
        keep: weights of the `best` epoch by validation loss, or of the `last` one; then the phase does not stop early.
    """

    name: str
    unfreeze: str
    epochs: int
    learning_rate: float
    warmup: float = 0.0
    weight_decay: float = 0.0
    keep: Literal["best", "last"] = "best"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a recipe may ask about the run.

    Args:
        examples: training examples; None before the data are split.
        classes: outputs of the head; None before the data are read, and where the task has none.
        full_tuning: fields of `Phase` that are usual where a whole network of this modality is trained, where they differ.
    """

    examples: int | None = None
    classes: int | None = None
    full_tuning: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named way to train, with its purpose and source.

    A function is named as `"module:function"`, or passed itself where it needs no Keras.

    Args:
        name: name that users pass.
        phases: (sections, facts) -> the phases in order; sections from input to output. The last phase's epochs, learning rate and
            `unfreeze` are what the settings of these names replace, and their defaults are asked for before the data are read.
        transform: task model -> the task model to train, before the first phase.
        finish: (task model, examples by split) -> the task model to keep, after the last phase.
        why, source: one line, and the paper.
    """

    name: str
    phases: str | Callable[[Sequence[str], Facts], tuple[Phase, ...]]
    transform: str | Callable[..., Any] | None = None
    finish: str | Callable[..., Any] | None = None
    why: str
    source: str

    def phases_for(self, sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
        """Returns the phases for a backbone's sections.

        Raises:
            ValueError: when there is none, or two have the same name.
        """
        phases: tuple[Phase, ...] = function(self.phases)(sections, facts)
        names = [phase.name for phase in phases]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"recipe {self.name!r} has the phases {names}; expected one or more, with different names")
        return phases


def function(value: str | Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function that a recipe names or holds."""
    return load_function(value) if isinstance(value, str) else value


RECIPES: Registry[Recipe] = Registry(
    "recipe",
    [
        Recipe(
            name="feature-extraction",
            phases="tlkeras.training.recipes.feature_extraction:phases",
            why="The backbone stays frozen and each example's features are computed once: seconds on a laptop, hard to overfit.",
            source="Donahue et al. 2014, DeCAF, https://arxiv.org/abs/1310.1531",
        ),
        Recipe(
            name="full",
            phases="tlkeras.training.recipes.full:phases",
            why="Everything trains: best with much data, or data far from the photos of ImageNet.",
            source="Kornblith et al. 2019, Do Better ImageNet Models Transfer Better?, https://arxiv.org/abs/1805.08974",
        ),
    ],
)
