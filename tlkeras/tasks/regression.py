"""Regression: one or several numbers per example. The head learns standardised targets, the model answers in the units of the data."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tlkeras.data.target import Target, number_text
from tlkeras.tasks.conformal import quantile
from tlkeras.tasks.judgement import Judgement
from tlkeras.tasks.registry import TARGET, Options, Targets
from tlkeras.tasks.regression_scores import Score, mean_of, number_score, r_squared

COVERAGE = 0.9  # share of new examples that an interval is to contain
FEWEST = 20  # validation examples; with fewer, the interval would be little more than the largest error
CLOSE = 0.1  # standard deviations of the training targets within which two answers count as the same
OWN_COLUMNS = ("split", "example", "known")  # of `predictions.csv`, besides those of the task
OWN_OUTPUTS = ("scores", "features", "status", "known")  # of a SavedModel, besides those of the task


# === Targets, head and loss ===


def learn(target: Target, targets: Targets, options: Options) -> Target:
    """Returns the target with mean, standard deviation (1 for a constant number), lowest and highest value of each number, and the loss."""
    y = np.asarray(targets[TARGET], "float64").reshape(-1, len(target.labels))
    constant = np.ptp(y, axis=0) == 0
    return target.with_facts(
        mean=np.where(constant, y[0], y.mean(axis=0)).tolist(),
        std=np.where(constant, 1.0, y.std(axis=0)).tolist(),
        low=y.min(axis=0).tolist(),
        high=y.max(axis=0).tolist(),
        loss=options.loss or next(iter(RESIDUAL_LOSSES)),
    )


def build_head(features: keras.KerasTensor, target: Target, dropout: float, prefix: str = "") -> keras.KerasTensor:
    """Returns the numbers in the units of the data, in float32 whatever the dtype policy.

    Args:
        features: (batch, width).
        target: with the names of the numbers; what it has learnt, if anything, sets the units. See also `prepare`.
        dropout: fraction of the features dropped in training, 0 to 1.
        prefix: of the names of the layers.
    """
    x = keras.layers.Dropout(dropout, name=f"{prefix}head_dropout")(features)
    x = keras.layers.Dense(len(target.labels), name=f"{prefix}head_logits", dtype="float32")(x)  # (batch, width) -> (batch, numbers)
    # Without weights: its numbers belong to its config, so copies, files and quantised artifacts have them as they are, and nothing trains them.
    scale, offset = _standards(target)
    return keras.layers.Rescaling(scale=scale, offset=offset, name=f"{prefix}scores", dtype="float32")(x)


def prepare(model: keras.Model, target: Target, prefix: str = "") -> None:
    """Makes a model answer in the units of the data; to be called before it is run or copied."""
    layer = model.get_layer(f"{prefix}scores")
    layer.scale, layer.offset = _standards(target)


def _standards(target: Target) -> tuple[list[float], list[float]]:
    """Returns standard deviation and mean of each number; 1 and 0 where they have not been learnt."""
    count = len(target.labels)
    return list(target.facts.get("std", [1.0] * count)), list(target.facts.get("mean", [0.0] * count))


def _huber(residuals: Any) -> Any:
    size = keras.ops.abs(residuals)
    return keras.ops.where(size <= 1.0, 0.5 * keras.ops.square(residuals), size - 0.5)


# Of residuals in standard deviations. Huber 1964, doi:10.1214/aoms/1177703732, with delta 1.
RESIDUAL_LOSSES: dict[str, Callable[[Any], Any]] = {"squared": keras.ops.square, "huber": _huber}


def loss(target: Target) -> Callable[[Any, Any], Any]:
    """Returns the loss: targets, scores -> mean over the numbers for each example, in units of their standard deviations."""
    of_residuals, (std, _) = RESIDUAL_LOSSES[target.facts.get("loss", "squared")], _standards(target)

    def standardised(y: Any, scores: Any) -> Any:
        scores = keras.ops.convert_to_tensor(scores)
        residuals = (keras.ops.cast(y, scores.dtype) - scores) / keras.ops.convert_to_tensor(std, scores.dtype)
        return keras.ops.mean(of_residuals(residuals), axis=-1)

    return standardised


def calibrate(target: Target, targets: Targets, scores: np.ndarray) -> Target:
    """Returns the target with `interval`, half the width of the 90 % interval around each number, where enough examples are held out."""
    return with_intervals(target, targets, scores, COVERAGE) if len(scores) >= FEWEST else target


def with_intervals(target: Target, targets: Targets, scores: np.ndarray, coverage: float) -> Target:
    """Returns the target with `interval`, half the width of that which is to contain a number with the probability `coverage`.

    It is the split-conformal one: the ceil((n + 1) * coverage)-th smallest absolute residual of n validation examples (Lei et al. 2018,
    doi:10.1080/01621459.2017.1307116). They also stop the training, which makes it slightly too narrow.
    """
    other = {} if coverage == COVERAGE else {"interval_coverage": coverage}
    return target.with_facts(interval=quantile(np.abs(_residuals(targets, scores)), 1 - coverage).tolist(), **other)


def _residuals(targets: Targets, scores: np.ndarray) -> np.ndarray:
    """Returns true numbers less predicted ones, float64 (n, numbers)."""
    return np.asarray(targets[TARGET], "float64").reshape(scores.shape) - scores


# === Scores ===


def score(targets: Targets, scores: np.ndarray, target: Target) -> Score:
    """Scores predictions; targets and predictions must come from the same pass over the data.

    Args:
        targets: the true numbers, (n, numbers).
        scores: the predicted ones.
        target: with the names of the numbers and what was learnt of them.

    Returns:
        The scores; with n = 0, all figures are None.
    """
    predicted = np.asarray(scores, "float64")
    true = np.asarray(targets[TARGET], "float64").reshape(predicted.shape)
    if not len(true):
        return Score(n=0, loss=None, numbers=(), true=true, predicted=predicted)
    facts = target.facts
    rows = tuple(
        number_score(name, true[:, i], predicted[:, i], *(facts[key][i] if key in facts else None for key in ("mean", "interval")))
        for i, name in enumerate(target.labels)
    )
    losses = np.asarray(loss(target)(true, predicted))
    return Score(n=len(true), loss=float(losses.mean()), numbers=rows, true=true, predicted=predicted)


# === Answers ===


def answer(scores: np.ndarray, target: Target, top_k: int | None) -> dict[str, Any]:
    """Returns each number by name, and its interval where one is known."""
    values = {name: float(value) for name, value in zip(target.labels, scores, strict=True)}
    if "interval" not in target.facts:
        return {"values": values}
    widths = zip(values.items(), target.facts["interval"], strict=True)
    return {"values": values, "intervals": {name: [value - width, value + width] for (name, value), width in widths}}


def column(name: str) -> str:
    """Returns the column of `predictions.csv` that holds the true values of a number."""
    return f"true:{name}" if name in OWN_COLUMNS else name


def columns(value: Sequence[float], scores: np.ndarray, target: Target) -> dict[str, Any]:
    """Returns the columns of one example in `predictions.csv`; an error is the predicted number less the true one."""
    cells: dict[str, str] = {}
    for name, true, predicted in zip(target.labels, value, np.asarray(scores, "float64"), strict=True):
        cells |= {column(name): number_text(true), f"predicted:{name}": number_text(predicted)}
        cells[f"error:{name}"] = number_text(predicted - true)
    return cells


def output_names(target: Target) -> list[str]:
    """Returns what the numbers are called among the outputs of a SavedModel: in letters, digits and `_`, each another name."""
    names: list[str] = []
    for label in target.labels:
        name = base = re.sub(r"\W+", "_", label, flags=re.ASCII).strip("_") or "number"
        count = 1
        while name in names or name in OWN_OUTPUTS:
            count += 1
            name = f"{base}_{count}"
        names.append(name)
    return names


def spec(target: Target) -> dict[str, Any]:
    """Returns how the scores are read, for the exporters."""
    return {"columns": ({"name": "", "columns": target.labels, "read": "values"},)}


def signature(scores: Any, readable: Any, target: Target) -> dict[str, Any]:
    """Returns each number as an output of its own, float32 (n,), in TensorFlow; not a number where no example was."""
    import tensorflow as tf

    return {name: tf.where(readable, scores[:, index], math.nan) for index, name in enumerate(output_names(target))}


def judge(scores: np.ndarray, reference: np.ndarray, targets: Targets | None, target: Target) -> Judgement:
    """Judges an artifact by R², the mean over the numbers; without targets, by that of its answers for those of the Keras model.

    A number whose true values are all the same has no R². What counts for it is the share of answers that are not close to the model's.

    Args:
        scores: of the artifact, (n, numbers).
        reference: of the Keras model, (n, numbers).
        targets: the true numbers, where they are known.
        target: with their standard deviations.
    """
    if not len(reference):
        return Judgement()
    before, after = np.asarray(reference, "float64"), np.asarray(scores, "float64")
    close = np.abs(after - before) <= CLOSE * np.array(_standards(target)[0])
    agreement = float(close.all(axis=1).mean())
    if not np.isfinite(after).all():
        return Judgement(agreement=agreement, drop=1.0, sentence="answers with values that are not finite numbers")
    true = before if targets is None else np.asarray(targets[TARGET], "float64").reshape(before.shape)
    of_model, of_artifact = ([r_squared(true[:, i], values[:, i]) for i in range(true.shape[1])] for values in (before, after))
    drops = [
        1 - close[:, i].mean() if b is None or a is None else b - a for i, (b, a) in enumerate(zip(of_model, of_artifact, strict=True))
    ]
    drop, reached, expected = float(np.mean(drops)), mean_of(of_artifact), mean_of(of_model)
    if reached is None or expected is None:
        sentence = f"is within {CLOSE} standard deviations of the model on {agreement:.3f} of the held-out examples"
        return Judgement(agreement=agreement, drop=drop, sentence=sentence)
    if targets is None:
        return Judgement(agreement=agreement, drop=drop, sentence=f"has an R² of {reached:.3f} for the answers of the model")
    sentence = f"has an R² of {reached:.3f} on the held-out examples, the model {expected:.3f}"
    return Judgement(agreement=agreement, accuracy=reached, drop=drop, sentence=sentence)
