"""Fits the trained part of a model for one phase, on one device or on several replicas."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.data import pipeline
from tlkeras.data.mixing import Mixing
from tlkeras.distribution import replicas
from tlkeras.distribution.accumulation import AccumulatingModel
from tlkeras.errors import ConfigError, OutOfMemory
from tlkeras.modalities.images.augment import augmentation
from tlkeras.models import TaskModel
from tlkeras.startup import tensor_float32
from tlkeras.training import eager, precision
from tlkeras.training.budget import Deadline
from tlkeras.training.callbacks import History, Progress, StopOnNaN
from tlkeras.training.checkpoint import KeepBest, at_once
from tlkeras.training.features import Arrays, has_free_axis
from tlkeras.training.optimizer import optimizer
from tlkeras.training.options import Options
from tlkeras.training.rates import pull_of
from tlkeras.training.recipes.registry import Phase
from tlkeras.training.results import Interrupted
from tlkeras.training.states import SaveState, State, assign, values

CHECKED = 128  # examples of a step of validation


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A compiled model, and what puts its weights into the model that it was made of."""

    model: keras.Model
    copy_back: Callable[[], None]
    counts_steps: bool  # the parts of a batch that replicas compute come without end


def fit(
    task: TaskModel, phase: Phase, suffix: keras.Model, train: Arrays, val: Arrays, options: Options
) -> tuple[list[dict[str, float]], int]:
    """Fits the suffix and leaves the weights in it that the phase keeps.

    Args:
        task: the whole model, with the loss and the metric of its head.
        phase: epochs, optimizer, and which weights are kept.
        suffix: shares its layers with the task model.
        train: what it learns from; an epoch is one pass over these examples, whatever is cached.
        val: what early stopping looks at; may be empty.
        options: with the seed and the augmentation of this phase.

    Returns:
        The rows of the history, and the epoch whose weights the suffix has.

    Raises:
        TrainingDiverged, OutOfMemory: see `errors`.
        Interrupted: at Ctrl-C or SIGTERM, with the weights of the best epoch, or of the last step where the phase keeps the last ones.
    """
    steps = math.ceil(len(train.y) / options.step_size)
    fitted = compiled(task, phase, suffix, train.y, steps, options)
    held_out = len(val.y) > 0
    best = _keep_best(task, phase, fitted, held_out, options) if phase.keep == "best" else None
    history = History()
    done = _resumed(fitted, history, best, options)
    if done is not None:
        return history.rows, done
    watch = [
        history,
        StopOnNaN(phase.learning_rate),
        *([best] if best else []),
        Progress(lambda done, total, text: options.progress(phase.name, done, total, text), steps=steps),
        *([Deadline(phase.minutes * 60)] if phase.minutes else []),
        *([SaveState(options.state, lambda: history.rows, best, phase.epochs)] if options.state else []),
    ]
    first = len(history.rows)
    data, mixing = training_batches(task, suffix, train, options, first_epoch=first)
    free = [has_free_axis(tensor) for tensor in suffix.inputs]
    unmixed = mixing and Mixing(width=mixing.width)
    checks = _batches(val, free, options, batch_size=CHECKED, shuffle=False, mixing=unmixed) if held_out else None
    counted = {"steps_per_epoch": steps, "validation_steps": math.ceil(len(val.y) / CHECKED) or None} if fitted.counts_steps else {}
    with _memory_advice(options.batch_size), tensor_float32(options.tf32):
        try:
            fitted.model.fit(
                data, validation_data=checks, initial_epoch=first, epochs=phase.epochs, verbose=0, shuffle=False, callbacks=watch, **counted
            )
        except KeyboardInterrupt as error:
            _put_back(best, fitted)
            # In the middle of an epoch there is no state that goes on to the same weights: the newest one stands.
            stored = options.state.newest if options.state else 0
            raise Interrupted(history.rows, keep=phase.keep, task=task, stored=stored) from error
    _put_back(best, fitted)
    best_epoch = best.best_epoch if best else len(history.rows)
    if options.state:
        facts = {"rows": history.rows, "best_epoch": best_epoch, "done": True}
        options.state.done(
            lambda: State(arrays={"model": values(fitted.model.variables)}, facts=facts), phase.epochs, timed=bool(phase.minutes)
        )
    return history.rows, best_epoch


def _resumed(fitted: Fitted, history: History, best: KeepBest | None, options: Options) -> int | None:
    """Continues from the newest state of this fit; returns the best epoch where it is done, else None."""
    state = options.state.load() if options.state else None
    if state is None:
        return None
    history.rows.extend(dict(row) for row in state.facts["rows"])
    assign(fitted.model.variables, state.arrays["model"])
    if state.facts["done"]:
        fitted.copy_back()
        return int(state.facts["best_epoch"])
    optimizer = fitted.model.optimizer
    with options.distribution.scope():
        optimizer.build(fitted.model.trainable_variables)
    assign(optimizer.variables, state.arrays["optimizer"])
    if best is not None:
        best.resume(state.facts["best"], state.arrays.get("best"))
    return None


def training_batches(
    task: TaskModel, suffix: keras.Model, train: Arrays, options: Options, *, first_epoch: int = 0
) -> tuple[Any, Mixing | None]:
    """Returns the batches that the suffix is fitted on, from a pass on, and how their examples are mixed.

    Raises:
        ConfigError: where what trains does not receive what can be mixed.
    """
    mixing = _mixing(task, suffix, train, options) if options.soft_targets else None
    free = [has_free_axis(tensor) for tensor in suffix.inputs]
    weights = dict(options.class_weights) if options.class_weights else None
    changes = augmentation(options.augment)
    settings = {"augment": changes, "class_weights": weights, "mixing": mixing, "first_epoch": first_epoch}
    data = _batches(train, free, options, batch_size=options.step_size, shuffle=True, **settings)
    return data, mixing


