"""From a config, the examples and the machine to the options of training, and to the facts that recipes ask for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tlkeras.config import RunConfig
from tlkeras.data.row_cache import RowCache
from tlkeras.distribution.strategies import Distribution
from tlkeras.jobs import batch_size
from tlkeras.jobs.examples import Data
from tlkeras.jobs.plan import Plan
from tlkeras.jobs.run_folder import Run
from tlkeras.models import TaskModel
from tlkeras.progress import SILENT, Reporter
from tlkeras.registry import load_function
from tlkeras.tasks.registry import Task, take
from tlkeras.tasks.rejection import DISTANCE
from tlkeras.training import phases as training


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
        tf32=tf32_of(config, distribution),
        class_weights=class_weights_of(config, task, data),
        checkpoints=run.checkpoints,
        work=run.work,
        features=config.certainty.rejection == DISTANCE,
        distribution=distribution,
        progress=reporter.progress,
        say=reporter.say,
    )


def fold_options(
    config: RunConfig, distribution: Distribution, task: TaskModel, run: Run, cache: RowCache | None, data: Data, reporter: Reporter
) -> training.Options:
    """Returns the options of training on a fold; see `options_of`."""
    return replace(options_of(config, distribution, task, data, run, reporter), cache=cache)


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
    return {"examples": len(train), "classes": labels, "fewest": fewest, "target": task.target, "accelerator": accelerator}


def tf32_of(config: RunConfig, distribution: Distribution) -> bool:
    """Whether training may multiply in TF32: as it was asked for, else where no equal losses are promised."""
    return distribution.replicas == 1 if config.train.tf32 is None else config.train.tf32


def class_weights_of(config: RunConfig, task: TaskModel, data: Data) -> dict[int, float] | None:
    """Returns the weights of the classes, where they are asked for and the task weighs examples by them."""
    if not config.train.class_weights or not task.task.weigh:
        return None
    weights: dict[int, float] = load_function(task.task.weigh)(take(data.targets, data.splits.train))
    return weights
