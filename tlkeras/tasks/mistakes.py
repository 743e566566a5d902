"""The mistakes of a model on examples that it has not seen: the most confident ones, and what is taken for what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tlkeras.data.target import Target
from tlkeras.registry import load_function
from tlkeras.tasks.registry import TARGET, Targets
from tlkeras.tasks.thresholds import decisions, thresholds

Pair = tuple[str, str, int]  # what it is, what it is taken for, how often


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A wrong answer.

    Args:
        index: position of the example.
        actual: the value of the example, as a text.
        predicted: the answer, as a text.
        confidence: of classes the score of the answer; of sets of labels the largest distance of a score to the decision that were right, 0 to
            1; of numbers the largest error in standard deviations.
    """

    index: int
    actual: str
    predicted: str
    confidence: float


# === Classes ===


def of_classes(targets: Targets, scores: np.ndarray, target: Target) -> list[Mistake]:
    """Returns the examples whose class is not the one with the highest score, the most confident answer first.

    Args:
        targets: class ids, int (n,).
        scores: (n, classes), rows sum to 1.
        target: with the label map.
    """
    y, answers = targets[TARGET], scores.argmax(axis=1)
    return _sorted(
        Mistake(index=int(i), actual=target.labels[y[i]], predicted=target.labels[answers[i]], confidence=float(scores[i, answers[i]]))
        for i in np.flatnonzero(y != answers)
    )


def confused_classes(targets: Targets, scores: np.ndarray, target: Target) -> list[Pair]:
    """Returns (class, class it is taken for, examples) of every pair that occurs, the most frequent first."""
    count = len(target.labels)
    matrix = np.zeros((count, count), int)
    np.add.at(matrix, (targets[TARGET], scores.argmax(axis=1)), 1)
    np.fill_diagonal(matrix, 0)
    return pairs_in(matrix, target.labels)


# === Sets of labels ===


def of_sets(targets: Targets, scores: np.ndarray, target: Target) -> list[Mistake]:
    """Returns the examples whose labels are not those that reach their thresholds; the most confident wrong decision first."""
    actual, decided = targets[TARGET] > 0, decisions(scores, target)
    wrong = actual != decided
    confidence = np.where(wrong, np.abs(np.asarray(scores, "float64") - actual), 0.0).max(axis=1, initial=0.0)
    return _sorted(
        Mistake(index=int(i), actual=_set_text(actual[i], target), predicted=_set_text(decided[i], target), confidence=float(confidence[i]))
        for i in np.flatnonzero(wrong.any(axis=1))
    )


def confused_labels(targets: Targets, scores: np.ndarray, target: Target) -> list[Pair]:
    """Returns (label that is missed, label that is added instead, examples), the most frequent first."""
    actual, decided = targets[TARGET] > 0, np.asarray(scores, "float32") >= thresholds(target)
    matrix = (actual & ~decided).T.astype(int) @ (~actual & decided).astype(int)
    return pairs_in(matrix, target.labels)


def _set_text(holds: np.ndarray, target: Target) -> str:
    return target.text(tuple(label for label, has in zip(target.labels, holds, strict=True) if has))


# === Numbers ===


def of_numbers(targets: Targets, scores: np.ndarray, target: Target) -> list[Mistake]:
    """Returns all examples, the largest error in standard deviations of the numbers first."""
    true = np.asarray(targets[TARGET], "float64").reshape(scores.shape)
    spread = true.std(axis=0) if len(true) else np.ones(scores.shape[1])
    errors = np.abs(true - scores) / np.where(spread > 0, spread, 1.0)
    return _sorted(
        Mistake(index=i, actual=target.text(true[i]), predicted=target.text(scores[i]), confidence=float(errors[i].max()))
        for i in range(len(true))
    )


# === Several targets ===


def of_parts(targets: Targets, scores: np.ndarray, target: Target) -> list[Mistake]:
    """Returns the mistakes of all parts, those of rank 1 first: confidences of different tasks do not compare."""
    from tlkeras.tasks.several import parts_of  # which imports Keras

    ranked: list[tuple[int, Mistake]] = []
    for part in parts_of(target):
        mistakes = load_function(part.task.mistakes)(part.targets_in(targets), scores[:, part.scores], part.target)
        named = (
            replace(mistake, actual=f"{part.target.name}={mistake.actual}", predicted=f"{part.target.name}={mistake.predicted}")
            for mistake in mistakes
        )
        ranked += enumerate(named)
    return [mistake for _, mistake in sorted(ranked, key=lambda pair: pair[0])]


def confused_parts(targets: Targets, scores: np.ndarray, target: Target) -> list[Pair]:
    """Returns the confused pairs of all parts, each after the name of its part."""
    from tlkeras.tasks.several import parts_of  # which imports Keras

    pairs = [
        (f"{part.target.name}={actual}", f"{part.target.name}={predicted}", count)
        for part in parts_of(target)
        if part.task.confused
        for actual, predicted, count in load_function(part.task.confused)(part.targets_in(targets), scores[:, part.scores], part.target)
    ]
    return sorted(pairs, key=lambda pair: -pair[2])


def _sorted(mistakes: Iterable[Mistake]) -> list[Mistake]:
    return sorted(mistakes, key=lambda mistake: -mistake.confidence)


def pairs_in(matrix: np.ndarray, labels: Sequence[str]) -> list[Pair]:
    """Returns (label, other label, count) of every cell of a matrix that is not 0, the largest count first."""
    order = np.argsort(-matrix, axis=None, kind="stable")
    cells = zip(*np.unravel_index(order, matrix.shape), strict=True)
    return [(labels[row], labels[column], int(matrix[row, column])) for row, column in cells if matrix[row, column]]
