"""Everything that is reported of a model of label sets, for any weights of the examples."""

from __future__ import annotations

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
    calibration_errors,
    macro_means,
    mean_losses,
    mean_of_defined,
    means,
    precision_recall_f1,
    rankings,
    sums,
)
from tlkeras.tasks.registry import TARGET, Targets
from tlkeras.tasks.thresholds import decisions

DECISIONS = (
    Figure(name="micro_precision", title="micro precision"),
    Figure(name="micro_recall", title="micro recall"),
    Figure(name="micro_f1", title="micro-F1"),
    Figure(name="macro_precision", title="macro precision"),
    Figure(name="macro_recall", title="macro recall"),
    Figure(name="macro_f1", title="macro-F1"),
    Figure(name="hamming_loss", title="Hamming loss", higher=False),
    Figure(name="exact_match", title="exact match", counted=True),
    Figure(name="precision", title="precision", each=True),
    Figure(name="recall", title="recall", each=True),
    Figure(name="f1", title="F1", each=True),
)
CALIBRATION = (
    Figure(name="mean_ece", title="calibration error (mean over labels)", higher=False, biased=True),
    Figure(name="ece", title="calibration error", higher=False, biased=True, each=True),
)
RANKING = (
    Figure(name="mean_average_precision", title="mAP"),
    Figure(name="macro_roc_auc", title="macro ROC-AUC"),
    Figure(name="average_precision", title="average precision", each=True),
    Figure(name="roc_auc", title="ROC-AUC", each=True),
)


def measures(targets: Targets, scores: np.ndarray, target: Target) -> dict[str, Measures]:
    """Returns the figures of a model of label sets, at its thresholds; see `Task.measures`.

    Args:
        targets: 0 or 1 for each label, (n, labels).
        scores: (n, labels), 0 to 1.
        target: with the label map and the thresholds.
    """
    y, answered = np.asarray(targets[TARGET]) > 0, decisions(scores, target)
    scores = np.asarray(scores, "float64")
    p = np.clip(scores, SMALLEST, 1 - SMALLEST)
    losses = np.stack([-np.where(y, np.log(p), np.log1p(-p)).mean(axis=1), np.square(scores - y).mean(axis=1)], axis=1)
    wrong = (y != answered).mean(axis=1)
    count = y.shape[1]
    families = (
        Family(figures=DECISIONS, compute=partial(_decisions, y, answered, wrong), cost=0.03 * count + 0.02),
        Family(figures=LOSSES, compute=partial(mean_losses, losses), cost=0.02),
        Family(figures=CALIBRATION, compute=partial(_calibration, y, scores), cost=0.01 * BINS * count),
        Family(figures=RANKING, compute=partial(_ranking, y, scores), cost=float(count)),
    )
    return {
        target.name: Measures(n=len(y), labels=target.labels, families=families, headline="micro_f1", mistakes=wrong, correct=wrong == 0)
    }


def _decisions(y: np.ndarray, answered: np.ndarray, wrong: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    correct, predicted, true = (sums(weights, part) for part in (y & answered, answered, y))
    precision, recall, f1 = precision_recall_f1(correct, predicted, true)
    present = predicted + true > 0  # among targets or answers
    totals = [values.sum(axis=1) for values in (correct, predicted, true)]
    micro = precision_recall_f1(*totals)
    return {
        "micro_precision": micro[0],
        "micro_recall": micro[1],
        "micro_f1": np.where(totals[1] + totals[2] > 0, micro[2], 1.0),  # where no label holds and none is predicted, all is right
        **macro_means(precision, recall, f1, present),
        "hamming_loss": means(weights, wrong),
        "exact_match": means(weights, wrong == 0),
        f"{EACH}precision": np.where(present, precision, np.nan),
        f"{EACH}recall": np.where(true > 0, recall, np.nan),
        f"{EACH}f1": np.where(present, f1, np.nan),
    }


def _calibration(y: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    errors = calibration_errors(weights, scores, y)
    return {"mean_ece": errors.mean(axis=1), f"{EACH}ece": errors}


def _ranking(y: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    areas, averages = rankings(weights, y, scores)
    return {
        "mean_average_precision": mean_of_defined(averages),
        "macro_roc_auc": mean_of_defined(areas),
        f"{EACH}average_precision": averages,
        f"{EACH}roc_auc": areas,
    }
