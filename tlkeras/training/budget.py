"""A phase within so many minutes: how many epochs, and how far down the network it trains, from measured times."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.models import TaskModel
from tlkeras.training import freezing
from tlkeras.training.freeze_rules import Rule, parse
from tlkeras.training.options import Examples
from tlkeras.training.recipes.registry import Phase

FEWEST_EPOCHS = 3  # of a phase that is worth its while; those of the phase itself where it has fewer
TIMED = 16  # examples in a step that is timed
OVERRUN = 1.2  # times its minutes after which a phase is stopped, where steps took longer than measured


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Measured times of a task model, for one example.

    Args:
        step: seconds of a step of training of all layers.
        forward: seconds of inference.
        shares: section -> its share of the time, from input to output.
    """

    step: float
    forward: float
    shares: dict[str, float]


def fitted(
    phase: Phase, rules: Sequence[Rule], section_names: Sequence[str], costs: Costs, *, examples: int, seconds: float
) -> tuple[Phase, Sequence[Rule]] | None:
    """Returns a phase that takes at most so long: with fewer epochs, else with fewer sections unfrozen; None where not even one fits.

    Args:
        phase, rules: as planned, for all sections.
        section_names: of the backbone, from input to output.
        costs: measured.
        examples: in an epoch.
        seconds: that the phase may take.
    """
    fewest = min(FEWEST_EPOCHS, phase.epochs)
    for index, name in enumerate(section_names):
        above = sum(costs.shares.get(other, 0.0) for other in section_names[index:])
        once = examples * costs.forward * (1 - above)  # below, features are computed before the first epoch
        epochs = int((seconds - once) / (examples * costs.step * above)) if above > 0 else 0
        if epochs >= fewest:
            fewer = dataclasses.replace(phase, epochs=min(epochs, phase.epochs))
            if index == 0:
                return fewer, rules
            return dataclasses.replace(fewer, unfreeze=f"from:{name}"), parse(f"from:{name}", section_names)
    return None


def measured(task: TaskModel, examples: Examples) -> Costs:
    """Times a step of training of all layers, and each section of one inference; weights do not change.

    On an accelerator the step is traced, as most of the time of single operations is their launch there.
    """
    count = min(TIMED, len(examples))
    batch = tf.cast(np.asarray(examples.inputs[slice(0, count)]), task.model.inputs[0].dtype)
    y = tf.constant(examples.y[:count])
    loss = keras.losses.get(task.task.keras_loss(task.target))
    freezing.apply(task.model, (("*", True),), sections=task.sections)
    variables = [variable.value for variable in task.model.trainable_variables]

    def step() -> Any:
        with tf.GradientTape() as tape:
            total = tf.reduce_mean(loss(y, task.model(batch, training=False)))
        return [gradient for gradient in tape.gradient(total, variables) if gradient is not None][0]

    timed = tf.function(step, autograph=False) if tf.config.list_logical_devices("GPU") else step
    shares, forward = _sections(task, batch)
    return Costs(step=_seconds(timed) / count, forward=forward / count, shares=shares)


def _seconds(run: Callable[[], Any]) -> float:
    """Returns the seconds of a second call; the first may trace and allocate."""
    seconds = 0.0
    for _ in range(2):
        started = time.monotonic()
        tf.convert_to_tensor(run()).numpy()
        seconds = time.monotonic() - started
    return seconds


def _sections(task: TaskModel, batch: tf.Tensor) -> tuple[dict[str, float], float]:
    """Returns each section's share of the time of an inference, layer by layer, and the time of all."""
    seconds: dict[str, float] = {}

    def timed(operation: keras.Operation) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.monotonic()
            value = operation(*args, **kwargs)
            tf.nest.map_structure(lambda tensor: tensor.numpy() if tf.is_tensor(tensor) else tensor, value)
            section = task.sections.get(operation.name, "")
            seconds[section] = seconds.get(section, 0.0) + time.monotonic() - started
            return value

        return call

    for _ in range(2):
        seconds.clear()
        task.model._run_through_graph(batch, operation_fn=timed)
    total = sum(seconds.values())
    return {section: value / total for section, value in seconds.items()}, total


class Deadline(keras.callbacks.Callback):
    """Ends a phase that takes much longer than it may.

    Args:
        seconds: that it may take.
    """

    def __init__(self, seconds: float):
        super().__init__()
        self._end = time.monotonic() + seconds * OVERRUN

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if time.monotonic() > self._end:
            self.model.stop_training = True
