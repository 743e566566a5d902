"""The examples of a run, in the form that its model accepts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

import keras

from tlkeras import files, models
from tlkeras.config import RunConfig
from tlkeras.data.audit import Audit, audit
from tlkeras.data.examples import Dataset, Issue
from tlkeras.data.split import Splits, split
from tlkeras.data.store import Store, rows
from tlkeras.jobs.plan import Plan
from tlkeras.jobs.run_folder import Run
from tlkeras.modalities.inputs import Inputs, Pictures, Sequences, Texts
from tlkeras.modalities.sequences import arrays as sequences
from tlkeras.models import TaskModel
from tlkeras.progress import Clock, Reporter
from tlkeras.training import phases as training
from tlkeras.training import precision


@dataclass(frozen=True, kw_only=True)
class Data:
    """Examples in the form that the model accepts, with their splits."""

    inputs: Inputs
    store: Store
    splits: Splits
    audit: Audit

    def part(self, name: str) -> training.Examples:
        index = getattr(self.splits, name)
        lengths = None if self.store.lengths is None else self.store.lengths[index]
        return training.Examples(inputs=rows(self.store.inputs, index), y=self.store.y[index], lengths=lengths)


def prepare(config: RunConfig, dataset: Dataset, task: TaskModel, run: Run, clock: Clock, reporter: Reporter) -> Data:
    """Turns every example into an input of the model, once; splits, audits, and stores the audit."""
    inputs, notes = _inputs(config, dataset, task)
    with clock.step("decode"):
        store = inputs.materialise(dataset, cache_dir=run.work, strict=config.data.strict, progress=partial(reporter.progress, "decode"))
        splits = split(
            store.sha256,
            store.y,
            [example.split for example in store.examples],
            val_split=config.data.val_split,
            test_split=config.data.test_split,
            seed=config.seed,
        )
        found = audit(dataclasses.replace(store, notes=(*store.notes, *notes)), splits)
    files.write_json(run.audit, found.to_dict())
    for line in found.summary():
        reporter.warn(line)
    return Data(inputs=inputs, store=store, splits=splits, audit=found)


def _inputs(config: RunConfig, dataset: Dataset, task: TaskModel) -> tuple[Inputs, list[Issue]]:
    """Returns the inputs that the model accepts, and notes from fitting them to the data."""
    if task.backbone.modality == "sequence":
        time, features = task.model.input_shape[1:]
        return Sequences(time=int(time), features=int(features)), []
    if task.tokens is None:
        return Pictures(
            size=config.model.image_size or task.backbone.input_size, resize=config.data.resize, channels=config.model.channels
        ), []
    if dataset.modality != "text":
        return Texts(tokens=task.tokens), []
    fitted, note = Texts(tokens=task.tokens).fitted(dataset, config.model.max_length)
    return fitted, [note]


def build(plan: Plan, classes: int, dataset: Dataset | None = None) -> TaskModel:
    """Builds the task model of a plan, under its dtype policy, which is put back afterwards.

    Args:
        plan: what to build.
        classes: number of outputs.
        dataset: the examples, for networks of sequences, which must know their shape.
    """
    before, config = keras.config.dtype_policy(), plan.config
    try:
        if config.train.mixed_precision:
            keras.config.set_dtype_policy(precision.mixed_policy())
        return models.build(
            plan.backbone,
            classes,
            image_size=config.model.image_size,
            channels=config.model.channels,
            adapter=config.model.channel_adapter,
            weights=config.model.weights,
            dropout=config.model.dropout,
            options=config.model.options(),
            data=sequences.described(dataset, config.model.max_length) if dataset and dataset.modality == "sequence" else None,
        )
    finally:
        keras.config.set_dtype_policy(before)
