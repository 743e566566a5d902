"""Fine-tune: from a source to a run folder with verified artifacts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tlkeras import config as configs
from tlkeras import files, startup
from tlkeras.backbones.row import Backbone
from tlkeras.config import RunConfig
from tlkeras.data import sheets
from tlkeras.data.examples import Dataset
from tlkeras.data.row_cache import RowCache, open_cache
from tlkeras.data.sources.registry import DEFAULT, is_passed
from tlkeras.data.split import SPLITS
from tlkeras.distribution.strategies import Distribution, open_distribution
from tlkeras.evaluation import calibration
from tlkeras.export.artifact import Artifact
from tlkeras.export.graph import precision_gap
from tlkeras.jobs import (
    backbone_record,
    batch_size,
    choice,
    cross_validation,
    export_run,
    finetune_request,
    outcome,
    preflight,
    report_run,
    run_folder,
    run_lifetime,
    tracking,
)
from tlkeras.jobs import plan as planning
from tlkeras.jobs import resume as resuming
from tlkeras.jobs.conclusion import Conclusion, conclude
from tlkeras.jobs.environment import environment
from tlkeras.jobs.examples import Data, build, prepare
from tlkeras.jobs.plan import Plan
from tlkeras.jobs.run_folder import Run
from tlkeras.jobs.training_options import batch_size_of, facts, fold_options, options_of, tf32_of
from tlkeras.models import TaskModel
from tlkeras.progress import AUTO, Clock, Reporter, resolve
from tlkeras.tasks.registry import DEFAULT as DEFAULT_TASK
from tlkeras.tasks.registry import take
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
    config, dataset = finetune_request.settings(config, dataset, settings, resume=resume)
    plan, dataset = choice.opened(config, dataset, reporter)
    return finetune_plan(plan, dataset, resume=resume is not None, reporter=reporter)


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
    tracking.check(plan.config)
    distribution = distribution or open_distribution(plan.config.train.placement)
    cross_validation.check(plan.config, distribution)
    batch_size.check(plan.config, distribution)
    resumed = Run(Path(plan.asked.out or "")) if resume else None
    if resumed is not None:
        resuming.check_workers(resumed, distribution.workers)
    run = resumed if resumed is not None and distribution.chief else run_of(plan.config, distribution, dataset)
    if run is resumed:
        run_lifetime.claim(run)
    way_on = resuming.command(run.root, distribution.workers) if distribution.chief else None
    with run_lifetime.tidied(run, keep=distribution.chief, way_on=way_on), distribution.watched(), reporter.live():
        if run is not resumed:
            passed = dataset.source is None or is_passed(dataset.source)
            resuming.begin(run, plan.asked, passed=passed, workers=distribution.workers)
        result = _finetune(plan, distribution, run, resumed or run, dataset, reporter)
        distribution.wait()
        return result


def run_of(config: RunConfig, distribution: Distribution, dataset: Dataset) -> Run:
    """Makes the run folder; workers other than the chief write into one that is thrown away, and export nothing."""
    if distribution.chief:
        return run_folder.create(config.out, backbone=config.model.backbone, data=dataset.source or dataset.name)
    return run_folder.scratch()


def _finetune(plan: Plan, distribution: Distribution, run: Run, home: Run, dataset: Dataset, reporter: Reporter) -> Result:
    """Fine-tunes into a folder; `home` is that of the first worker, whose states all read where the run goes on."""
    common = distribution.common if distribution.workers > 1 else None
    states = States(folder=home.states, warn=reporter.warn, writes=distribution.chief, common=common)
    clock = Clock(reporter)
    started = time.monotonic()
    track = tracking.opened(plan.config) if distribution.chief else None
    cache = open_cache(plan.config.data.cache and distribution.workers == 1, reporter.warn)
    plan, dataset, task, data = prepared(plan, run, dataset, clock, reporter, cache)
    plan = batch_size_of(plan, distribution, task, data, run, reporter)
    config = plan.config
    data.inputs.save(run.root)
    files.write(run.config, configs.to_yaml(config.to_dict()))
    backbone_record.write(run, plan.backbone)
    if plan.choice is not None:
        files.write_json(run.root / report_run.RECOMMENDATION, plan.choice)
    numbers = precision.record(task.model, tf32=tf32_of(config, distribution))
    run_folder.write_json(run.environment, {**environment(), **numbers})
    run_folder.write_target(run, data.target)

    distribution.agree("data", lambda: export_run.fingerprint(data.store, data.splits))
    resuming.check_examples(run, export_run.fingerprint(data.store, data.splits))
    distribution.agree("weights", lambda: freezing.digest(task.model))
    folds = None
    if config.train.cross_validate:
        options = partial(fold_options, config, distribution, task, run, cache)
        folds = cross_validation.of_run(plan, task, data, run, options=options, facts=facts, reporter=reporter, clock=clock, states=states)
    with clock.step("train"):
        trained = _train(plan, distribution, task, data, run, reporter, cache, states, folds)
    sheets.write_rows(run.history, trained.history)
    held_out_targets = {name: take(data.targets, getattr(data.splits, name)) for name in ("val", "test")}
    calibrated = calibration.calibrate(trained.task, trained.observed, held_out_targets, config.certainty)
    task = calibrated.task
    target, scored = task.target, outcome.score(calibrated, data)
    _save(task, run)
    run_folder.write_target(run, target)
    run_folder.write_json(run.calibration, calibrated.record)
    sheets.write_rows(run.predictions, outcome.prediction_rows(data, scored, task.task, target))
    if distribution.chief:
        _report(scored, calibrated.record, reporter)
    with clock.step("export"):
        artifacts = _export(config, task, data, scored, run, reporter, clock) if distribution.chief else []
        gap = precision_gap(task.model, np.asarray(data.store.inputs[: export_run.PARITY_SAMPLES], task.model.inputs[0].dtype))
    conclusion = Conclusion(plan=plan, distribution=distribution, run=run, home=home, dataset=dataset, data=data, task=task, scored=scored)
    with clock.step("report"):
        report_run.keep(run, task, data, scored, trained.observed.features, method=config.report.feature_map, seed=config.seed)
    clock.seconds["total"] = round(time.monotonic() - started, 3)
    summary = outcome.summary(config, distribution, data, scored, trained, artifacts, gap, clock) | {"precision": numbers}
    summary["calibration"] = calibrated.brief
    summary["data"] |= outcome.provenance(dataset)
    if folds is not None:
        summary["cross_validation"] = folds.content
    conclude(conclusion, summary, finetune_plan, reporter)
    if track is not None:
        track(run, report_run.collect(run))
    return Result(run=run, metrics=summary, config=config, backbone=plan.backbone)


def _report(scored: dict[str, outcome.Scored], record: Mapping[str, Any], reporter: Reporter) -> None:
    """Shows the scores of the held-out splits."""
    figures = {name: part.figures for name, part in scored.items()}
    reporter.scores({name: score.to_dict() for name, score in figures.items()})
    lines = [*(score.headline(name) for name, score in figures.items()), *calibration.lines(record, outcome.held_out(figures))]
    reporter.result("Result", {name: score.cells() for name, score in figures.items()}, [*filter(None, lines)])


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


def seed_everything(seed: int) -> None:
    """Makes what follows repeatable on a CPU: seeds Python, NumPy, Keras, and asks TensorFlow for deterministic kernels."""
    startup.set_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _train(
    plan: Plan,
    distribution: Distribution,
    task: TaskModel,
    data: Data,
    run: Run,
    reporter: Reporter,
    cache: RowCache | None,
    states: States,
    folds: cross_validation.CrossValidation | None = None,
) -> training.Trained:
    config = plan.config
    if distribution.strategy is not None:
        reporter.say(distribution.describe())
    reporter.say(precision.describe(precision.record(task.model, tf32=tf32_of(config, distribution))))
    options = replace(options_of(config, distribution, task, data, run, reporter), cache=cache, states=states)
    if folds is not None and not options.augmented:  # views are of the seed of the phase, and those of the folds are not
        options = replace(options, shared=folds.shared)
    phases = planning.phases(plan, task.section_names, **facts(task.task, data))
    try:
        return training.run(task, phases, {name: data.part(name) for name in SPLITS}, options, recipe=plan.recipe)
    except training.Interrupted as stopped:
        _save(stopped.task, run)
        sheets.write_rows(run.history, stopped.history or [{"epoch": 0}])
        raise stopped.saying(_stopped(stopped, run)) from stopped


def _stopped(stopped: training.Interrupted, run: Run) -> str:
    """Returns a line about a run that was stopped in training: where its weights are, how to go on, and after which epoch that is."""
    weights = "best weights so far" if stopped.keep == "best" else "weights of the last step"
    count = len(stopped.history)
    line = f"stopped after {count} epochs; the {weights} are in {run.model}, `tlkeras evaluate {run.root}` scores them"
    way_on = startup.way_on()
    if way_on is None:  # a worker whose folder is not that of the run
        return line
    return f"{line}, and `{way_on}` goes on" + ("" if stopped.stored == count else f" after {stopped.stored or 'none'} of them")


def _save(task: TaskModel, run: Run) -> None:
    with files.aside(run.model) as path:
        task.model.save(path)


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
