"""Options of a run that mean nothing to its task, its recipe or its backbone are refused, not ignored."""

from __future__ import annotations

import dataclasses

from tlkeras.backbones.row import Backbone
from tlkeras.config import RunConfig
from tlkeras.errors import ConfigError
from tlkeras.export.formats import FORMATS
from tlkeras.modalities.registry import MODALITIES
from tlkeras.tasks.registry import Task
from tlkeras.training.recipes.registry import Recipe

MIXTURES = ("mixup", "cutmix", "label_smoothing")  # keys that need targets which are probabilities, and training by steps


def check_task(config: RunConfig, task: Task, recipe: Recipe) -> None:
    """Rejects options that mean nothing to a task or to a recipe that trains it by a loss of its own."""
    if config.train.class_weights and not task.class_weights:
        raise ConfigError(f"class_weights weighs classes, and the task {task.name!r} has none; leave it out")
    if config.train.loss is not None and config.train.loss not in task.losses:
        offered = f"expected {', '.join(task.losses)}" if task.losses else f"the task {task.name!r} has one loss; leave it out"
        raise ConfigError(f"loss is {config.train.loss!r}; {offered}")
    for name in MIXTURES:
        if getattr(config.train, name) and recipe.targets:
            raise ConfigError(
                f"{name} is {getattr(config.train, name):g}, and recipe {recipe.name!r} has targets of its own; leave one of them out"
            )
        if getattr(config.train, name) and not task.soft_loss:
            raise ConfigError(
                f"{name} is {getattr(config.train, name):g}, and needs one set of classes or labels; the task {task.name!r} has none; leave it out"
            )
    if config.train.target_weights is not None and not task.check:
        raise ConfigError(f"target_weights weighs several targets, and the task {task.name!r} has one; leave it out")
    if config.train.baseline and not task.measures:
        raise ConfigError(f"baseline compares figures by resampling, and the task {task.name!r} has none that can be; leave it out")
    if config.train.compare_single and not task.check:
        raise ConfigError(f"compare_single compares several targets with each alone, and the task {task.name!r} has one; leave it out")


def check_modality(config: RunConfig, row: Backbone) -> None:
    """Rejects options that do not apply to this backbone, and formats that it does not support."""
    modality = MODALITIES.get(row.modality)
    values, defaults = config.to_dict(), RunConfig().to_dict()
    # How data is read may be set for backbones of several modalities at once, and earlier versions stored it with every run.
    of_data = {field.name for field in dataclasses.fields(config.data)}
    for other in MODALITIES:
        for key in other.config_keys:
            if key not in modality.config_keys and key not in of_data and values[key] != defaults[key]:
                note = f", and {other.config_notes[key]}" if key in other.config_notes else ""
                raise ConfigError(f"{key} is {values[key]!r}; {row.name} accepts {modality.plural}{note}")
    for name in config.export.formats:
        format = FORMATS.get(name)
        reason = row.refusal(name, format.reader)
        if reason:
            raise ConfigError(f"{row.name} cannot be exported to {name}: {reason}; leave it out of --export")
