"""The examples of a run, in the form that its model accepts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np

from tlkeras import models
from tlkeras.config import RunConfig
from tlkeras.data.audit import Audit, audit
from tlkeras.data.examples import Dataset
from tlkeras.data.row_cache import RowCache
from tlkeras.data.split import Splits, group_numbers
from tlkeras.data.store import Store, rows
from tlkeras.data.target import Target
from tlkeras.jobs import plan as planning
from tlkeras.jobs import run_folder, teacher
from tlkeras.jobs.plan import Plan
from tlkeras.jobs.run_folder import Run
from tlkeras.modalities.inputs import Inputs
from tlkeras.modalities.registry import MODALITIES
from tlkeras.modalities.sources import modality_of
from tlkeras.models import TaskModel
from tlkeras.progress import Clock, Reporter
from tlkeras.registry import load_function
from tlkeras.tasks.registry import TARGET, Targets, take, task_named
from tlkeras.training import distillation, precision
from tlkeras.training import phases as training


@dataclass(frozen=True, kw_only=True)
class Data:
    """Examples in the form that the model accepts, with their targets and splits, and what the task has learnt about the target.

    In a distillation, `teacher` are the teacher's scores, float32 (n, labels).
    """

    inputs: Inputs
    store: Store
    target: Target
    targets: Targets
    splits: Splits
    audit: Audit
    teacher: np.ndarray | None = None

    def part(self, name: str) -> training.Examples:
        index = getattr(self.splits, name)
        lengths = None if self.store.lengths is None else self.store.lengths[index]
        y = self.targets[TARGET][index]
        y = y if self.teacher is None else distillation.with_scores(y, self.teacher[index])
        groups = self.groups[index] if self.groups is not None else None
        return training.Examples(inputs=rows(self.store.inputs, index), y=y, lengths=lengths, rows=index, groups=groups)

    @cached_property
    def groups(self) -> np.ndarray | None:
        """Returns a number for each example, the same for those that belong together; None where the data name no groups."""
        return group_numbers(self.store.sha256, self.store.group_of)


def prepare(
    config: RunConfig, dataset: Dataset, task: TaskModel, run: Run, clock: Clock, reporter: Reporter, cache: RowCache | None = None
) -> Data:
    """Turns every example into an input of the model, once; splits, audits, and stores the audit."""
    of_task = load_function(MODALITIES.get(task.backbone.modality).of_task)
    with clock.step("decode"):
        inputs, notes = of_task(task.model, task.tokens, config, dataset)
        store = inputs.materialise(
            dataset, cache_dir=run.work, strict=config.data.strict, progress=partial(reporter.progress, "decode"), cache=cache
        )
        splits = store.split(val_split=config.data.val_split, test_split=config.data.test_split, seed=config.seed)
        audited = audit(dataclasses.replace(store, notes=(*store.notes, *notes)), splits)
    run_folder.write_json(run.audit, audited.to_dict())
    for line in audited.summary():
        reporter.warn(line)
    targets = task.task.targets_of(store.examples, store.target)
    target = task.task.learnt(store.target, take(targets, splits.train), planning.task_options(config))
    taught = None
    if config.train.teacher is not None:
        with clock.step("teacher"):
            taught = teacher.scores(config.train.teacher, dataset, store, splits, reporter)
    return Data(inputs=inputs, store=store, target=target, targets=targets, splits=splits, audit=audited, teacher=taught)


def build(plan: Plan, target: Target | int, dataset: Dataset | None = None) -> TaskModel:
    """Builds the task model of a plan, under its dtype policy, which is put back afterwards.

    Args:
        plan: what to build.
        target: what is to be predicted, or the number of classes.
        dataset: the examples, for networks that are built from facts about them.
    """
    before, config = keras.config.dtype_policy(), plan.config
    try:
        if config.train.mixed_precision:
            keras.config.set_dtype_policy(precision.mixed_policy())
        task = models.build(
            plan.backbone,
            target,
            image_size=config.model.image_size,
            channels=config.model.channels,
            adapter=config.model.channel_adapter,
            weights=config.model.weights,
            task=task_named(config.model.task).name,
            dropout=config.model.dropout,
            options=config.model.options(),
            data=_facts(config, dataset) if dataset else None,
        )
        return models.untrained(task) if plan.from_scratch else task
    finally:
        keras.config.set_dtype_policy(before)


def _facts(config: RunConfig, dataset: Dataset) -> dict[str, Any] | None:
    """Returns the facts about the examples that networks of their modality are built from, or None where there are none."""
    facts = modality_of(dataset).facts
    return None if facts is None else load_function(facts)(dataset, config)
