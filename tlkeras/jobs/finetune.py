"""Fine-tune: from a source to a run folder with verified artifacts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras import config as configs
from tlkeras import files
from tlkeras.backbones.row import Backbone
from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.data.sources.registry import DEFAULT
from tlkeras.data.split import SPLITS
from tlkeras.distribution.strategies import Placement, open_placement
from tlkeras.evaluation import report
from tlkeras.export.artifact import Artifact
from tlkeras.export.graph import precision_gap
from tlkeras.jobs import export_run, outcome, preflight, run_folder
from tlkeras.jobs import plan as planning
from tlkeras.jobs.examples import Data, build, prepare
from tlkeras.jobs.plan import Plan
from tlkeras.jobs.run_folder import Run
from tlkeras.modalities.inputs import TOKENIZER, Texts
from tlkeras.models import TaskModel
from tlkeras.progress import AUTO, Clock, Reporter, resolve
from tlkeras.training import freezing, precision
from tlkeras.training import phases as training

__all__ = ["Result", "finetune", "finetune_plan", "seed_everything"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a fine-tuning: the run folder, its metrics as stored, the effective config, and the row of the backbone."""

    run: Run
    metrics: dict[str, Any]
    config: RunConfig
    backbone: Backbone


# === Fine-tune ===


def finetune(
    config: RunConfig | Dataset | Mapping[str, Any] | str | Path | None = None,
    *,
    dataset: Dataset | None = None,
    reporter: Reporter | str | None = AUTO,
    **settings: Any,
) -> Result:
    """Fine-tunes a backbone; arguments, result and errors are those of `tlkeras.finetune`."""
    reporter = resolve(reporter)
    config, dataset = preflight.settings(config, dataset, settings)
    plan = planning.resolve(config)
    return finetune_plan(plan, preflight.open_examples(plan, dataset), reporter=reporter)


def finetune_plan(plan: Plan, dataset: Dataset, *, reporter: Reporter) -> Result:
    """Fine-tunes as planned, on examples that were checked.

    Args:
        plan: from `plan.resolve`.
        dataset: from `preflight.open_examples`.
        reporter: receives progress.
    """
    if plan.asked.data.source is None and dataset.source == DEFAULT:
        reporter.say(f"{preflight.USES_DIGITS}; for your own images, name a folder with one folder per class (--data FOLDER)")
    placement = open_placement(plan.config.train.placement)
    run = _run(plan.config, placement, dataset)
    with _tidied(run, keep=placement.chief), placement.watched(), reporter.live():
        result = _finetune(plan, placement, run, dataset, reporter)
        placement.wait()
        return result


def _run(config: RunConfig, placement: Placement, dataset: Dataset) -> Run:
    """Makes the run folder; workers other than the chief write into one that is thrown away, and export nothing."""
    if placement.chief:
        return run_folder.create(config.out, backbone=config.model.backbone, data=dataset.source or dataset.name)
    return run_folder.scratch()


