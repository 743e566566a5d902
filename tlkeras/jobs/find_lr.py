"""Find a learning rate: a range test of a run's last phase, drawn and written, without training further."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras import files
from tlkeras.data import sheets
from tlkeras.data.examples import Dataset
from tlkeras.data.split import SPLITS
from tlkeras.distribution.strategies import open_distribution
from tlkeras.jobs import batch_size, finetune, run_lifetime
from tlkeras.jobs import plan as planning
from tlkeras.jobs.plan import Plan
from tlkeras.jobs.training_options import batch_size_of, facts, options_of
from tlkeras.progress import Clock, Reporter
from tlkeras.training.range_test import RangeTest, range_test


@dataclass(frozen=True, kw_only=True)
class LearningRates:
    """The result of a range test.

    Args:
        suggestion: what to set `learning_rate` to; None where the loss never fell.
        table, plot: the files that were written.
    """

    suggestion: float | None
    table: Path
    plot: Path


def find_learning_rate(plan: Plan, dataset: Dataset, *, reporter: Reporter) -> LearningRates:
    """Runs the phases before the last one and a range test of the last, and writes `learning_rates.csv` and `.png`.

    Args:
        plan: from `plan.resolve`.
        dataset: from `preflight.open_examples`.
        reporter: receives progress.

    Raises:
        ConfigError: when the last phase of the recipe is not trained by steps.
    """
    plan = planning.for_examples(plan, dataset)
    distribution = open_distribution(plan.config.train.placement)
    batch_size.check(plan.config, distribution)
    run = finetune.run_of(plan.config, distribution, dataset)
    with run_lifetime.tidied(run, keep=distribution.chief), reporter.live():
        plan, _, task, data = finetune.prepared(plan, run, dataset, Clock(reporter), reporter)
        plan = batch_size_of(plan, distribution, task, data, run, reporter)
        options = options_of(plan.config, distribution, task, data, run, reporter)
        phases = planning.phases(plan, task.section_names, **facts(task.task, data))
        result = range_test(task, phases, {name: data.part(name) for name in SPLITS}, options, recipe=plan.recipe)
        distribution.wait()
        # The setting is scaled by the size of a step, and what was tested is what reaches the optimizer.
        suggestion = None if result.suggestion is None else result.suggestion / planning.rate_factor(plan.config)
        rates = LearningRates(suggestion=suggestion, table=run.root / "learning_rates.csv", plot=run.root / "learning_rates.png")
        if distribution.chief:
            sheets.write_rows(rates.table, result.rows())
            _draw(result, rates.plot)
    return rates


def _draw(result: RangeTest, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes: Any = figure.subplots()
    axes.plot(result.rates, result.losses, alpha=0.3, label="loss of a step")
    axes.plot(result.rates, result.smoothed, label="moving average")
    if result.suggestion is not None:
        axes.axvline(result.suggestion, linestyle="--", color="grey", label=f"suggestion: {result.suggestion:.2g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.set_title(f"Learning-rate range test of phase {result.phase}")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    with files.aside(path) as temporary:
        figure.savefig(temporary, dpi=120)
