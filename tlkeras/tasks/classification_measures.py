"""Everything that is reported of a classifier, for any weights of the examples."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from tlkeras.data.target import Target
from tlkeras.tasks.measures import (
    BINS,
    EACH,
    LOSSES,
    SMALLEST,
    Family,
    Figure,
    Measures,
    calibration_error,
    calibration_errors,
    macro_means,
    mean_losses,
    mean_of_defined,
    means,
    precision_recall_f1,
    rankings,
    ratio,
    sums,
)
from tlkeras.tasks.registry import TARGET, Targets

TOP = (3, 5)  # of `top_k_accuracy`, where there are more classes

ANSWERS = (
    Figure(name="accuracy", title="accuracy", counted=True),
    Figure(name="balanced_accuracy", title="balanced accuracy"),
    Figure(name="macro_precision", title="macro precision"),
    Figure(name="macro_recall", title="macro recall"),
    Figure(name="macro_f1", title="macro-F1"),
    Figure(name="precision", title="precision", each=True),
    Figure(name="recall", title="recall", each=True),
    Figure(name="f1", title="F1", each=True),
)
CALIBRATION = (
    Figure(name="ece", title="calibration error (top label)", higher=False, biased=True),
    Figure(name="classwise_ece", title="calibration error (classwise)", higher=False, biased=True),
)
RANKING = (
    Figure(name="macro_roc_auc", title="macro ROC-AUC"),
    Figure(name="macro_average_precision", title="macro average precision"),
    Figure(name="roc_auc", title="ROC-AUC", each=True),
    Figure(name="average_precision", title="average precision", each=True),
)


def measures(targets: Targets, scores: np.ndarray, target: Target) -> dict[str, Measures]:
    """Returns the figures of a classifier; see `Task.measures`.

    Args:
        targets: class ids, int (n,).
        scores: (n, classes), rows sum to 1.
        target: with the label map.
    """
    y, scores = np.asarray(targets[TARGET]), np.asarray(scores, "float64")
    n, count = scores.shape
    true = np.zeros((n, count), bool)
    true[np.arange(n), y] = True
    answered = np.zeros((n, count), bool)
    answered[np.arange(n), scores.argmax(axis=1)] = True
    own = scores[np.arange(n), y]
    ties = (scores == own[:, None]) & (np.arange(count) < y[:, None])
    ranks = (scores > own[:, None]).sum(axis=1) + ties.sum(axis=1)  # of the true class, from 0
    top = {f"top_{k}_accuracy": ranks < k for k in TOP if count > k}
    titles = tuple(Figure(name=name, title=name.replace("_", "-", 1).replace("_", " "), counted=True) for name in top)
    losses = np.stack([-np.log(np.clip(own, SMALLEST, 1.0)), np.square(scores - true).sum(axis=1) / (2 if count == 2 else 1)], axis=1)
    families = (
        Family(figures=(*ANSWERS, *titles), compute=partial(_answers, true, answered, top), cost=0.03 * count + 0.1),
        Family(figures=LOSSES, compute=partial(mean_losses, losses), cost=0.02),
        Family(figures=CALIBRATION, compute=partial(_calibration, true, scores, ranks == 0), cost=0.01 * BINS * (count + 1)),
        Family(figures=RANKING, compute=partial(_ranking, true, scores), cost=float(count)),
    )
    correct = ranks == 0
    return {
        target.name: Measures(
            n=n, labels=target.labels, families=families, headline="accuracy", mistakes=(~correct).astype("float64"), correct=correct
        )
    }


def _answers(true: np.ndarray, answered: np.ndarray, top: Mapping[str, np.ndarray], weights: np.ndarray) -> dict[str, np.ndarray]:
    correct, predicted, support = (sums(weights, part) for part in (true & answered, answered, true))
    precision, recall, f1 = precision_recall_f1(correct, predicted, support)
    present = predicted + support > 0  # among targets or answers
    return {
        "accuracy": ratio(correct.sum(axis=1), weights.sum(axis=1, dtype="float64")),
        "balanced_accuracy": mean_of_defined(np.where(support > 0, recall, np.nan)),
        **macro_means(precision, recall, f1, present),
        f"{EACH}precision": np.where(present, precision, np.nan),
        f"{EACH}recall": np.where(support > 0, recall, np.nan),
        f"{EACH}f1": np.where(present, f1, np.nan),
        **{name: means(weights, values) for name, values in top.items()},
    }


def _calibration(true: np.ndarray, scores: np.ndarray, correct: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "ece": calibration_error(weights, scores.max(axis=1), correct),
        "classwise_ece": calibration_errors(weights, scores, true).mean(axis=1),
    }


def _ranking(true: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    areas, averages = rankings(weights, true, scores)
    return {
        "macro_roc_auc": mean_of_defined(areas),
        "macro_average_precision": mean_of_defined(averages),
        f"{EACH}roc_auc": areas,
        f"{EACH}average_precision": averages,
    }
