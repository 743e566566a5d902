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
from tlkeras.data.sources.registry import DEFAULT, is_passed
from tlkeras.data.split import SPLITS
from tlkeras.distribution.strategies import Distribution, open_distribution
from tlkeras.evaluation import calibration, report
from tlkeras.evaluation import cross_validation as estimates
from tlkeras.export.artifact import Artifact, measure
from tlkeras.export.graph import precision_gap
from tlkeras.jobs import baseline, batch_size, choice, cross_validation, export_run, outcome, preflight, run_folder, single, teacher
from tlkeras.jobs import plan as planning
from tlkeras.jobs import resume as resuming
from tlkeras.jobs.examples import Data, build, prepare
from tlkeras.jobs.plan import Plan
from tlkeras.jobs.run_folder import Run
from tlkeras.models import TaskModel
from tlkeras.progress import AUTO, SILENT, Clock, Reporter, resolve
from tlkeras.registry import load_function
from tlkeras.selection import pages as recommendation
from tlkeras.tasks.registry import DEFAULT as DEFAULT_TASK
from tlkeras.tasks.registry import Task, take
from tlkeras.tasks.rejection import DISTANCE
from tlkeras.training import freezing, precision
from tlkeras.training import phases as training
from tlkeras.training.states import States

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
    resume: str | Path | None = None,
    reporter: Reporter | str | None = AUTO,
    **settings: Any,
) -> Result:
    """Fine-tunes a backbone; arguments, result and errors are those of `tlkeras.finetune`."""
    reporter = resolve(reporter)
    config, dataset = preflight.settings(config, dataset, settings, resume=resume)
    settled = choice.settled(config, dataset, reporter)
    examples = preflight.open_examples(settled.plan, settled.dataset)
    return finetune_plan(settled.plan, examples, resume=resume is not None, reporter=reporter)


