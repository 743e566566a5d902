"""Fine-tune: from a source to a run folder with verified artifacts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
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
from tlkeras.data.row_cache import RowCache, open_cache
from tlkeras.data.sources.registry import DEFAULT
from tlkeras.data.split import SPLITS
from tlkeras.distribution.strategies import Distribution, open_distribution
from tlkeras.evaluation import report
from tlkeras.export.artifact import Artifact
from tlkeras.export.graph import precision_gap
from tlkeras.jobs import batch_size, export_run, outcome, preflight, run_folder, single, teacher
from tlkeras.jobs import plan as planning
from tlkeras.jobs.examples import Data, build, prepare
from tlkeras.jobs.plan import Plan
from tlkeras.jobs.run_folder import Run
from tlkeras.models import TaskModel
from tlkeras.progress import AUTO, SILENT, Clock, Reporter, resolve
from tlkeras.registry import load_function
from tlkeras.tasks.registry import DEFAULT as DEFAULT_TASK
from tlkeras.tasks.registry import Task, take
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


def finetune_plan(plan: Plan, dataset: Dataset, *, reporter: Reporter, distribution: Distribution | None = None) -> Result:
    """Fine-tunes as planned, on examples that were checked.

    Args:
        plan: from `plan.resolve`.
        dataset: from `preflight.open_examples`.
        reporter: receives progress.
        distribution: where a run that this one belongs to works, as workers find each other only once; the plan's own when None.
    """
    if plan.asked.data.source is None and dataset.source == DEFAULT:
        reporter.say(f"{preflight.USES_DIGITS}; for your own images, name a folder with one folder per class (--data FOLDER)")
    plan = planning.for_examples(plan, dataset)
    teacher.check(plan.config, dataset.target)
    distribution = distribution or open_distribution(plan.config.train.placement)
    batch_size.check(plan.config, distribution)
    run = run_of(plan.config, distribution, dataset)
    with tidied(run, keep=distribution.chief), distribution.watched(), reporter.live():
        result = _finetune(plan, distribution, run, dataset, reporter)
        distribution.wait()
        return result


def run_of(config: RunConfig, distribution: Distribution, dataset: Dataset) -> Run:
    """Makes the run folder; workers other than the chief write into one that is thrown away, and export nothing."""
    if distribution.chief:
        return run_folder.create(config.out, backbone=config.model.backbone, data=dataset.source or dataset.name)
    return run_folder.scratch()


def _finetune(plan: Plan, distribution: Distribution, run: Run, dataset: Dataset, reporter: Reporter) -> Result:
    clock = Clock(reporter)
    started = time.monotonic()
    cache = open_cache(plan.config.data.cache and distribution.workers == 1, reporter.warn)
    plan, dataset, task, data = prepared(plan, run, dataset, clock, reporter, cache)
    plan = batch_size_of(plan, distribution, task, data, run, reporter)
    config = plan.config
    data.inputs.save(run.root)
    files.write(run.config, configs.to_yaml(config.to_dict()))
    numbers = precision.record(task.model, tf32=_tf32(config, distribution))
    files.write_json(run.environment, {**run_folder.environment(), **numbers})
    run_folder.write_target(run, data.target)

    distribution.agree("data", lambda: export_run.fingerprint(data.store, data.splits))
    distribution.agree("weights", lambda: freezing.digest(task.model))
    with clock.step("train"):
        trained = _train(plan, distribution, task, data, run, reporter, cache)
    task = trained.task
    files.write_rows(run.history, trained.history)
    _save(task, run)

    target = task.task.calibrated(task.target, take(data.targets, data.splits.val), trained.scores["val"])
    run_folder.write_target(run, target)
    scored = outcome.score(trained.scores, data, task.task, target)
    figures = {name: part.figures for name, part in scored.items()}
    files.write_rows(run.predictions, outcome.prediction_rows(data, scored, task.task, target))
    if distribution.chief:
        reporter.scores({name: score.to_dict() for name, score in figures.items()})
        headlines = [score.headline(name) for name, score in figures.items()]
        reporter.result("Result", {name: score.cells() for name, score in figures.items()}, [*filter(None, headlines)])
    with clock.step("export"):
        artifacts = _export(config, replace(task, target=target), data, scored, run, reporter, clock) if distribution.chief else []
        gap = precision_gap(task.model, np.asarray(data.store.inputs[: export_run.PARITY_SAMPLES], task.model.inputs[0].dtype))
    clock.seconds["total"] = round(time.monotonic() - started, 3)
    summary = outcome.summary(config, distribution, data, scored, trained, artifacts, gap, clock) | {"precision": numbers}
    summary["data"] |= outcome.provenance(dataset)
    pages = partial(report.write, run.report, summary, config.to_dict(), figures, target, data.audit.to_dict(), trained.history)
    pages([])
    files.write_json(run.metrics, summary)
    if config.train.compare_single:  # by all workers, which train together; the run itself is complete, whatever comes of these
        summary["single"] = _each_alone(config, distribution, dataset, data, run, summary, reporter)
        held_out = "test" if figures["test"].n else "val"
        if distribution.chief:
            reporter.result(single.TITLE, single.rows(summary["single"], held_out), [f"on the {held_out} split"])
        pages([single.section(summary["single"], held_out)])
        files.write_json(run.metrics, summary)
    return Result(run=run, metrics=summary, config=config, backbone=plan.backbone)


def prepared(
    plan: Plan, run: Run, dataset: Dataset, clock: Clock, reporter: Reporter, cache: RowCache | None = None
) -> tuple[Plan, Dataset, TaskModel, Data]:
    """Returns the plan with what depends on the data, the examples that are used, the task model, and the examples as its inputs."""
    seed_everything(plan.config.seed)
    dataset = preflight.limited(plan.config, dataset)
    task_name = plan.config.model.task
    inferred = "" if plan.asked.model.task or task_name == DEFAULT_TASK else f"; task: {task_name}"
    reporter.say(f"{len(dataset.examples):,} examples of {dataset.target.described} from {dataset.name}{inferred}")
    with clock.step("build"):
        task = build(plan, dataset.target, dataset)
        for _, rules in planning.phases(plan, task.section_names):  # rules that do not fit are found before the images are read
            freezing.apply(task.model, rules, sections=task.sections)
    for note in task.notes:
        reporter.warn(note)
    data = prepare(plan.config, dataset, task, run, clock, reporter, cache)
    task = replace(task, target=data.target)
    task.task.prepared(task.model, data.target)
    plan = planning.with_data(plan, dataset, out=str(run.root), **data.inputs.settings())
    return plan, dataset, task, data


@contextmanager
def tidied(run: Run, *, keep: bool) -> Iterator[None]:
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


def _train(
    plan: Plan, distribution: Distribution, task: TaskModel, data: Data, run: Run, reporter: Reporter, cache: RowCache | None
) -> training.Trained:
    config = plan.config
    if distribution.strategy is not None:
        reporter.say(distribution.describe())
    reporter.say(precision.describe(precision.record(task.model, tf32=_tf32(config, distribution))))
    options = replace(options_of(config, distribution, task, data, run, reporter), cache=cache)
    phases = planning.phases(plan, task.section_names, **facts(task.task, data))
    try:
        return training.run(task, phases, {name: data.part(name) for name in SPLITS}, options, recipe=plan.recipe)
    except training.Interrupted as stopped:
        _save(stopped.task, run)
        files.write_rows(run.history, stopped.history or [{"epoch": 0}])
        weights = "best weights so far" if stopped.keep == "best" else "weights of the last step"
        raise training.Interrupted(
            stopped.history,
            keep=stopped.keep,
            task=stopped.task,
            text=f"stopped after {len(stopped.history)} epochs; the {weights} are in {run.model}, "
            f"and `tlkeras evaluate {run.root}` scores them",
        ) from stopped


def options_of(
    config: RunConfig, distribution: Distribution, task: TaskModel, data: Data, run: Run, reporter: Reporter
) -> training.Options:
    """Returns the options of training that a config says."""
    if config.train.label_smoothing:
        reporter.warn(
            f"label_smoothing is {config.train.label_smoothing:g}: scores become less certain than they are right, which harms calibration"
        )
    return training.Options(
        batch_size=config.train.examples_per_batch,
        accumulate=config.train.accumulate,
        clip_norm=config.train.clip_norm,
        batch_norm=config.train.batch_norm or "frozen",
        augment=config.train.augment,
        views=config.train.views,
        mixup=config.train.mixup,
        cutmix=config.train.cutmix,
        label_smoothing=config.train.label_smoothing,
        engines=config.train.features_engine == "auto",
        patience=config.train.patience,
        seed=config.seed,
        tf32=_tf32(config, distribution),
        class_weights=_class_weights(config, task, data),
        checkpoints=run.checkpoints,
        work=run.work,
        distribution=distribution,
        progress=reporter.progress,
        say=reporter.say,
    )


def batch_size_of(plan: Plan, distribution: Distribution, task: TaskModel, data: Data, run: Run, reporter: Reporter) -> Plan:
    """Returns the plan with a batch size that is a number; see `batch_size.chosen`."""
    options = options_of(plan.config, distribution, task, data, run, SILENT)
    options = replace(options, progress=reporter.progress)
    return batch_size.chosen(plan, task, data.part("train"), options, reporter, **facts(task.task, data))


def facts(task: Task, data: Data) -> dict[str, Any]:
    """Returns what recipes may ask about the data and the machine."""
    train, labels = data.splits.train, len(data.store.labels)
    fewest = len(train)
    if task.labelled_outputs:
        strata = data.store.strata[train]
        fewest = int((np.bincount(strata, minlength=labels) if strata.ndim == 1 else strata.sum(0)).min())
    accelerator = any(tf.config.get_visible_devices(kind) for kind in ("GPU", "TPU"))
    return {"examples": len(train), "classes": labels, "fewest": fewest, "accelerator": accelerator}


def _each_alone(
    config: RunConfig,
    distribution: Distribution,
    dataset: Dataset,
    data: Data,
    run: Run,
    summary: Mapping[str, Any],
    reporter: Reporter,
) -> dict[str, Any]:
    """Trains each of several targets alone, on the same examples and splits, and returns its figures beside those of all at once."""
    alone, datasets = {}, single.datasets(dataset, data)
    folders = single.folders(datasets, run)
    for name, examples in datasets.items():
        reporter.say(f"training {name} alone, to compare")
        plan = planning.resolve(single.config_of(config, examples.target, folders[name]))
        alone[name] = finetune_plan(plan, examples, reporter=SILENT, distribution=distribution).metrics
    return single.compared(summary, alone)


def _save(task: TaskModel, run: Run) -> None:
    with files.aside(run.model) as path:
        task.model.save(path)


def _tf32(config: RunConfig, distribution: Distribution) -> bool:
    """Whether training may multiply in TF32: as it was asked for, else where no equal losses are promised."""
    return distribution.replicas == 1 if config.train.tf32 is None else config.train.tf32


def _class_weights(config: RunConfig, task: TaskModel, data: Data) -> dict[int, float] | None:
    """Returns the weights of the classes, where they are asked for and the task weighs examples by them."""
    if not config.train.class_weights or not task.task.weigh:
        return None
    weights: dict[int, float] = load_function(task.task.weigh)(take(data.targets, data.splits.train))
    return weights


# === Export ===


def _export(
    config: RunConfig, task: TaskModel, data: Data, scored: dict[str, outcome.Scored], run: Run, reporter: Reporter, clock: Clock
) -> list[Artifact]:
    """Writes and verifies the artifacts; see `export_run.export_task`."""
    scores = {name: part.scores for name, part in scored.items()}
    examples = export_run.Examples(store=data.store, splits=data.splits, target=task.target, scores=scores)
    return export_run.export_task(task.model, data.inputs, examples, config, run.exports, reporter=reporter, clock=clock)
