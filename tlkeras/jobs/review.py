"""Look at a finished run again: cross-validate its settings, and list what is suspicious about its examples."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras import files
from tlkeras.config import RunConfig
from tlkeras.data import sheets
from tlkeras.data.examples import Dataset
from tlkeras.data.row_cache import open_cache
from tlkeras.data.split import Splits
from tlkeras.data.store import Store
from tlkeras.data.target import SEPARATOR, Target, number_text
from tlkeras.distribution.strategies import open_distribution
from tlkeras.evaluation import errors
from tlkeras.jobs import cross_validation, finetune, opening, preflight, report_run, run_folder
from tlkeras.jobs.corrections import CORRECTED, EXAMPLE
from tlkeras.jobs.cross_validation import CrossValidation
from tlkeras.jobs.examples import Data
from tlkeras.jobs.plan import Plan
from tlkeras.jobs.run_folder import Run
from tlkeras.jobs.training_options import facts, fold_options
from tlkeras.modalities.inputs import Inputs
from tlkeras.models import FEATURES
from tlkeras.progress import Clock, Reporter
from tlkeras.registry import load_function
from tlkeras.tasks.registry import Task
from tlkeras.training import feature_cache
from tlkeras.training.feature_rows import FeatureRows
from tlkeras.weights.keras_file import read_keras

FORMAT = 1
LABEL, DUPLICATE, OUTLIER = "label", "near-duplicate", "outlier"  # kinds of suspicion
COLUMNS = (EXAMPLE, "split", "suspicion", "given", "suggested", "prediction", "score", "note", "content", CORRECTED)
LISTED = 100  # entries of each list in `errors.json`
TEXT = 200  # characters of a text that a row shows


@dataclass(frozen=True, kw_only=True)
class Refolded:
    """A cross-validation of a run, and the examples as it read them."""

    result: CrossValidation
    data: Data
    task: Task


def cross_validate(run: Run, plan: Plan, dataset: Dataset, *, probe: bool, reporter: Reporter) -> Refolded:
    """Trains what a plan says on folds of its examples, and writes what they say into the folder of a run.

    Args:
        run: whose folder it is.
        plan: with `train.cross_validate`.
        dataset: the examples.
        probe: whether the plan is another than that of the run, for the report.
        reporter: receives progress.
    """
    config, clock = plan.config, Clock(reporter)
    distribution = open_distribution(config.train.placement)
    cross_validation.check(config, distribution)
    cache = open_cache(config.data.cache and distribution.workers == 1, reporter.warn)
    scratch = run_folder.scratch()
    try:
        with distribution.watched(), reporter.live():
            plan, _, task, data = finetune.prepared(plan, scratch, dataset, clock, reporter, cache)
            options = partial(fold_options, config, distribution, task, scratch, cache)
            final = cross_validation.OF_PROBE if probe else cross_validation.OF_RUN
            result = cross_validation.of_run(
                plan, task, data, run, options=options, facts=facts, clock=clock, reporter=reporter, final=final
            )
    finally:
        shutil.rmtree(scratch.root, ignore_errors=True)
    return Refolded(result=result, data=data, task=task.task)


# === Review ===


@dataclass(frozen=True, kw_only=True)
class Review:
    """What is suspicious about the examples of a run.

    Args:
        rows: of the table, in its order; the columns are `COLUMNS`.
        content: of `errors.json`.
        table: path of the table.
    """

    rows: list[dict[str, Any]]
    content: dict[str, Any]
    table: Path


@dataclass(frozen=True, kw_only=True)
class _Material:
    """Examples with their splits, out-of-fold scores and features, all in one order."""

    inputs: Inputs
    store: Store
    splits: Splits
    scores: np.ndarray
    features: np.ndarray
    target: Target
    task: Task
    basis: str

    @cached_property
    def where(self) -> list[str]:
        return self.splits.names()


def review(run: Run, config: RunConfig, plan: Plan, dataset: Dataset, *, table: Path, probe: bool, reporter: Reporter) -> Review:
    """Lists what is suspicious; arguments that `tlkeras.review` does not have are:

    Args:
        config: of the run.
        plan: what is cross-validated where the run has no out-of-fold scores.
        table: the file to write.
        probe: whether that is another training than that of the run.
    """
    dataset = preflight.limited(config, dataset)
    with reporter.live():
        material = _stored(run, config, dataset, reporter) or _computed(run, plan, dataset, probe, reporter)
        rows, content = _listed(material)
    sheets.write_sheet(table, rows, COLUMNS)
    files.write_json(table.parent / run.errors.name, content)
    if table.parent.resolve() == run.root.resolve():
        report_run.add_thumbnails(run, material.inputs, material.store, [row["example"] for row in content["label_errors"]])
        report_run.refresh(run, reporter)
    return Review(rows=rows, content=content, table=table)


def _stored(run: Run, config: RunConfig, dataset: Dataset, reporter: Reporter) -> _Material | None:
    """Returns the examples with the out-of-fold scores that a run has, or None where it has none of these examples."""
    if not run.out_of_fold_scores.is_file():
        return None
    opened = opening.load(run.root, runtime="keras")
    store = opened.inputs.materialise(
        dataset, progress=partial(reporter.progress, "decode"), cache=open_cache(config.data.cache, reporter.warn)
    )
    model = opened.model
    scores = cross_validation.read_scores(run, [example.id for example in store.examples], len(opened.target.labels))
    if scores is None or model is None:
        reporter.say("the out-of-fold scores of the run are of other examples, so they are computed again")
        return None
    return _Material(
        inputs=opened.inputs,
        store=store,
        splits=store.split(val_split=config.data.val_split, test_split=config.data.test_split, seed=config.seed),
        scores=scores,
        features=_features(model, store, config, reporter),
        target=opened.target,
        task=opened.task,
        basis="Labels are judged by the out-of-fold scores of the run.",
    )


def _computed(run: Run, plan: Plan, dataset: Dataset, probe: bool, reporter: Reporter) -> _Material:
    """Returns the examples with out-of-fold scores that are computed now."""
    what = "a linear probe of the pretrained features" if probe else f"recipe {plan.config.train.recipe}"
    reporter.say(f"the run has no out-of-fold scores: computing them in {plan.config.train.cross_validate} folds of {what}")
    refolded = cross_validate(run, plan, dataset, probe=probe, reporter=reporter)
    data, known = refolded.data, list(refolded.result.shared.known.values())
    features = known[0][0] if known and known[0][0].ndim == 2 else None
    if features is None:
        config = run_folder.read_config(run)
        opened = opening.load(run.root, runtime="keras")
        store = opened.inputs.materialise(dataset, progress=partial(reporter.progress, "decode"))
        features = _features(read_keras(run.model), store, config, reporter)
    return _Material(
        inputs=data.inputs,
        store=data.store,
        splits=data.splits,
        scores=refolded.result.scores,
        features=np.asarray(features),
        target=data.target,
        task=refolded.task,
        basis=f"Labels are judged by the out-of-fold scores of {what}, in {plan.config.train.cross_validate} folds.",
    )


def _features(model: keras.Model, store: Store, config: RunConfig, reporter: Reporter) -> np.ndarray:
    """Returns the features of every example, float32 (n, width), by the network of a run."""
    network = keras.Model(model.inputs, model.get_layer(FEATURES).output)
    cache = open_cache(config.data.cache, reporter.warn)
    forward = partial(feature_cache.constant_function, network)
    settings: dict[str, Any] = {"lengths": store.lengths, "progress": lambda done, total: reporter.progress("features", done, total)}
    if cache is None:
        return feature_cache.compute(network, store.inputs, **settings)[0]
    return FeatureRows(prefix=network, cache=cache, forward=forward).compute(store.inputs, **settings)[0]


def _listed(material: _Material) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns the rows of the table, and the content of `errors.json`."""
    store, task, scores = material.store, material.task, material.scores
    targets = task.targets_of(store.examples, store.target)
    target = task.calibrated(material.target, targets, scores)
    where, values = material.where, store.values
    mistakes = load_function(task.mistakes)(targets, scores, target) if task.mistakes else []
    confused = load_function(task.confused)(targets, scores, target) if task.confused else []
    suspects = load_function(task.label_errors)(values, targets, scores, target) if task.label_errors else []
    twins = errors.near_duplicates(material.features, where, values)
    distances = errors.unusual(material.features, material.splits.train)
    outliers = errors.outliers(distances, material.splits.train)

    ids = [example.id for example in store.examples]
    texts = [target.text(value) for value in values]
    row = partial(_row, material, texts, partial(_answer, task, target, scores))
    rows = [row(one.index, LABEL, round(1 - one.quality, 6), suggested=target.text(target.canonical(one.suggested))) for one in suspects]
    rows += [row(one.index, DUPLICATE, round(one.cosine, 6), note=_twin_note(one, ids, where, texts)) for one in twins]
    rows += [row(int(index), OUTLIER, round(float(distances[index]), 6)) for index in outliers]

    lists: dict[str, list[dict[str, Any]]] = {
        "mistakes": [
            {"example": ids[one.index], "given": one.actual, "predicted": one.predicted, "confidence": one.confidence} for one in mistakes
        ],
        "confused": [{"given": actual, "predicted": predicted, "examples": count} for actual, predicted, count in confused],
        "label_errors": [
            {"example": ids[one.index], "given": texts[one.index], "suggested": target.text(one.suggested), "quality": one.quality}
            for one in suspects
        ],
        "near_duplicates": [
            {
                "example": ids[one.index],
                "other": ids[one.other],
                "splits": f"{where[one.index]}, {where[one.other]}",
                "labels": " / ".join(dict.fromkeys((texts[one.index], texts[one.other]))),
                "cosine": one.cosine,
            }
            for one in twins
        ],
        "outliers": [{"example": ids[i], "given": texts[i], "distance": float(distances[i])} for i in outliers.tolist()],
    }
    counts = {name: len(entries) for name, entries in lists.items()}
    content = {"format": FORMAT, "basis": material.basis, "examples": len(store), "counts": counts}
    return rows, content | {name: entries[:LISTED] for name, entries in lists.items()}


