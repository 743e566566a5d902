"""After training: temperatures folded into the head, which examples are known, prediction sets, and how well scores tell how often they are right.

Dividing logits by a temperature is dividing the kernel and the bias of the layer that gives them, so that every artifact is calibrated and
contains nothing new. The best class stays the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from tlkeras.config import CertaintyConfig
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError
from tlkeras.models import TaskModel
from tlkeras.tasks import conformal, rejection
from tlkeras.tasks.certainty import Certainty, certainty_of, known_of
from tlkeras.tasks.markup import escape, figure, table
from tlkeras.tasks.measures import BINS, expected_calibration_error, reliability
from tlkeras.tasks.registry import Targets, Task
from tlkeras.tasks.temperature import Tempering
from tlkeras.training import observed
from tlkeras.training.observed import Observed

BATCH = 4096  # rows of logits that are turned into scores at a time


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """The calibrated model.

    Args:
        task: with the calibrated head and the target with what was learnt of the validation examples.
        scores: `val` and `test` -> scores, (n, width).
        known: the same -> which examples are known, bool (n,); empty where that cannot be told.
        record: what `calibration.json` holds; `brief` is what `metrics.json` does.
    """

    task: TaskModel
    scores: dict[str, np.ndarray]
    known: dict[str, np.ndarray]
    record: dict[str, Any]

    @property
    def brief(self) -> dict[str, Any]:
        """The record without the bins."""
        return without_bins(self.record)


def check(config: CertaintyConfig, examples: int, task: Task, target: Target) -> None:
    """Checks, before anything is trained, that there are enough validation examples for what was asked for.

    Args:
        config: what is asked for.
        examples: validation examples.
        task, target: what is predicted.

    Raises:
        ConfigError: naming how many are needed.
    """
    certainty = certainty_of(task)
    if config.conformal is not None:
        if certainty is None:
            raise ConfigError(f"conformal is {config.conformal:g}, and the task {task.name!r} has no prediction sets; leave it out")
        conformal.check_enough(config.conformal, examples)
    if config.rejection == rejection.PROBABILITY and certainty is not None:
        if certainty.confidence(np.zeros((1, len(target.labels)), "float32"), target) is None:
            raise ConfigError(f"rejection is 'probability', and {target.described} have none; use --rejection distance or none")


def calibrate(task: TaskModel, seen: Observed, targets: Mapping[str, Targets], config: CertaintyConfig) -> Calibrated:
    """Fits temperatures, thresholds and prediction sets on the validation examples; changes the head in place.

    Args:
        task: the trained task model.
        seen: what it gives for the held-out examples.
        targets: `val` and `test` -> their targets.
        config: what is asked for.
    """
    certainty, row = certainty_of(task.task), task.task
    if certainty is None:
        target = row.calibrated(task.target, targets["val"], seen.scores["val"])
        return Calibrated(task=replace(task, target=target), scores=dict(seen.scores), known={}, record={})
    temperings = certainty.tempered(targets["val"], seen.logits["val"], task.target) if config.calibrate and "val" in seen.logits else {}
    scores = dict(seen.scores)
    if any(tempering.changes for tempering in temperings.values()):
        divided = np.concatenate([np.asarray(tempering.temperatures, "float64") for tempering in temperings.values()])
        names = certainty.layers(task.target)
        divide(task.model, names, divided)
        scores = {name: rescored(task.model, names, seen.logits[name], divided) for name in scores}
    target = row.calibrated(task.target, targets["val"], scores["val"])
    if config.conformal is not None:
        target = certainty.conformal(targets["val"], scores["val"], target, config.conformal, config.conformal_method)
    target = with_rejection(target, certainty, scores["val"], seen.features, config)
    tell = known_of(row, target)
    known = {name: np.asarray(tell(scores[name], seen.features.get(name))) for name in scores if len(scores[name])} if tell else {}
    record = {
        "targets": _of_targets(certainty, temperings, targets, seen.scores, scores, task.target),
        "rejection": _of_rejection(target, known, len(scores["val"]), config),
        "conformal": _of_sets(certainty, targets, scores, target, config),
    }
    return Calibrated(task=replace(task, target=target), scores=scores, known=known, record=record)


# === Temperatures ===


def divide(model: keras.Model, names: Sequence[str], temperatures: np.ndarray) -> None:
    """Divides the logits of dense layers, in place.

    Args:
        model: the task model.
        names: of the layers.
        temperatures: of their columns, one layer after the other.
    """
    start = 0
    for name in names:
        layer = model.get_layer(name)
        own = temperatures[start : start + layer.units]
        start += layer.units
        for variable in (layer.kernel, layer.bias):
            variable.assign((np.asarray(variable, "float64") / own).astype("float32"))


def rescored(model: keras.Model, names: Sequence[str], logits: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """Returns the scores of logits that are divided by temperatures, float32 (n, width): as the model gives them after `divide`."""
    end = observed.tail(model, names)
    divided = (np.asarray(logits, "float64") / temperatures).astype("float32")
    columns = np.cumsum([model.get_layer(name).units for name in names])[:-1]
    parts = [np.empty((0, *end.output_shape[1:]), "float32")]
    for start in range(0, len(divided), BATCH):
        inputs = [keras.ops.convert_to_tensor(part) for part in np.split(divided[start : start + BATCH], columns, axis=1)]
        parts.append(np.asarray(end(inputs if len(inputs) > 1 else inputs[0], training=False), "float32"))
    return np.concatenate(parts)


# === Known examples ===


def with_rejection(
    target: Target, certainty: Certainty, scores: np.ndarray, features: Mapping[str, np.ndarray], config: CertaintyConfig
) -> Target:
    """Returns the target with what tells known examples from others; as it is where that is not asked for or too few are held out.

    Args:
        target: what is predicted.
        certainty: of its task.
        scores: of the validation examples.
        features: of `val`, and of some examples of `train`.
        config: how, and for which coverage.
    """
    fact = None
    if config.rejection == rejection.DISTANCE and "train" in features:
        fact = rejection.fit_distance(features["train"], features["val"], config.coverage)
    if config.rejection == rejection.PROBABILITY and len(scores):
        fact = rejection.fit_probability(np.asarray(certainty.confidence(scores, target)), config.coverage)
    return target if fact is None else target.with_facts(**{rejection.REJECTION: fact})


def _of_rejection(target: Target, known: Mapping[str, np.ndarray], n: int, config: CertaintyConfig) -> dict[str, Any] | None:
    if config.rejection not in (rejection.DISTANCE, rejection.PROBABILITY):
        return None
    asked = {"method": config.rejection, "coverage": config.coverage, "n": n}
    if rejection.REJECTION not in target.facts:
        needed = rejection.needed(config.coverage)
        return {**asked, "threshold": None, "note": f"{n} validation examples, and a coverage of {config.coverage:g} needs {needed}"}
    shares = {name: {"known": float(values.mean()), "n": len(values)} for name, values in known.items()}
    return {**asked, "threshold": target.facts[rejection.REJECTION]["threshold"], **shares}


def _of_sets(
    certainty: Certainty, targets: Mapping[str, Targets], scores: Mapping[str, np.ndarray], target: Target, config: CertaintyConfig
) -> dict[str, Any] | None:
    if config.conformal is None:
        return None
    figures = {name: certainty.covered(targets[name], scores[name], target) for name in scores if len(scores[name])}
    return {"alpha": config.conformal, "method": config.conformal_method, "n": len(scores["val"]), **figures}


# === How often scores are right ===


def _of_targets(
    certainty: Certainty,
    temperings: Mapping[str, Tempering],
    targets: Mapping[str, Targets],
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    target: Target,
) -> dict[str, Any]:
    """Returns name of a target -> its temperatures, and calibration errors and bins of each split before and after."""
    record: dict[str, Any] = {}
    for split in before:
        if not len(before[split]):
            continue
        pairs = zip(*(certainty.claims(targets[split], scores[split], target) for scores in (before, after)), strict=True)
        for raw, own in pairs:
            row = record.setdefault(own.name, _of_tempering(temperings.get(own.name)))
            rows = {"before": reliability(raw.confidence, raw.correct), "after": reliability(own.confidence, own.correct)}
            errors = {name: expected_calibration_error(values) for name, values in rows.items()}
            row[split] = {"n": len(before[split]), "ece": errors, "bins": rows}
    return record


def _of_tempering(tempering: Tempering | None) -> dict[str, Any]:
    if tempering is None:
        return {"temperature": None, "n": None, "gain": None, "note": "not asked for"}
    values = sorted(set(tempering.temperatures))
    shared = values[0] if len(values) == 1 else list(tempering.temperatures)
    return {"temperature": shared, "n": tempering.n, "gain": tempering.gain, "note": tempering.note}


def without_bins(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of `calibration.json` without the bins, as `metrics.json` holds it."""
    targets = {
        name: {key: {k: v for k, v in value.items() if k != "bins"} if isinstance(value, dict) else value for key, value in row.items()}
        for name, row in record.get("targets", {}).items()
    }
    return {**record, "targets": targets} if record else {}


