"""The end of a run: its report and its figures, and the runs that it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlkeras.data.examples import Dataset
from tlkeras.distribution.strategies import Distribution
from tlkeras.export.checksum import measure
from tlkeras.jobs import baseline, outcome, report_run, run_folder, single
from tlkeras.jobs import plan as planning
from tlkeras.jobs import resume as resuming
from tlkeras.jobs.examples import Data
from tlkeras.jobs.plan import Plan
from tlkeras.jobs.run_folder import Run
from tlkeras.models import TaskModel
from tlkeras.progress import SILENT, Reporter

Train = Callable[..., Any]  # as `finetune.finetune_plan`, which returns a result with `run` and `metrics`


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What is known when a run is trained, scored and exported; `home` is its folder for all workers, `run` where this one writes."""

    plan: Plan
    distribution: Distribution
    run: Run
    home: Run
    dataset: Dataset
    data: Data
    task: TaskModel
    scored: dict[str, outcome.Scored]

    @property
    def figures(self) -> dict[str, Any]:
        """Split -> its score."""
        return {name: part.figures for name, part in self.scored.items()}


def conclude(ended: Conclusion, summary: dict[str, Any], train: Train, reporter: Reporter) -> None:
    """Writes the report and `metrics.json`, which makes a run complete; then trains what it is compared with, and writes both again.

    Args:
        ended: the run.
        summary: content of `metrics.json`, which is added to.
        train: `finetune.finetune_plan`.
        reporter: receives progress.
    """
    run, config, figures = ended.run, ended.plan.config, ended.figures
    size, sha256 = measure(run.model)
    summary["model"] = {"bytes": size, "sha256": sha256}
    summary["freeze"] = report_run.freeze_rows(ended.task)

    def write() -> None:
        report_run.write(run, summary=summary, figures=figures)
        run_folder.write_json(run.metrics, summary)

    write()
    if config.train.compare_single:  # by all workers, which train together; the run itself is complete, whatever comes of these
        summary["single"] = _each_alone(ended, summary, train, reporter)
        if ended.distribution.chief:
            held_out = outcome.held_out(figures)
            reporter.result(single.TITLE, single.rows(summary["single"], held_out), [f"on the {held_out} split"])
        write()
    if config.train.baseline and (figures["val"].n or figures["test"].n):
        summary["baseline"] = _from_scratch(ended, summary, train, reporter)
        write()


def _each_alone(ended: Conclusion, summary: Mapping[str, Any], train: Train, reporter: Reporter) -> dict[str, Any]:
    """Trains each of several targets alone, on the same examples and splits, and returns its figures beside those of all at once."""
    alone, datasets = {}, single.datasets(ended.dataset, ended.data)
    folders = single.folders(datasets, ended.home)
    for name, examples in datasets.items():
        reporter.say(f"training {name} alone, to compare")
        plan = planning.resolve(single.config_of(ended.plan.config, examples.target, folders[name]), backbone=ended.plan.backbone)
        alone[name] = _beside(plan, examples, ended.distribution, train)[1]
    return single.compared(summary, alone)


def _beside(plan: Plan, dataset: Dataset, distribution: Distribution, train: Train) -> tuple[Run, Mapping[str, Any]]:
    """Trains what a run is compared with, in a folder of the run; goes on with it, or reads it, where a run that was killed has begun it."""
    run = Run(Path(plan.asked.out or ""))
    unfinished, finished = resuming.unfinished(run.root), run.metrics.is_file()
    distribution.agree(f"view of {str(run.root)!r}", lambda: f"{unfinished} {finished}")
    if finished and not unfinished:
        return run, run_folder.read_json(run.metrics)
    result = train(plan, dataset, resume=unfinished, reporter=SILENT, distribution=distribution)
    return result.run, result.metrics


def _from_scratch(ended: Conclusion, summary: Mapping[str, Any], train: Train, reporter: Reporter) -> dict[str, Any]:
    """Trains the same network from random weights, on the same examples and splits; see `baseline.compared`."""
    plan = baseline.plan_of(ended.plan, baseline.epochs_of(summary), ended.home)
    data = replace(ended.data, target=ended.task.target)
    reporter.say(f"training the whole network from random weights, for at most {plan.config.train.epochs} epochs, to compare")
    scratch, metrics = _beside(plan, baseline.dataset_of(ended.dataset, data), ended.distribution, train)
    if not ended.distribution.chief:
        return {}
    return baseline.compared(data, ended.scored, summary, scratch, metrics, reporter)