def finetune_plan(
    plan: Plan, dataset: Dataset, *, reporter: Reporter, resume: bool = False, distribution: Distribution | None = None
) -> Result:
    """Fine-tunes as planned, on examples that were checked.

    Args:
        plan: from `plan.resolve`.
        dataset: from `preflight.open_examples`.
        reporter: receives progress.
        resume: whether the folder of the run is there, and is gone on with.
        distribution: where a run that this one belongs to works, as workers find each other only once; the plan's own when None.
    """
    if plan.asked.data.source is None and dataset.source == DEFAULT:
        reporter.say(f"{preflight.USES_DIGITS}; for your own images, name a folder with one folder per class (--data FOLDER)")
    plan = planning.for_examples(plan, dataset)
    teacher.check(plan.config, dataset.target)
    distribution = distribution or open_distribution(plan.config.train.placement)
    cross_validation.check(plan.config, distribution)
    batch_size.check(plan.config, distribution)
    run = Run(Path(plan.asked.out or "")) if resume else run_of(plan.config, distribution, dataset)
    run_folder.claim(run)
    with tidied(run, keep=distribution.chief), distribution.watched(), reporter.live():
        if not resume:
            resuming.begin(run, plan.asked, passed=dataset.source is None or is_passed(dataset.source))
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
    if plan.choice is not None:
        files.write_json(run.root / "recommend.json", plan.choice)
    numbers = precision.record(task.model, tf32=_tf32(config, distribution))
    files.write_json(run.environment, {**run_folder.environment(), **numbers})
    run_folder.write_target(run, data.target)

    distribution.agree("data", lambda: export_run.fingerprint(data.store, data.splits))
    resuming.check_examples(run, export_run.fingerprint(data.store, data.splits))
    distribution.agree("weights", lambda: freezing.digest(task.model))
    folds = None
    if config.train.cross_validate:
        options = partial(fold_options, config, distribution, task, run, cache)
        folds = cross_validation.of_run(plan, task, data, run, options=options, facts=facts, reporter=reporter, clock=clock)
    with clock.step("train"):
        trained = _train(plan, distribution, task, data, run, reporter, cache, folds)
    files.write_rows(run.history, trained.history)
    held_out_targets = {name: take(data.targets, getattr(data.splits, name)) for name in ("val", "test")}
    calibrated = calibration.calibrate(trained.task, trained.observed, held_out_targets, config.certainty)
    task = calibrated.task
    target, scored = task.target, outcome.score(calibrated, data)
    _save(task, run)
    run_folder.write_target(run, target)
    files.write_json(run.calibration, calibrated.record)
    figures = {name: part.figures for name, part in scored.items()}
    held_out = "test" if figures["test"].n else "val"
    files.write_rows(run.predictions, outcome.prediction_rows(data, scored, task.task, target))
    if distribution.chief:
        reporter.scores({name: score.to_dict() for name, score in figures.items()})
        lines = [*(score.headline(name) for name, score in figures.items()), *calibration.lines(calibrated.record, held_out)]
        reporter.result("Result", {name: score.cells() for name, score in figures.items()}, [*filter(None, lines)])
    with clock.step("export"):
        artifacts = _export(config, task, data, scored, run, reporter, clock) if distribution.chief else []
        gap = precision_gap(task.model, np.asarray(data.store.inputs[: export_run.PARITY_SAMPLES], task.model.inputs[0].dtype))
    clock.seconds["total"] = round(time.monotonic() - started, 3)
    summary = outcome.summary(config, distribution, data, scored, trained, artifacts, gap, clock) | {"precision": numbers}
    summary["calibration"] = calibrated.brief
    summary["data"] |= outcome.provenance(dataset)
    size, sha256 = measure(run.model)
    summary["model"] = {"bytes": size, "sha256": sha256}
    pages = partial(report.write, run.report, summary, config.to_dict(), figures, target, data.audit.to_dict(), trained.history)
    further = [recommendation.section(plan.choice)] if plan.choice is not None else []
    if folds is not None:
        summary["cross_validation"] = folds.content
        further.append(estimates.section(folds.content))
    further += [calibration.section(calibrated.record, held_out)] if calibrated.record else []
    pages(further)
    files.write_json(run.metrics, summary)
    if config.train.compare_single:  # by all workers, which train together; the run itself is complete, whatever comes of these
        summary["single"] = _each_alone(config, distribution, dataset, data, run, summary, reporter)
        if distribution.chief:
            reporter.result(single.TITLE, single.rows(summary["single"], held_out), [f"on the {held_out} split"])
        pages([*further, single.section(summary["single"], held_out)])
        files.write_json(run.metrics, summary)
    if config.train.baseline and (figures["val"].n or figures["test"].n):
        summary["baseline"] = _from_scratch(config, distribution, dataset, replace(data, target=target), scored, run, summary, reporter)
        sections = [single.section(summary["single"], held_out)] if "single" in summary else []
        pages([*further, *sections, *([baseline.section(summary["baseline"])] if distribution.chief else [])])
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
    calibration.check(plan.config.certainty, len(data.splits.val), task.task, data.target)
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
        run_folder.release(run)
        if run.metrics.exists() or not run.config.exists():  # finished, or nothing to go on with
            shutil.rmtree(run.states, ignore_errors=True)
            run.asked.unlink(missing_ok=True)
            run.begun.unlink(missing_ok=True)
        if not run.config.exists():
            for folder in (run.exports, run.checkpoints, run.root):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def seed_everything(seed: int) -> None:
    """Makes what follows repeatable on a CPU: seeds Python, NumPy, Keras, and asks TensorFlow for deterministic kernels."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def fold_options(
    config: RunConfig, distribution: Distribution, task: TaskModel, run: Run, cache: RowCache | None, data: Data, reporter: Reporter
) -> training.Options:
    """Returns the options of training on a fold; see `options_of`."""
    return replace(options_of(config, distribution, task, data, run, reporter), cache=cache)


def _train(
    plan: Plan,
    distribution: Distribution,
    task: TaskModel,
    data: Data,
    run: Run,
    reporter: Reporter,
    cache: RowCache | None,
    folds: cross_validation.CrossValidation | None = None,
) -> training.Trained:
    config = plan.config
    if distribution.strategy is not None:
        reporter.say(distribution.describe())
    reporter.say(precision.describe(precision.record(task.model, tf32=_tf32(config, distribution))))
    states = States(folder=run.states, warn=reporter.warn) if distribution.workers == 1 else None
    options = replace(options_of(config, distribution, task, data, run, reporter), cache=cache, states=states)
    if folds is not None and not options.augmented:  # views are of the seed of the phase, and those of the folds are not
        options = replace(options, shared=folds.shared)
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
            f"`tlkeras evaluate {run.root}` scores them, and `tlkeras finetune --resume {run.root}` goes on",
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
        patience=config.train.patience,
        seed=config.seed,
        tf32=_tf32(config, distribution),
        class_weights=_class_weights(config, task, data),
        checkpoints=run.checkpoints,
        work=run.work,
        features=config.certainty.rejection == DISTANCE,
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


def _from_scratch(
    config: RunConfig,
    distribution: Distribution,
    dataset: Dataset,
    data: Data,
    scored: Mapping[str, outcome.Scored],
    run: Run,
    summary: Mapping[str, Any],
    reporter: Reporter,
) -> dict[str, Any]:
    """Trains the same network from random weights, on the same examples and splits; see `baseline.compared`."""
    plan = baseline.plan_of(config, baseline.epochs_of(summary), run)
    reporter.say(f"training the whole network from random weights, for at most {plan.config.train.epochs} epochs, to compare")
    scratch = finetune_plan(plan, baseline.dataset_of(dataset, data), reporter=SILENT, distribution=distribution)
    return baseline.compared(data, scored, summary, scratch.run, scratch.metrics, reporter) if distribution.chief else {}


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
) -> list[Artifact | resuming.Recorded]:
    """Writes and verifies the artifacts that are not there yet; see `export_run.export_task`."""
    names = config.export.formats
    if not names:
        return []
    recorded = resuming.exported(run, freezing.digest(task.model))
    missing = config.updated(export=[name for name in names if name not in recorded])
    scores = {name: part.scores for name, part in scored.items()}
    examples = export_run.Examples(store=data.store, splits=data.splits, target=task.target, scores=scores)
    settings: dict[str, Any] = {"keep": bool(recorded), "reporter": reporter, "clock": clock}
    artifacts = {
        artifact.format: artifact
        for artifact in export_run.export_task(task.model, data.inputs, examples, missing, run.exports, **settings)
    }
    return [artifacts.get(name) or recorded[name] for name in names]
