"""The threshold that the score of a label must reach."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlkeras.data.target import Target
from tlkeras.tasks.registry import TARGET, Targets

DEFAULT_THRESHOLD = 0.5
# Examples with the label, and without it, that a threshold is trusted from. With fewer, the best threshold says more about these examples
# than about the label, but 0.5 finds few rare labels. Emotions of texts (GoEmotions, 7 labels, TF-IDF + logistic regression), thresholds
# from 30 / 120 validation texts, mean of 40 draws, on 1,800 test texts: with 0.5 for such labels micro-F1 0.537 / 0.564 and macro-F1
# 0.348 / 0.427, nearer to 0.5 by their number 0.548 / 0.566 and 0.391 / 0.454, the best ones 0.531 / 0.558 and 0.417 / 0.474.
FEWEST = 5
LOWEST = 1e-6  # threshold; 0 would accept anything


def calibrate(target: Target, targets: Targets, scores: np.ndarray) -> Target:
    """Returns the target with `thresholds`: for each label the one with the best F1 on the validation examples.

    It is nearer to 0.5 for a label that fewer than 5 of them have or do not have, and 0.5 where none or all have it.
    """
    best = [chosen_threshold(targets[TARGET][:, index] > 0, scores[:, index]) for index in range(len(target.labels))]
    return target.with_facts(thresholds=best)


def spec(target: Target) -> dict[str, Any]:
    """Returns how the scores are read, for the exporters."""
    chosen = tuple(map(float, thresholds(target)))
    return {"columns": ({"name": "", "columns": target.labels, "read": "thresholds", "thresholds": chosen},)}


def chosen_threshold(holds: np.ndarray, scores: np.ndarray) -> float:
    """Returns the best threshold; the fewer examples it is based on, the nearer to 0.5.

    The logit of the best threshold is multiplied by n / 5, where `n` examples, fewer than 5, have the label or do not have it.
    """
    best, count = best_threshold(holds, scores), min(holds.sum(), (~holds).sum())
    if count >= FEWEST or best == DEFAULT_THRESHOLD:
        return best
    return float(np.float32(1 / (1 + (1 / best - 1) ** (count / FEWEST))))


def best_threshold(holds: np.ndarray, scores: np.ndarray) -> float:
    """Returns the threshold with the best F1; of equal ones the nearest to 0.5.

    Args:
        holds: bool (n,), whether each example has the label.
        scores: float32 (n,), of the label.

    Returns:
        0.5, or a value halfway between two neighbouring scores; 0.5 where all examples have the label or none has. It is a float32, so
        that every runtime compares with the same number.
    """
    if holds.all() or not holds.any():
        return DEFAULT_THRESHOLD
    distinct = np.unique(scores.astype("float32"))
    lower = np.concatenate([np.zeros(1, "float32"), distinct[:-1]])
    middle = ((lower.astype("float64") + distinct) / 2).astype("float32")
    between = np.where(middle > lower, middle, distinct)  # of adjacent floats, the middle is rounded to one of them
    candidates = np.append(np.clip(between, LOWEST, 1 - LOWEST), np.float32(DEFAULT_THRESHOLD))
    ordered, positive = np.sort(scores), np.sort(scores[holds])
    predicted = len(ordered) - np.searchsorted(ordered, candidates, side="left")
    correct = len(positive) - np.searchsorted(positive, candidates, side="left")
    f1 = 2 * correct / (predicted + len(positive))
    order = np.lexsort((candidates, np.abs(candidates - DEFAULT_THRESHOLD), -f1))
    return float(candidates[order[0]])


def thresholds(target: Target) -> np.ndarray:
    """Returns the threshold of each label, float32 (labels,); 0.5 where the task has not chosen any."""
    return np.array(target.facts.get("thresholds", [DEFAULT_THRESHOLD] * len(target.labels)), "float32")


def decisions(scores: np.ndarray, target: Target) -> np.ndarray:
    """Returns which labels hold, bool (n, labels) or (labels,): those whose scores reach their thresholds."""
    return np.asarray(scores, "float32") >= thresholds(target)