def evaluated(task: TaskModel, head: keras.Model, train: Arrays, val: Arrays, options: Options) -> dict[str, float]:
    """Returns the loss and the metrics of a head that was not trained by steps, as the row of an epoch would hold them.

    Args:
        task: with the loss and the metrics.
        head: features -> scores.
        train, val: features and targets; `val` may be empty.
        options: weights of classes.
    """
    model = keras.Model(head.inputs, head.outputs[0])
    eagerly = not eager.worth_tracing(head, steps=math.ceil((len(train.y) + len(val.y)) / CHECKED), batch_size=CHECKED)
    model.compile(loss=task.task.keras_loss(task.target), weighted_metrics=list(task.task.metrics), run_eagerly=eagerly)
    free = [has_free_axis(tensor) for tensor in head.inputs]
    row: dict[str, float] = {}
    for prefix, arrays in (("", train), ("val_", val)):
        if len(arrays.y):
            weights = dict(options.class_weights) if options.class_weights and not prefix else None
            data = pipeline.batches(
                arrays.inputs, arrays.y, batch_size=CHECKED, shuffle=False, seed=0, lengths=arrays.lengths, free=free, class_weights=weights
            )
            row |= {f"{prefix}{name}": float(value) for name, value in model.evaluate(data, verbose=0, return_dict=True).items()}
    return row


def compiled(
    task: TaskModel, phase: Phase, suffix: keras.Model, y: np.ndarray, steps: int, options: Options, schedule: Any = None
) -> Fitted:
    """Compiles another model of the same layers, so that what is saved needs no optimizer and no class of tlkeras to be read.

    Args:
        task, phase, suffix, options: as for `fit`.
        y: targets of the training examples.
        steps: of the whole phase.
        schedule: of the learning rate, where it is not that of the phase.
    """
    distribution = options.distribution
    target = keras.KerasTensor((None, *y.shape[1:]), pipeline.target_dtype(y))
    loss = task.task.keras_loss(task.target, soft=options.soft_targets)
    if options.soft_targets:
        target = keras.KerasTensor((None, suffix.output_shape[-1]), "float32")
    twin, parts = None, options.accumulate
    if distribution.strategy is not None:
        twin = replicas.twin(suffix, distribution, loss, target, parts)
        model = twin.model
    elif parts > 1:
        model = AccumulatingModel(suffix.inputs, suffix.outputs[0], parts=parts, name=suffix.name)
    else:
        model = keras.Model(suffix.inputs, suffix.outputs[0], name=suffix.name)
    pull = pull_of(task, phase, suffix)
    eagerly = twin is None and not eager.worth_tracing(suffix, steps=steps * phase.epochs, batch_size=options.batch_size)
    with distribution.scope():
        model.compile(
            optimizer=precision.scaled(
                optimizer(phase, steps * phase.epochs, distribution, pull, clip_norm=options.clip_norm, schedule=schedule), model
            ),
            loss=loss if twin is None else None,
            weighted_metrics=list(task.task.metrics),
            run_eagerly=eagerly,
        )
    return Fitted(model=model, copy_back=(lambda: None) if twin is None else twin.copy_back, counts_steps=twin is not None)


def _mixing(task: TaskModel, suffix: keras.Model, train: Arrays, options: Options) -> Mixing:
    """Returns how targets are smoothed and examples mixed.

    Raises:
        ConfigError: where what trains does not receive what can be mixed.
    """
    if not task.task.soft_loss:
        raise ConfigError(
            "mixup, cutmix or label_smoothing is set, and this training has a loss for whose targets they mean nothing, such as a teacher's "
            "scores; leave it out"
        )
    if options.cutmix and suffix is not task.model:
        raise ConfigError(
            f"cutmix is {options.cutmix:g}, and replaces parts of images, but layers are frozen here and their features computed once; "
            "use --unfreeze all, or --mixup, which mixes features too"
        )
    numbers = all(array.dtype.kind == "f" or array.dtype == np.uint8 for array in train.inputs)
    if options.mixup and (not numbers or train.lengths is not None):
        raise ConfigError(
            f"mixup is {options.mixup:g}, and mixes images or features of one size; what trains here receives tokens, or inputs of several "
            "lengths; leave it out, or use --recipe feature-extraction"
        )
    return Mixing(width=suffix.output_shape[-1], mixup=options.mixup, cutmix=options.cutmix, smoothing=options.label_smoothing)


def _keep_best(task: TaskModel, phase: Phase, fitted: Fitted, held_out: bool, options: Options) -> KeepBest:
    return KeepBest(
        task.model if options.distribution.chief else None,
        monitor=f"val_{task.task.monitor}" if held_out else task.task.monitor,
        patience=options.patience,
        path=options.checkpoints / f"best-{phase.name}.weights.h5",
        before_save=fitted.copy_back,
        within=options.state.states.if_due if options.state else at_once,
    )


def _put_back(best: KeepBest | None, fitted: Fitted) -> None:
    if best is not None:
        best.restore()
    fitted.copy_back()


def _batches(arrays: Arrays, free: list[bool], options: Options, **settings: Any) -> Any:
    return options.distribution.distributed(
        lambda share: pipeline.batches(
            arrays.inputs, arrays.y, seed=options.seed, lengths=arrays.lengths, free=free, share=share, views=arrays.views, **settings
        )
    )


@contextmanager
def _memory_advice(batch_size: int) -> Iterator[None]:
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise OutOfMemory(
            f"a batch of {batch_size} does not fit into memory; "
            + (f"try --batch-size {batch_size // 2}" if batch_size > 1 else "try a smaller --image-size")
        ) from error
