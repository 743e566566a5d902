"""The learning-rate range test: a short run over rising learning rates, after which the weights are what they were before."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from tlkeras.errors import ConfigError
from tlkeras.models import TaskModel
from tlkeras.startup import tensor_float32
from tlkeras.training import averaging, feature_cache, features, freezing
from tlkeras.training import phases as training
from tlkeras.training.fit import compiled, training_batches
from tlkeras.training.freezing import Rule
from tlkeras.training.options import Examples, Options
from tlkeras.training.recipes.registry import Phase, Recipe, function

LOWEST, HIGHEST = 1e-7, 1.0  # learning rates
STEPS = 100  # each with 1.18 times the learning rate of the one before
MEMORY = 0.9  # of the moving average of the losses: about ten steps
SETTLED = 10  # steps after which this average is one; until then the rates are too low to matter
DIVERGED = 4.0  # times its lowest value, at which the test ends


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """Loss by learning rate.

    Smith 2017, Cyclical Learning Rates for Training Neural Networks, https://arxiv.org/abs/1506.01186.

    Args:
        phase: name of the phase that was tested.
        rates, losses: of each step.
    """

    phase: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def smoothed(self) -> list[float]:
        """The moving average of the losses."""
        return smoothed(self.losses)

    @property
    def suggestion(self) -> float | None:
        """A tenth of the learning rate at which the smoothed loss is lowest; None where the loss never falls."""
        settled = self.smoothed[SETTLED:]
        best = min(range(len(settled)), key=settled.__getitem__, default=0)
        return self.rates[SETTLED + best] / 10 if best else None

    def rows(self) -> list[dict[str, float]]:
        """Returns the rows of `learning_rates.csv`."""
        return [
            {"learning_rate": rate, "loss": loss, "smoothed_loss": smooth}
            for rate, loss, smooth in zip(self.rates, self.losses, self.smoothed, strict=True)
        ]


def smoothed(losses: Sequence[float]) -> list[float]:
    """Returns the moving average of losses."""
    values, average = [], 0.0
    for step, loss in enumerate(losses, 1):
        average = MEMORY * average + (1 - MEMORY) * loss
        values.append(average / (1 - MEMORY**step))
    return values


def range_test(
    task: TaskModel,
    phases: Sequence[tuple[Phase, Sequence[Rule]]],
    parts: Mapping[str, Examples],
    options: Options,
    *,
    recipe: Recipe | None = None,
) -> RangeTest:
    """Tests the learning rates of the last phase, after the phases before it have run.

    Args:
        task, phases, parts, options, recipe: as for `phases.run`.

    Raises:
        ConfigError: when the last phase is not trained by steps.
    """
    *earlier, (phase, rules) = phases
    if phase.solver == "exact":
        raise ConfigError(
            f"the last phase, {phase.name!r}, is solved exactly and has no learning rate; use --recipe feature-extraction, lp-ft or full"
        )
    if earlier:
        task = training.run(task, earlier, parts, options, recipe=dataclasses.replace(recipe, finish=None) if recipe else None).task
    elif recipe and recipe.transform:
        task = function(recipe.transform)(task)
    if task.task.transform:
        task = function(task.task.transform)(task)
    options = options.of_phase(phase)
    with options.distribution.watched(), tensor_float32(False):
        freezing.apply(task.model, rules, sections=task.sections, batch_norm=options.batch_norm, only=phase.only)
        split = feature_cache.split(task.model)
        train = features.compute(split, parts, ("train",), 1, options)["train"]
        return _rising(task, phase, split.suffix, train, options)


def _rising(task: TaskModel, phase: Phase, suffix: keras.Model, train: features.Arrays, options: Options) -> RangeTest:
    """Fits a few steps while the learning rate rises, and puts the weights back."""
    before = averaging.weights_of(suffix)
    schedule = keras.optimizers.schedules.ExponentialDecay(LOWEST, STEPS - 1, HIGHEST / LOWEST)
    fitted = compiled(task, phase, suffix, train.y, STEPS, options, schedule=schedule)
    data, _ = training_batches(task, suffix, train, options)
    losses = _Losses(lambda done: options.progress("learning rates", done, STEPS, ""))
    # An epoch of one step: its loss is that of the step, not a mean.
    endless = data if fitted.counts_steps else data.repeat()
    with tensor_float32(options.tf32):
        fitted.model.fit(endless, epochs=STEPS, steps_per_epoch=1, verbose=0, shuffle=False, callbacks=[losses])
    averaging.put(suffix, before)
    rates = tuple(LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)) for step in range(len(losses.values)))
    return RangeTest(phase=phase.name, rates=rates, losses=tuple(losses.values))


class _Losses(keras.callbacks.Callback):
    """Keeps the loss of each step, and ends the test when it is no longer finite or far above the lowest."""

    def __init__(self, report: Any):
        super().__init__()
        self.values: list[float] = []
        self._report = report

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        loss = float((logs or {})["loss"])
        if math.isfinite(loss):
            self.values.append(loss)
            self._report(epoch + 1)
        settled = smoothed(self.values)[SETTLED:]
        if not math.isfinite(loss) or (settled and settled[-1] > DIVERGED * min(settled)):
            self.model.stop_training = True
