"""The batch size at which training is fastest on this machine: a few steps of each power of two, until larger ones are no faster or do not fit."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.errors import OutOfMemory
from tlkeras.models import TaskModel
from tlkeras.startup import tensor_float32
from tlkeras.training import feature_cache, features, freezing
from tlkeras.training.features import Arrays
from tlkeras.training.fit import compiled, training_batches
from tlkeras.training.freezing import Rule
from tlkeras.training.options import Examples, Options
from tlkeras.training.recipes.registry import Phase, function

SMALLEST, LARGEST = 8, 1024
FEWEST_STEPS = 10  # of an epoch: fewer leave the learning rate no time to rise and fall
SECONDS, STEPS = 0.3, (2, 50)  # that each size is timed for, and in how many steps, after one that traces or allocates
PLATEAU = 0.95  # of the examples per second of the fastest size; the smallest such size is chosen, as more steps learn more
PATIENCE = 2  # sizes that may be no faster, one after the other, before no larger one is tried


@dataclass(frozen=True, kw_only=True)
class BatchTrial:
    """Measured speeds of training by the size of its batches.

    Args:
        phase: that was timed.
        rates: size -> examples per second, of the sizes that fit into memory.
        does_not_fit: the smallest size that does not; None where none was found.
    """

    phase: str
    rates: dict[int, float]
    does_not_fit: int | None = None

    @property
    def chosen(self) -> int:
        """The smallest size that is nearly as fast as the fastest."""
        best = max(self.rates.values())
        return min(size for size, rate in self.rates.items() if rate >= PLATEAU * best)

    @property
    def described(self) -> str:
        """One line: what was measured, and what was chosen."""
        speeds = ", ".join(f"{size}: {rate:,.0f}" for size, rate in self.rates.items())
        memory = f"; {self.does_not_fit} does not fit into memory" if self.does_not_fit else ""
        return f"batch_size {self.chosen} (auto): examples per second of {self.phase} by batch size: {speeds}{memory}"


def sizes(examples: int) -> list[int]:
    """Returns the sizes to try: powers of two with enough steps in an epoch, the smallest in any case."""
    most = min(LARGEST, examples // FEWEST_STEPS)
    return [size for size in (2**power for power in range(LARGEST.bit_length())) if size == SMALLEST or SMALLEST < size <= most]


def batch_trial(task: TaskModel, phases: Sequence[tuple[Phase, Sequence[Rule]]], train: Examples, options: Options) -> BatchTrial | None:
    """Times the last phase that is trained by steps; None where there is none. All weights and seeds are put back.

    Args:
        task, phases: as for `phases.run`.
        train: the training examples.
        options: on one device.

    Raises:
        OutOfMemory: when not even the smallest batch fits.
    """
    stepwise = [(phase, rules) for phase, rules in phases if phase.solver == "adamw"]
    if not stepwise:
        return None
    phase, rules = stepwise[-1]
    variables = [(variable, np.array(variable.value)) for variable in task.model.variables]
    if task.task.transform:
        task = function(task.task.transform)(task)
    options = options.of_phase(phase)
    with tensor_float32(options.tf32):
        freezing.apply(task.model, rules, sections=task.sections, batch_norm=options.batch_norm, only=phase.only)
        split = feature_cache.split(task.model)
        arrays = features.uncached(split.suffix, train)
        if split.prefix is not None:
            arrays = _blank(split, train, arrays, options)
            options = dataclasses.replace(options, augment="none")
        trial = _timed(task, phase, split.suffix, arrays, options)
    for variable, value in variables:
        variable.assign(value)
    return trial


def _blank(split: feature_cache.Split, train: Examples, arrays: Arrays, options: Options) -> Arrays:
    """Returns features of the right shapes: how long a step takes does not depend on what they are."""
    if split.prefix is None:
        return arrays
    inputs = feature_cache.allocate(split.prefix, train.inputs, train.lengths, options.work)
    lengths = train.lengths if any(features.has_free_axis(tensor) for tensor in split.suffix.inputs) else None
    return dataclasses.replace(arrays, inputs=inputs, lengths=lengths)


def _timed(task: TaskModel, phase: Phase, suffix: keras.Model, train: Arrays, options: Options) -> BatchTrial:
    fitted = compiled(task, phase, suffix, train.y, math.ceil(len(train.y) / SMALLEST), options)
    rates: dict[int, float] = {}
    slower = 0
    tried = sizes(len(train.y))
    for number, size in enumerate(tried):
        options.progress("batch size", number, len(tried), f"{size} examples")
        watch = _Steps(size * options.accumulate)
        try:
            data, _ = training_batches(task, suffix, train, dataclasses.replace(options, batch_size=size))
            fitted.model.fit(data, epochs=1, verbose=0, shuffle=False, callbacks=[watch])
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            if not rates:
                raise OutOfMemory(
                    f"a batch of {size} does not fit into memory; try --batch-size {size // 2}, or a smaller --image-size"
                ) from error
            options.progress("batch size", len(tried), len(tried), "")
            return BatchTrial(phase=phase.name, rates=rates, does_not_fit=size)
        faster = not rates or watch.rate * PLATEAU > max(rates.values())
        rates[size] = watch.rate
        slower = 0 if faster else slower + 1
        if slower == PATIENCE:
            break
    options.progress("batch size", len(tried), len(tried), "")
    return BatchTrial(phase=phase.name, rates=rates)


class _Steps(keras.callbacks.Callback):
    """Times steps after the first one, and ends an epoch when it has seen enough.

    Args:
        size: examples of a step.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size
        self._ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        float((logs or {})["loss"])  # waits for an accelerator
        self._ends.append(time.perf_counter())
        least, most = STEPS
        if len(self._ends) > most or (len(self._ends) > least and self._ends[-1] - self._ends[0] > SECONDS):
            self.model.stop_training = True

    @property
    def rate(self) -> float:
        """Examples per second."""
        steps = len(self._ends) - 1
        return self.size * steps / (self._ends[-1] - self._ends[0]) if steps else 0.0
