"""The objectives of training from scratch: one row each. Reading this table imports no Keras."""

from __future__ import annotations

from dataclasses import dataclass

from tlkeras.backbones.row import Backbone
from tlkeras.errors import ConfigError
from tlkeras.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a network is trained for before it is a backbone.

    Args:
        name: name that users pass, and rows of backbones name.
        build: `"module:function"`, called with (row, config, dataset), returns a `network.Pretraining`. Empty where the network is
            fine-tuned on labels.
        sample: `"module:function"` that draws from the trained model, see `variational.grid`; empty where nothing can be drawn.
        needs_labels: whether it learns labels: any network does, and the others only what their row names.
        source: paper.
    """

    name: str
    build: str = ""
    sample: str = ""
    needs_labels: bool = False
    source: str

    def fits(self, row: Backbone) -> bool:
        """Whether a network can be trained by it."""
        return self.needs_labels or row.objective == self.name


OBJECTIVES: Registry[Objective] = Registry(
    "objective",
    [
        Objective(name="classification", needs_labels=True, source="https://arxiv.org/abs/1310.1531"),
        Objective(
            name="elbo",
            build="tlkeras.pretraining.variational:build",
            sample="tlkeras.pretraining.variational:grid",
            source="https://arxiv.org/abs/1312.6114",
        ),
        Objective(name="next-step", build="tlkeras.pretraining.next_step:build", source="https://arxiv.org/abs/1502.04681"),
        Objective(name="language-model", build="tlkeras.pretraining.language_model:build", source="https://arxiv.org/abs/1802.05365"),
    ],
)


def objective_of(row: Backbone, name: str | None) -> Objective:
    """Returns the objective to train a network by.

    Args:
        row: the network.
        name: of the objective; that of the row, else classification, when None.

    Raises:
        ConfigError: when the network cannot be trained by it.
    """
    fitting = [objective for objective in OBJECTIVES if objective.fits(row)]
    default = next((objective for objective in fitting if objective.name == row.objective), fitting[0])
    chosen = default if name is None else next((objective for objective in fitting if objective.name == name), None)
    if chosen is None:
        accepted = " or ".join(objective.name for objective in fitting)
        raise ConfigError(f"objective is {name!r}; {row.name} accepts {accepted}")
    return chosen