def _answer(task: Task, target: Target, scores: np.ndarray, index: int) -> str:
    """Returns the answer for an example as a text, in the way in which its target is written."""
    return _answer_text(load_function(task.answer)(scores[index], target, None))


def _answer_text(answer: Mapping[str, Any]) -> str:
    if "targets" in answer:
        return ", ".join(f"{name}={_answer_text(own)}" for name, own in answer["targets"].items())
    if "values" in answer:
        return " ".join(map(number_text, answer["values"].values()))
    return str(answer["label"]) if "label" in answer else SEPARATOR.join(answer["labels"])


def _row(
    material: _Material,
    texts: Sequence[str],
    answer: Callable[[int], str],
    index: int,
    suspicion: str,
    score: float,
    *,
    suggested: str = "",
    note: str = "",
) -> dict[str, Any]:
    example = material.store.examples[index]
    content = " ".join((example.text or "").split())
    return {
        EXAMPLE: example.id,
        "split": material.where[index],
        "suspicion": suspicion,
        "given": texts[index],
        "suggested": suggested,
        "prediction": answer(index),
        "score": score,
        "note": note,
        "content": content[:TEXT] + ("…" if len(content) > TEXT else ""),
        CORRECTED: "",
    }


def _twin_note(twin: errors.Twin, ids: Sequence[str], where: Sequence[str], texts: Sequence[str]) -> str:
    label = "" if texts[twin.index] == texts[twin.other] else f", labelled {texts[twin.other]!r}"
    return f"nearly the same as {ids[twin.other]} in {where[twin.other]}{label}"
