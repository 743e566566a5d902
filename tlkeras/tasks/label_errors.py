"""Labels that are probably wrong, by the scores of models that have not seen the examples: confident learning.

Northcutt, Jiang & Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset Labels, https://arxiv.org/abs/1911.00068; sets of labels as
Thyagarajan et al. 2022, Identifying Incorrect Annotations in Multi-Label Classification Data, https://arxiv.org/abs/2211.13895. Both are computed by
the package cleanlab.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkeras import extras
from tlkeras.data.target import Target, by_part
from tlkeras.registry import load_function
from tlkeras.tasks.registry import TARGET, Targets

EXTRA = "review"
WANTED_BY = "finding label errors"
# Which of cleanlab's ways to flag: the counts off the diagonal of the confident joint. Where 5 % of labels were flipped, by a logistic regression of raw
# pixels or of TF-IDF, it found 0.76 of them in the digits with a precision of 0.78 and 0.57 in rt-polarity with 0.25; cleanlab's default,
# `prune_by_noise_rate`, 0.82 with 0.65 and 0.67 with 0.19. Who reads the table has to look at each flag.
FILTER = "confident_learning"
SMALLEST = 1e-7  # score that is taken in place of 0
# Robust standard deviations that an error may differ from the median one: Iglewicz & Hoaglin 1993, How to Detect and Handle Outliers.
FAR = 3.5
NORMAL = 1.4826  # a standard deviation in median absolute deviations, of a normal distribution


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A value that is probably wrong.

    Args:
        index: position of the example.
        suggested: the value that the scores say instead, as `Target` describes it.
        quality: how likely the given value is right, 0 to 1; of numbers exp(-error in robust standard deviations).
    """

    index: int
    suggested: Any
    quality: float


def check() -> None:
    """Checks that cleanlab is installed.

    Raises:
        MissingPackage: when it is not.
    """
    extras.check("cleanlab", wanted_by=WANTED_BY, extra=EXTRA)


def of_classes(values: Sequence[Any], targets: Targets, scores: np.ndarray, target: Target) -> list[Suspect]:
    """Returns the examples whose class is probably wrong, the most suspicious first.

    Args:
        values: of the examples.
        targets: class ids, int (n,).
        scores: (n, classes), of models that have not seen the example.
        target: with the label map.
    """
    find = extras.require("cleanlab.filter", wanted_by=WANTED_BY, extra=EXTRA).find_label_issues
    y = np.asarray(targets[TARGET])
    if len(np.unique(y)) < 2:
        return []
    probabilities = np.clip(np.asarray(scores, "float64"), SMALLEST, None)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    with _quiet():
        flagged = find(y, probabilities, filter_by=FILTER, n_jobs=1)
    best = probabilities.argmax(axis=1)
    return _sorted(
        Suspect(index=int(i), suggested=target.labels[best[i]], quality=float(probabilities[i, y[i]]))
        for i in np.flatnonzero(flagged & (best != y))
    )


def of_sets(values: Sequence[Any], targets: Targets, scores: np.ndarray, target: Target) -> list[Suspect]:
    """Returns the examples of which labels are probably wrong, missing or both; suggested are the others and the opposite of these."""
    module = extras.require("cleanlab.multilabel_classification.filter", wanted_by=WANTED_BY, extra=EXTRA)
    holds = np.asarray(targets[TARGET]) > 0
    probabilities = np.clip(np.asarray(scores, "float64"), SMALLEST, 1 - SMALLEST)
    # A label that all examples have, or none, cannot be compared with its absence.
    mixed = np.flatnonzero(holds.any(axis=0) & ~holds.all(axis=0))
    if not len(mixed):
        return []
    lists = [np.flatnonzero(row).tolist() for row in holds[:, mixed]]
    flagged = np.zeros(holds.shape, bool)
    with _quiet():
        flagged[:, mixed] = module.find_multilabel_issues_per_class(lists, probabilities[:, mixed], filter_by=FILTER, n_jobs=1)
    likely = np.where(holds, probabilities, 1 - probabilities)
    flagged &= likely < 0.5  # the scores say the opposite, and not merely less
    quality = np.where(flagged, likely, 1.0).min(axis=1)
    return _sorted(
        Suspect(
            index=int(i),
            suggested=tuple(label for label, has in zip(target.labels, holds[i] ^ flagged[i], strict=True) if has),
            quality=float(quality[i]),
        )
        for i in np.flatnonzero(flagged.any(axis=1))
    )


def of_numbers(values: Sequence[Any], targets: Targets, scores: np.ndarray, target: Target) -> list[Suspect]:
    """Returns the examples with a number that is further from the predicted one than errors usually are; suggested is the predicted one."""
    rank = extras.require("cleanlab.regression.rank", wanted_by=WANTED_BY, extra=EXTRA).get_label_quality_scores
    predicted = np.asarray(scores, "float64")
    true = np.asarray(targets[TARGET], "float64").reshape(predicted.shape)
    errors = true - predicted
    middle = np.median(errors, axis=0)
    deviation = NORMAL * np.median(np.abs(errors - middle), axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    flagged = np.abs(errors - middle) > FAR * deviation
    qualities = [rank(true[:, i] / deviation[i], predicted[:, i] / deviation[i], method="residual") for i in range(len(deviation))]
    quality = np.min(qualities, axis=0)
    suggested = np.where(flagged, predicted, true)
    return _sorted(
        Suspect(index=int(i), suggested=tuple(map(float, suggested[i])), quality=float(quality[i]))
        for i in np.flatnonzero(flagged.any(axis=1))
    )


def of_parts(values: Sequence[Any], targets: Targets, scores: np.ndarray, target: Target) -> list[Suspect]:
    """Returns the examples of which a part is probably wrong; suggested is the value with all of its suspicious parts replaced."""
    from tlkeras.tasks.several import parts_of  # which imports Keras

    suggested: dict[int, list[Any]] = {}
    quality: dict[int, float] = {}
    for number, (part, own) in enumerate(zip(parts_of(target), by_part(target, values), strict=True)):
        find = load_function(part.task.label_errors)
        for suspect in find(own, part.targets_in(targets), scores[:, part.scores], part.target):
            suggested.setdefault(suspect.index, list(values[suspect.index]))[number] = suspect.suggested
            quality[suspect.index] = min(suspect.quality, quality.get(suspect.index, 1.0))
    return _sorted(Suspect(index=index, suggested=tuple(parts), quality=quality[index]) for index, parts in suggested.items())


def _sorted(suspects: Iterable[Suspect]) -> list[Suspect]:
    return sorted(suspects, key=lambda suspect: suspect.quality)


@contextmanager
def _quiet() -> Iterator[None]:
    """Runs cleanlab without its warnings about rare classes, of which there are few examples to judge by."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
