"""What training returns: the result of each phase, the scores of the held-out splits, and what is left of an interrupted run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlkeras.models import TaskModel
from tlkeras.training.observed import Observed


@dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """The result of one phase.

    Args:
        name: of the phase.
        history: one row for each pass over the training examples.
        best_epoch: the pass whose weights the model has, from 1.
        trainable_parameters: how many were trained.
        frozen: weights and statistics that were verified to be unchanged.
        cached_examples: examples whose features were computed once.
        seconds: name of a step -> its duration.
        details: what the phase decided by itself, such as the strength of a penalty.
    """

    name: str
    history: list[dict[str, float]]
    best_epoch: int
    trainable_parameters: int
    frozen: int
    cached_examples: int
    seconds: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "epochs": len(self.history),
            "best_epoch": self.best_epoch,
            "trainable_parameters": self.trainable_parameters,
            "frozen_variables": self.frozen,
            "frozen_identical": True,  # else freezing.check_frozen had raised
            "examples_computed_once": self.cached_examples,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            **self.details,
        }


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The results of all phases.

    Args:
        task: the trained task model; another one than was passed where the recipe transforms it.
        phases: in order.
        observed: what the trained model gives for the held-out splits.
    """

    task: TaskModel
    phases: list[PhaseResult]
    observed: Observed

    @property
    def scores(self) -> Mapping[str, np.ndarray]:
        """`val` and `test` -> scores of the trained model, in the order of the split."""
        return self.observed.scores

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of all phases, each with the name of its phase."""
        return history_of(self.phases)


def history_of(phases: Sequence[PhaseResult]) -> list[dict[str, Any]]:
    """Returns the rows of several phases, each with the name of its phase."""
    return [{"phase": result.name, **row} for result in phases for row in result.history]


class Interrupted(KeyboardInterrupt):
    """The user stopped a phase.

    Args:
        history: the rows of all finished epochs, of this phase and those before it.
        keep: which weights the model holds: those of the `best` epoch of the phase so far, or those of the `last` step.
        task: the task model in its present state.
        stored: after how many of these epochs training goes on.
        text: the message; the number of epochs when empty.
    """

    def __init__(self, history: Sequence[dict[str, Any]], *, keep: str, task: TaskModel, stored: int = 0, text: str = ""):
        super().__init__(text or f"stopped after {len(history)} epochs")
        self.history, self.keep, self.task, self.stored = list(history), keep, task, stored

    def saying(self, text: str) -> Interrupted:
        """Returns the same with another message."""
        return Interrupted(self.history, keep=self.keep, task=self.task, stored=self.stored, text=text)
