"""Transfer against training from scratch: the same network, examples and splits, from random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlkeras.config import RunConfig
from tlkeras.data import store
from tlkeras.data.examples import Dataset
from tlkeras.evaluation import comparison, intervals
from tlkeras.evaluation.prediction import keras_scores
from tlkeras.jobs import companion, run_folder
from tlkeras.jobs import plan as planning
from tlkeras.jobs.examples import Data
from tlkeras.jobs.outcome import Scored
from tlkeras.jobs.plan import Plan
from tlkeras.jobs.run_folder import Run
from tlkeras.progress import Reporter
from tlkeras.registry import load_function
from tlkeras.tasks.markup import escape
from tlkeras.tasks.registry import take, task_named
from tlkeras.training.recipes import full
from tlkeras.training.recipes.registry import RECIPES
from tlkeras.weights.keras_file import read_keras

FOLDER = "scratch"  # in a run, with the run from random weights
TITLE = "Gain of the pretrained weights"
NAME = "from scratch"
RECIPE = next(row.name for row in RECIPES if row.from_scratch)


def dataset_of(dataset: Dataset, data: Data) -> Dataset:
    """Returns the examples of a run in its splits."""
    return replace(dataset, examples=companion.examples_of(data), notes=(), source=None)


def config_of(config: RunConfig, epochs: int, folder: Path) -> RunConfig:
    """Returns the settings of the run from random weights: the whole network trains, whatever trained in the run itself.

    It trains for as many epochs as the run, and for 10 at least: a head that is solved exactly counts as one epoch, in which no network
    learns from scratch. The learning rate is that of the recipe `full`, or that of the run where it has the same recipe.

    Args:
        config: of the run, effective.
        epochs: that the run took, over all phases.
        folder: where the run from scratch is written.
    """
    rate = config.train.learning_rate if config.train.recipe == RECIPE else None  # other recipes have rates for pretrained weights
    of_recipe = {"unfreeze": None, "freeze_rules": (), "max_minutes": None, "teacher": None, "temperature": None}
    return config.updated(
        **companion.settings(folder),
        **of_recipe,
        recipe=RECIPE,
        epochs=max(epochs, full.PHASE.epochs),
        learning_rate=rate or full.PHASE.learning_rate,
        batch_norm="train",
        lora_rank=None,
        lora_targets=(),
    )


def plan_of(plan: Plan, epochs: int, run: Run) -> Plan:
    """Returns the plan of the run from random weights; see `config_of`."""
    config = config_of(plan.config, epochs, run.root / FOLDER)
    return replace(planning.resolve(config, backbone=plan.backbone), from_scratch=True)


def epochs_of(summary: Mapping[str, Any]) -> int:
    """Returns the epochs of all phases of a run, from its `metrics.json`."""
    return sum(int(phase["epochs"]) for phase in summary["phases"])


def costs(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a run took to train, from its `metrics.json`."""
    return {"epochs": epochs_of(summary), "seconds": summary["timing"]["train"]}


def compared(
    data: Data,
    scored: Mapping[str, Scored],
    summary: Mapping[str, Any],
    scratch: Run,
    scratch_summary: Mapping[str, Any],
    reporter: Reporter,
) -> dict[str, Any]:
    """Returns what the pretrained weights gain on the held-out examples; see `section` for the form.

    Args:
        data: of the run, with the target as calibrated.
        scored: its held-out splits.
        summary, scratch_summary: `metrics.json` of either run.
        scratch: folder of the run from random weights.
        reporter: receives the result.
    """
    split = "test" if scored["test"].figures.n else "val"
    index, config = scored[split].index, run_folder.read_config(scratch)
    measures = load_function(task_named(config.model.task).measures)
    targets = take(data.targets, index)
    scores = keras_scores(read_keras(scratch.model), store.rows(data.store.inputs, index))
    groups = None if data.groups is None else data.groups[index]
    first = intervals.grouped(measures(targets, scored[split].scores, data.target), groups)
    second = measures(targets, scores, run_folder.read_target(scratch))
    content = {
        "split": split,
        "run": costs(summary),
        "scratch": costs(scratch_summary),
        "targets": {name: comparison.compare(part, second[name], seed=config.seed) for name, part in first.items()},
    }
    reporter.result(TITLE, rows(content), words(content))
    return content


def rows(content: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Returns target and figure -> the figure of the run and of that from scratch."""
    figures = {}
    for name, part in content["targets"].items():
        row = part["figures"][part["headline"]]
        figures[f"{name} {row['title']}" if len(content["targets"]) > 1 else row["title"]] = {
            "pretrained": row["first"],
            NAME: row["second"],
        }
    return figures


def words(content: Mapping[str, Any]) -> list[str]:
    """Returns what the pretrained weights gain, in words; see `section`."""
    run, scratch = content["run"], content["scratch"]
    parts = content["targets"]
    shown = [f"with the pretrained weights, {f'{name}: ' if len(parts) > 1 else ''}{part['words']}" for name, part in parts.items()]
    return [
        *shown,
        f"the run trained for {run['epochs']} epochs ({run['seconds']:.0f} s), the whole network from random weights for {scratch['epochs']} "
        f"({scratch['seconds']:.0f} s), on the same examples; compared on the {content['split']} split",
    ]


def section(content: Mapping[str, Any]) -> tuple[str, str]:
    """Returns title and HTML of the comparison, for the report.

    Args:
        content: `baseline` of `metrics.json`: `split`; `run` and `scratch`: `epochs` and `seconds`; `targets`: target -> what
            `comparison.compare` returned.
    """
    _, tables = comparison.section(NAME, content["targets"])
    return TITLE, "".join(f"<p>{escape(line)}</p>" for line in words(content)) + tables