# === In words ===


def lines(record: Mapping[str, Any], split: str) -> list[str]:
    """Returns what a run prints of it: one line on calibration, and one each on rejection and on prediction sets.

    Args:
        record: content of `calibration.json`, with or without the bins.
        split: whose figures are shown.
    """
    parts, own_examples = record.get("targets", {}), ", the examples it was fitted on" if split == "val" else ""
    texts = [_calibration_line(name if len(parts) > 1 else "", row, split) for name, row in parts.items() if split in row]
    reject, sets = record.get("rejection"), record.get("conformal") or {}
    if reject and split in reject:
        texts.append(
            f"known by {reject['method']}: {reject[split]['known']:.1%} of {split}{own_examples} (coverage {reject['coverage']:g})"
        )
    elif reject and reject.get("note"):
        texts.append(f"known: not told apart ({reject['note']})")
    for name, own in sets.get(split, {}).items():
        label = f", {name}" if len(sets[split]) > 1 else ""
        texts.append(
            f"prediction sets{label}: {own['covered']:.1%} of {split} covered{own_examples}, {1 - sets['alpha']:.1%} asked for; "
            f"mean size {own['size']:.3g}"
        )
    return texts


def _calibration_line(name: str, row: Mapping[str, Any], split: str) -> str:
    before, after = row[split]["ece"]["before"], row[split]["ece"]["after"]
    label = f"{name}, " if name else ""
    if row["gain"] is not None and row["gain"] > 0:
        fitted = f"these {row['n']:,} examples" if split == "val" else f"{row['n']:,} validation examples"
        return f"calibration error on {label}{split}: {after:.3f}, {before:.3f} before {row['note']} (fitted on {fitted})"
    return f"calibration error on {label}{split}: {after:.3f}; temperature 1 ({row['note']})"


def section(record: Mapping[str, Any], split: str) -> tuple[str, str]:
    """Returns title and HTML for the report: reliability before and after, rejection and prediction sets.

    Args:
        record: content of `calibration.json`.
        split: whose figures are shown.
    """
    text = "".join(f"<p>{escape(line[:1].upper() + line[1:])}.</p>" for line in lines(record, split))
    return "Calibration", text + "".join(
        (f"<h3>{escape(name)}</h3>" if len(record["targets"]) > 1 else "") + _reliability(row[split]["bins"])
        for name, row in record.get("targets", {}).items()
        if split in row
    )


def _reliability(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Returns the table of what scores claim and what is so, before and after, bin by bin."""
    by_bin = {name: {row["from"]: row for row in values} for name, values in rows.items()}
    starts = sorted({start for values in by_bin.values() for start in values})
    cells = []
    for start in starts:
        own = [f"{start:.2f} – {start + 1 / BINS:.2f}"]
        for name in ("before", "after"):
            row = by_bin[name].get(start)
            own += [f"{row['n']:,}", figure(row["confidence"]), figure(row["correct"])] if row else ["0", "–", "–"]
        cells.append(own)
    return table(("score", "n before", "claimed", "correct", "n after", "claimed", "correct"), cells)