def _finetune(plan: Plan, placement: Placement, run: Run, dataset: Dataset, reporter: Reporter) -> Result:
    clock = Clock(reporter)
    started = time.monotonic()
    seed_everything(plan.config.seed)
    dataset = preflight.limited(plan.config, dataset)
    reporter.say(f"{len(dataset.examples):,} examples of {len(dataset.labels)} classes from {dataset.name}")
    with clock.step("build"):
        task = build(plan, len(dataset.labels), dataset)
        for _, rules in planning.phases(plan, task.section_names):  # rules that do not fit are found before the images are read
            freezing.apply(task.model, rules, sections=task.sections)
    for note in task.notes:
        reporter.warn(note)
    data = prepare(plan.config, dataset, task, run, clock, reporter)
    length = data.inputs.tokens.length if isinstance(data.inputs, Texts) else None
    plan = planning.with_data(plan, dataset, out=str(run.root), max_length=length)
    config = plan.config
    if isinstance(data.inputs, Texts):
        data.inputs.tokens.save(run.root / TOKENIZER)
    files.write(run.config, configs.to_yaml(config.to_dict()))
    numbers = precision.record(task.model, tf32=_tf32(config, placement))
    files.write_json(run.environment, {**run_folder.environment(), **numbers})
    run_folder.write_labels(run, dataset.labels)

    placement.agree("data", lambda: export_run.fingerprint(data.store, data.splits))
    placement.agree("weights", lambda: freezing.digest(task.model))
    with clock.step("train"):
        trained = _train(plan, placement, task, data, run, reporter)
    history = [{"phase": one.name, **row} for one in trained.phases for row in one.history]
    files.write_rows(run.history, history)
    task.model.save(run.model)

    scored = outcome.score(trained, data, dataset.labels)
    files.write_rows(run.predictions, outcome.prediction_rows(data, scored, dataset.labels))
    if placement.chief:
        reporter.scores({name: scored[name].figures.to_dict() for name in ("val", "test")})
    with clock.step("export"):
        artifacts = _export(config, task, data, scored, run, reporter) if placement.chief else []
        gap = precision_gap(task.model, np.asarray(data.store.inputs[: export_run.PARITY_SAMPLES], task.model.inputs[0].dtype))
    clock.seconds["total"] = round(time.monotonic() - started, 3)
    summary = outcome.summary(config, placement, data, scored, trained, artifacts, gap, clock) | {"precision": numbers}
    summary["data"] |= outcome.provenance(dataset)
    figures = {name: part.figures for name, part in scored.items()}
    report.write(run.report, summary, config.to_dict(), figures, dataset.labels, data.audit.to_dict(), history)
    files.write_json(run.metrics, summary)
    return Result(run=run, metrics=summary, config=config, backbone=plan.backbone)


@contextmanager
def _tidied(run: Run, *, keep: bool) -> Iterator[None]:
    """Removes working files at the end, and the folders of a run that failed before it had anything to keep, or that is not kept."""
    try:
        yield
    finally:
        if not keep:
            shutil.rmtree(run.root, ignore_errors=True)
        shutil.rmtree(run.work, ignore_errors=True)
        if not run.config.exists():
            for folder in (run.exports, run.checkpoints, run.root):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def seed_everything(seed: int) -> None:
    """Makes what follows repeatable on a CPU: seeds Python, NumPy, Keras, and asks TensorFlow for deterministic kernels."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _train(plan: Plan, placement: Placement, task: TaskModel, data: Data, run: Run, reporter: Reporter) -> training.Trained:
    config = plan.config
    if placement.strategy is not None:
        reporter.say(placement.describe())
    reporter.say(precision.describe(precision.record(task.model, tf32=_tf32(config, placement))))
    options = training.Options(
        batch_size=config.train.batch_size,
        batch_norm=config.train.batch_norm or "frozen",
        augment=config.train.augment,
        patience=config.train.patience,
        seed=config.seed,
        tf32=_tf32(config, placement),
        class_weights=_class_weights(data.store.y[data.splits.train]) if config.train.class_weights else None,
        checkpoints=run.checkpoints,
        work=run.work,
        placement=placement,
        tell=reporter.progress,
    )
    phases = planning.phases(plan, task.section_names)
    try:
        return training.run(task, phases, {name: data.part(name) for name in SPLITS}, options)
    except training.Interrupted as stopped:
        task.model.save(run.model)
        files.write_rows(run.history, stopped.history or [{"epoch": 0}])
        raise training.Interrupted(
            stopped.epochs,
            stopped.history,
            f"stopped after {stopped.epochs} epochs; the best weights so far are in {run.model}, and `tlkeras evaluate {run.root}` scores them",
        ) from stopped


def _tf32(config: RunConfig, placement: Placement) -> bool:
    """Whether training may multiply in TF32: as it was asked for, else where no equal losses are promised."""
    return placement.replicas == 1 if config.train.tf32 is None else config.train.tf32


def _class_weights(y: np.ndarray) -> dict[int, float]:
    """Inverse frequency, mean 1 over the examples."""
    classes, counts = np.unique(y, return_counts=True)
    return {int(index): len(y) / (len(classes) * int(count)) for index, count in zip(classes, counts, strict=True)}


# === Export ===


def _export(
    config: RunConfig, task: TaskModel, data: Data, scored: dict[str, outcome.Scored], run: Run, reporter: Reporter
) -> list[Artifact]:
    """Writes and verifies the artifacts; see `run_export.export_task`."""
    examples = export_run.Examples(store=data.store, splits=data.splits, scores={name: part.scores for name, part in scored.items()})
    return export_run.export_task(task.model, data.inputs, examples, config, run.exports, reporter=reporter)
