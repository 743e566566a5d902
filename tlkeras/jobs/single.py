"""Several targets at once against each alone: the same examples, splits and settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.data.target import Target
from tlkeras.jobs import companion
from tlkeras.jobs.examples import Data
from tlkeras.jobs.run_folder import Run
from tlkeras.tasks.markup import figure, table
from tlkeras.tasks.registry import task_for

SINGLE = "single"  # folder in a run with the runs of each target alone
TITLE = "Together and alone"
ALONE, TOGETHER = "alone", "together"


def datasets(dataset: Dataset, data: Data) -> dict[str, Dataset]:
    """Returns the examples of a run with one of its targets only, for each target, in the splits of the run."""
    examples = companion.examples_of(data)
    return {
        part.name: replace(
            dataset,
            target=part,
            examples=tuple(replace(example, label=example.label[place]) for example in examples),
            notes=(),
            source=None,
        )
        for place, part in enumerate(dataset.target.parts)
    }


def config_of(config: RunConfig, part: Target, folder: Path) -> RunConfig:
    """Returns the settings of the run of one target alone: those of the whole run that mean something to its task, without artifacts.

    Args:
        config: of the whole run.
        part: the target.
        folder: where the run is written.
    """
    task = task_for(part.kind)
    of_task = {
        "task": None,
        "target_weights": None,
        "class_weights": config.train.class_weights and task.class_weights,
        "loss": config.train.loss if config.train.loss in task.losses else None,
        "rejection": "none",  # no part of the comparison, and numbers alone have no probability
        "conformal": None,
    }
    return config.updated(**companion.settings(folder), **of_task)


def folders(names: Collection[str], run: Run) -> dict[str, Path]:
    """Returns the folder of the run of each target, whose names are those of the targets as far as files can have them."""
    taken: dict[str, str] = {}
    for index, name in enumerate(names):
        folder = "".join(letter if letter.isalnum() or letter == "_" else "-" for letter in name)
        while folder.casefold() in taken:
            folder = f"{folder}-{index}"
        taken[folder.casefold()] = folder
    return {name: run.root / SINGLE / folder for name, folder in zip(names, taken.values(), strict=True)}


def compared(together: Mapping[str, Any], alone: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the figures of each target, predicted together with the others and alone, on each held-out split.

    Args:
        together: split -> figures of several targets, as in `metrics.json`.
        alone: target -> content of the `metrics.json` of its own run.
    """
    return {
        name: {split: {TOGETHER: together[split]["targets"].get(name), ALONE: metrics[split]} for split in ("val", "test")}
        for name, metrics in alone.items()
    }


def rows(comparison: Mapping[str, Any], held_out: str) -> dict[str, dict[str, float]]:
    """Returns target and figure -> the figure together and alone, on a held-out split."""
    figures = {}
    for name, splits in comparison.items():
        for key, alone in splits[held_out][ALONE].items():
            both = (splits[held_out][TOGETHER] or {}).get(key)
            if isinstance(alone, float) and isinstance(both, float):
                figures[f"{name} {key}"] = {TOGETHER: both, ALONE: alone}
    return figures


def section(comparison: Mapping[str, Any], held_out: str) -> tuple[str, str]:
    """Returns title and HTML of the comparison, for the report."""
    cells = [(name, figure(pair[TOGETHER]), figure(pair[ALONE])) for name, pair in rows(comparison, held_out).items()]
    return TITLE, table(("", TOGETHER, ALONE), cells)
