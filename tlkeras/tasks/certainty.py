"""How certain the answers of each task are: which logits a temperature divides, what scores claim, and sets that contain the true answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from keras import ops

from tlkeras.data.target import Target
from tlkeras.errors import DataError, reason
from tlkeras.registry import load_function
from tlkeras.tasks import conformal, rejection, temperature
from tlkeras.tasks.registry import TARGET, Targets, Task
from tlkeras.tasks.regression import with_intervals
from tlkeras.tasks.several import parts_of
from tlkeras.tasks.temperature import Tempering

LOGITS = "head_logits"  # the dense layer of a head


class Claims:
    """What scores claim, and what is true.

    Args:
        name: of the target.
        confidence: what the scores claim, 0 to 1, (m,): of a class, that of the best one; of sets, of every label.
        correct: bool (m,), whether it is so.
    """

    def __init__(self, name: str, confidence: np.ndarray, correct: np.ndarray):
        self.name, self.confidence, self.correct = name, confidence, correct


class Certainty(Protocol):
    """What a task knows about the certainty of its answers."""

    def layers(self, target: Target, prefix: str = "") -> list[str]:
        """Returns the names of the dense layers that give the logits of the head, in the order of their columns."""

    def tempered(self, targets: Targets, logits: np.ndarray, target: Target) -> dict[str, Tempering]:
        """Returns the temperatures of the columns of the logits (n, columns) of validation examples, by the names of the targets."""

    def claims(self, targets: Targets, scores: np.ndarray, target: Target) -> Iterator[Claims]:
        """Yields what the scores (n, width) of each target claim; nothing for numbers."""

    def confidence(self, scores: Any, target: Target) -> Any:
        """Returns the largest score of each example, (n,), in Keras' operations; None where scores are no probabilities."""

    def conformal(self, targets: Targets, scores: np.ndarray, target: Target, alpha: float, method: str) -> Target:
        """Returns the target with what prediction sets need, from the scores of validation examples."""

    def covered(self, targets: Targets, scores: np.ndarray, target: Target) -> dict[str, dict[str, float]]:
        """Returns name of a target -> share of the examples whose set contains the truth, and the mean size of the sets."""


def certainty_of(task: Task) -> Certainty | None:
    """Returns what a task knows about its certainty, or None."""
    return load_function(task.certainty)() if task.certainty else None


def known_of(task: Task, target: Target) -> Any:
    """Returns (scores, features or None) -> whether each example is known, bool (n,); None where that cannot be told."""
    certainty = certainty_of(task)
    if certainty is None or not rejection.can_tell(target):
        return None

    def known(scores: Any, features: Any = None) -> Any:
        return rejection.known(target, lambda values: certainty.confidence(values, target), scores, features)

    return known


def check_target(task: Task, target: Target) -> None:
    """Answers from made-up scores, which shows whether a task can do with the facts of a target, which a file of somebody else may state.

    Raises:
        DataError: when it cannot.
    """
    try:
        load_function(task.answer)(np.full(len(target.labels), 0.5, "float32"), target, None)
        rejection.check(target)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise DataError(
            f"the facts of what a model predicts are damaged ({reason(error)}); restore them, or export the model again"
        ) from error


class OfClasses:
    """One label per example."""

    def layers(self, target: Target, prefix: str = "") -> list[str]:
        return [f"{prefix}{LOGITS}"]

    def tempered(self, targets: Targets, logits: np.ndarray, target: Target) -> dict[str, Tempering]:
        return {target.name: temperature.classes(logits, targets[TARGET])}

    def claims(self, targets: Targets, scores: np.ndarray, target: Target) -> Iterator[Claims]:
        best = scores.max(axis=1)
        yield Claims(target.name, best, scores[np.arange(len(scores)), targets[TARGET]] >= best)

    def confidence(self, scores: Any, target: Target) -> Any:
        return ops.max(scores, axis=1)

    def conformal(self, targets: Targets, scores: np.ndarray, target: Target, alpha: float, method: str) -> Target:
        return target.with_facts(conformal=conformal.fit_classes(scores, targets[TARGET], alpha, method))

    def covered(self, targets: Targets, scores: np.ndarray, target: Target) -> dict[str, dict[str, float]]:
        sets = conformal.classes_in(scores, target.facts[conformal.CONFORMAL])
        inside = sets[np.arange(len(sets)), targets[TARGET]]
        return {target.name: {"covered": float(inside.mean()), "size": float(sets.sum(axis=1).mean())}}


