"""The recipes: each row a list of phases, with the reason and the source."""

from __future__ import annotations

from dataclasses import dataclass

from tlkeras.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One continuous piece of training.

    Args:
        name: short name, unique in its recipe.
        unfreeze: what trains besides the head, as in `freezing.parse`.
        epochs: maximum number of passes over the training split.
        learning_rate: peak of the schedule; a backbone whose row has one is trained at its own.
        warmup: fraction of the steps over which the learning rate rises from 0.
        weight_decay: decoupled (AdamW), not on biases and norms.
        keep: weights of the `best` epoch by validation loss, or of the `last` one.
    """

    name: str
    unfreeze: str
    epochs: int
    learning_rate: float
    warmup: float = 0.0
    weight_decay: float = 0.0
    keep: str = "best"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named list of phases, with its purpose and source.

    Args:
        name: name that users pass.
        phases: in order.
        text: the phases for text backbones, where other figures are usual.
        why, source: one line, and the paper.
    """

    name: str
    phases: tuple[Phase, ...]
    text: tuple[Phase, ...] = ()
    why: str
    source: str

    def phases_for(self, modality: str) -> tuple[Phase, ...]:
        """Returns the phases for backbones of a modality."""
        return self.text if modality == "text" and self.text else self.phases


_HEAD = Phase(name="head", unfreeze="none", epochs=60, learning_rate=3e-3, weight_decay=1e-4)

RECIPES: Registry[Recipe] = Registry(
    "recipe",
    [
        Recipe(
            name="feature-extraction",
            phases=(_HEAD,),
            why="The backbone stays frozen and each example's features are computed once: seconds on a laptop, hard to overfit.",
            source="Donahue et al. 2014, DeCAF, https://arxiv.org/abs/1310.1531",
        ),
        Recipe(
            name="full",
            phases=(Phase(name="full", unfreeze="all", epochs=10, learning_rate=3e-4, warmup=0.1, weight_decay=1e-4),),
            # Devlin et al. 2019, https://arxiv.org/abs/1810.04805, appendix A.3: 2-4 epochs at 2e-5 to 5e-5.
            # The last weights, when the learning rate has come down to 0: the loss of a transformer rises, as it grows sure
            # of its answers, while it still gets more of them right.
            text=(Phase(name="full", unfreeze="all", epochs=3, learning_rate=5e-5, warmup=0.1, weight_decay=1e-2, keep="last"),),
            why="Everything trains: best with much data, or data far from the photos of ImageNet.",
            source="Kornblith et al. 2019, Do Better ImageNet Models Transfer Better?, https://arxiv.org/abs/1805.08974",
        ),
    ],
)
