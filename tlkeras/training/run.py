"""Walk the stages of a recipe: set flags, split at the freeze boundary, fit, prove that nothing frozen moved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras import freezing
from tlkeras.data import augment, pipeline
from tlkeras.errors import OutOfMemory
from tlkeras.freezing import Rule
from tlkeras.models import TaskModel
from tlkeras.recipes.registry import Stage
from tlkeras.training import prefix
from tlkeras.training.callbacks import KeepBest, Progress, StopOnNaN

MAX_VIEWS = 4  # augmented copies of each example whose features are cached


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Pictures and labels of one split: images (n, size, size, 3) uint8, y (n,) int, in the same order."""

    images: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What holds for all stages of a run."""

    batch_size: int = 32
    batch_norm: str = "frozen"
    augment: str = "none"
    patience: int = 8
    seed: int = 0
    class_weights: Mapping[int, float] | None = None
    checkpoints: Path
    tell: Callable[[str, int, int, str], None] = lambda phase, done, total, text: None


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What one stage did: history per epoch, the best epoch, which weights were proven unmoved."""

    name: str
    history: list[dict[str, float]]
    best_epoch: int
    trainable_parameters: int
    frozen: int
    cached_examples: int
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "epochs": len(self.history),
            "best_epoch": self.best_epoch,
            "trainable_parameters": self.trainable_parameters,
            "frozen_variables": self.frozen,
            "frozen_identical": True,  # else freezing.check_frozen had raised
            "examples_computed_once": self.cached_examples,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


class Interrupted(KeyboardInterrupt):
    """The user stopped a stage; the model holds the weights of the best epoch so far."""

    def __init__(self, epochs: int, history: list[dict[str, float]]):
        super().__init__(f"stopped after {epochs} epochs")
        self.epochs, self.history = epochs, history


def run(task: TaskModel, stages: Sequence[tuple[Stage, Sequence[Rule]]], train: Examples, val: Examples, options: Options) -> list[StageResult]:
    """Trains the task model in place, stage after stage.

    Args:
        task: the task model.
        stages: each stage with its freeze rules.
        train: what is learned from.
        val: what early stopping looks at; may be empty.
        options: what holds for all stages.

    Raises:
        TrainingDiverged, OutOfMemory, FreezeError: see `errors`.
        Interrupted: at Ctrl-C, with the best weights so far in the model.
    """
    return [_run_stage(task, stage, rules, train, val, options) for stage, rules in stages]


def _run_stage(task: TaskModel, stage: Stage, rules: Sequence[Rule], train: Examples, val: Examples, options: Options) -> StageResult:
    flags = freezing.apply(task.model, rules, stages=task.stages, batch_norm=options.batch_norm)
    before = freezing.frozen_digests(task.model)
    parts = prefix.split(task.model)
    started = time.monotonic()
    epochs, cached = stage.epochs, 0
    train_x, train_y, val_x = [train.images], train.y, [val.images]
    augmentation = options.augment
    if parts.prefix is not None:
        views = 1 if options.augment == "none" else min(MAX_VIEWS, stage.epochs)
        train_x, train_y, val_x = _cache(parts.prefix, train, val, views, options)
        epochs, augmentation, cached = math.ceil(stage.epochs / views), "none", len(train) + len(val)
    features_done = time.monotonic()
    history, best_epoch = _fit(task, stage, parts.suffix, epochs, augmentation, (train_x, train_y), (val_x, val.y), options)
    freezing.check_frozen(task.model, before)
    return StageResult(
        name=stage.name,
        history=history,
        best_epoch=best_epoch,
        trainable_parameters=flags.trainable_parameters,
        frozen=len(before),
        cached_examples=cached,
        seconds={"features": features_done - started, "fit": time.monotonic() - features_done},
    )


def _cache(model: keras.Model, train: Examples, val: Examples, views: int, options: Options) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """Runs the prefix once per example and view; views of one example stand `len(train)` apart."""
    total = views * len(train) + len(val)

    def compute(images: np.ndarray, offset: int) -> list[np.ndarray]:
        return prefix.compute(model, images, progress=lambda done, _: options.tell("features", offset + done, total, ""))

    val_x = compute(val.images, 0)
    seen = [compute(_view(train, view, options), len(val) + view * len(train)) for view in range(views)]
    train_x = seen[0] if views == 1 else [np.concatenate(parts) for parts in zip(*seen, strict=True)]
    return train_x, np.tile(train.y, views), val_x


def _view(train: Examples, view: int, options: Options) -> np.ndarray | augment.AugmentedView:
    if options.augment == "none":
        return train.images
    return augment.AugmentedView(train.images, name=options.augment, seed=options.seed, epoch=view)


def _fit(
    task: TaskModel,
    stage: Stage,
    suffix: keras.Model,
    epochs: int,
    augmentation: str,
    train: tuple[list[np.ndarray], np.ndarray],
    val: tuple[list[np.ndarray], np.ndarray],
    options: Options,
) -> tuple[list[dict[str, float]], int]:
    """Fits the suffix and leaves the best epoch's weights in it; returns the history and the best epoch."""
    steps = math.ceil(len(train[1]) / options.batch_size)
    suffix.compile(optimizer=optimizer(stage, steps * epochs), loss=task.head.loss, weighted_metrics=[task.head.metric])
    held_out = len(val[1]) > 0
    best = KeepBest(
        task.model, monitor="val_loss" if held_out else "loss", patience=options.patience, path=options.checkpoints / "best.weights.h5"
    )
    data = pipeline.batches(
        _one(train[0]),
        train[1],
        batch_size=options.batch_size,
        shuffle=True,
        seed=options.seed,
        augment=augmentation,
        class_weights=dict(options.class_weights) if options.class_weights else None,
    )
    checks = pipeline.batches(_one(val[0]), val[1], batch_size=128, shuffle=False, seed=options.seed) if held_out else None
    record = History()
    watch = [record, StopOnNaN(stage.learning_rate), best, Progress(lambda done, total, text: options.tell(stage.name, done, total, text))]
    with _memory_advice(options.batch_size), _on_interrupt(best, record):
        suffix.fit(data, validation_data=checks, epochs=epochs, verbose=0, callbacks=watch)
    best.restore()
    return record.rows, best.best_epoch


def _one(arrays: list[np.ndarray]) -> Any:
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


class History(keras.callbacks.Callback):
    """Keeps one row per finished epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.rows.append({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})


def optimizer(stage: Stage, steps: int) -> keras.optimizers.Optimizer:
    """Returns AdamW with linear warm-up and cosine decay; biases and norms do not decay.

    Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, https://arxiv.org/abs/1711.05101.
    """
    warmup = int(stage.warmup * steps)
    schedule: Any = stage.learning_rate
    if stage.learning_rate > 0:  # CosineDecay divides by the peak
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else stage.learning_rate,
            max(1, steps - warmup),
            warmup_target=stage.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    adam = keras.optimizers.AdamW(schedule, weight_decay=stage.weight_decay)
    adam.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return adam


@contextmanager
def _memory_advice(batch_size: int) -> Iterator[None]:
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise OutOfMemory(
            f"a batch of {batch_size} does not fit into memory; " + (f"try --batch-size {batch_size // 2}" if batch_size > 1 else "try a smaller --image-size")
        ) from error


@contextmanager
def _on_interrupt(best: KeepBest, record: History) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        best.restore()
        raise Interrupted(best.epochs, record.rows) from error