class OfLabels:
    """Any number of labels per example."""

    def layers(self, target: Target, prefix: str = "") -> list[str]:
        return [f"{prefix}{LOGITS}"]

    def tempered(self, targets: Targets, logits: np.ndarray, target: Target) -> dict[str, Tempering]:
        return {target.name: temperature.labels(logits, targets[TARGET])}

    def claims(self, targets: Targets, scores: np.ndarray, target: Target) -> Iterator[Claims]:
        yield Claims(target.name, scores.reshape(-1), targets[TARGET].reshape(-1) > 0)

    def confidence(self, scores: Any, target: Target) -> Any:
        return ops.max(scores, axis=1)

    def conformal(self, targets: Targets, scores: np.ndarray, target: Target, alpha: float, method: str) -> Target:
        return target.with_facts(conformal=conformal.fit_labels(scores, targets[TARGET], alpha))

    def covered(self, targets: Targets, scores: np.ndarray, target: Target) -> dict[str, dict[str, float]]:
        sets, holds = conformal.labels_in(scores, target.facts[conformal.CONFORMAL]), targets[TARGET] > 0
        missed = (holds & ~sets).sum(axis=1) / np.maximum(holds.sum(axis=1), 1)
        return {target.name: {"covered": float(1 - missed.mean()), "size": float(sets.sum(axis=1).mean())}}


class OfNumbers:
    """One or several numbers per example: an interval instead of a probability."""

    def layers(self, target: Target, prefix: str = "") -> list[str]:
        return [f"{prefix}{LOGITS}"]

    def tempered(self, targets: Targets, logits: np.ndarray, target: Target) -> dict[str, Tempering]:
        return {target.name: temperature.unchanged(logits.shape[1], len(logits), "")}

    def claims(self, targets: Targets, scores: np.ndarray, target: Target) -> Iterator[Claims]:
        return iter(())

    def confidence(self, scores: Any, target: Target) -> Any:
        return None

    def conformal(self, targets: Targets, scores: np.ndarray, target: Target, alpha: float, method: str) -> Target:
        return with_intervals(target, targets, scores, 1 - alpha)

    def covered(self, targets: Targets, scores: np.ndarray, target: Target) -> dict[str, dict[str, float]]:
        if "interval" not in target.facts:
            return {}
        widths = np.asarray(target.facts["interval"], "float64")
        inside = np.abs(np.asarray(targets[TARGET], "float64").reshape(scores.shape) - scores) <= widths
        return {target.name: {"covered": float(inside.mean()), "size": float(2 * widths.mean())}}


class OfSeveral:
    """Several targets: each as its own task has it; an example is as certain as the least certain of its answers."""

    def layers(self, target: Target, prefix: str = "") -> list[str]:
        return [name for part in parts_of(target) for name in _own(part).layers(part.target, f"{prefix}{part.prefix}")]

    def tempered(self, targets: Targets, logits: np.ndarray, target: Target) -> dict[str, Tempering]:
        # Logits have the columns of the scores: one for each entry of the label maps.
        parts = [_own(part).tempered(part.targets_in(targets), logits[:, part.scores], part.target) for part in parts_of(target)]
        return {name: tempering for own in parts for name, tempering in own.items()}

    def claims(self, targets: Targets, scores: np.ndarray, target: Target) -> Iterator[Claims]:
        for part in parts_of(target):
            yield from _own(part).claims(part.targets_in(targets), scores[:, part.scores], part.target)

    def confidence(self, scores: Any, target: Target) -> Any:
        own = [_own(part).confidence(scores[:, part.scores], part.target) for part in parts_of(target)]
        own = [values for values in own if values is not None]
        return ops.min(ops.stack(own, axis=1), axis=1) if own else None

    def conformal(self, targets: Targets, scores: np.ndarray, target: Target, alpha: float, method: str) -> Target:
        parts = [
            _own(part).conformal(part.targets_in(targets), scores[:, part.scores], part.target, alpha, method) for part in parts_of(target)
        ]
        return Target.several(parts, target.facts)

    def covered(self, targets: Targets, scores: np.ndarray, target: Target) -> dict[str, dict[str, float]]:
        parts = [_own(part).covered(part.targets_in(targets), scores[:, part.scores], part.target) for part in parts_of(target)]
        return {name: figures for own in parts for name, figures in own.items()}


def _own(part: Any) -> Certainty:
    certainty = certainty_of(part.task)
    if certainty is None:
        raise TypeError(f"the task {part.task.name!r} cannot be a part of several: its row names no certainty")
    return certainty
