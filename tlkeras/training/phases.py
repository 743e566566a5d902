"""Runs the phases of a recipe: set flags, split at the freeze boundary, fit, verify that frozen weights are unchanged."""

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

from tlkeras.data import pipeline
from tlkeras.distribution import replicas
from tlkeras.distribution.strategies import ONE_DEVICE, Placement
from tlkeras.errors import OutOfMemory
from tlkeras.modalities.images import augment
from tlkeras.models import TaskModel
from tlkeras.startup import tensor_float32
from tlkeras.training import feature_cache, freezing, precision
from tlkeras.training.callbacks import KeepBest, Progress, StopOnNaN
from tlkeras.training.feature_cache import Sliceable
from tlkeras.training.freezing import Rule
from tlkeras.training.optimizer import optimizer
from tlkeras.training.recipes.registry import Phase

CHECKED = 128  # examples of a step of validation
MAX_VIEWS = 4  # augmented copies of each example whose features are cached


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Inputs and labels of one split, in the same order.

    Args:
        inputs: images uint8 (n, size, size, 3), token ids int32 (n, tokens, …) or sequences float32 (n, time, features).
        y: int (n,).
        lengths: int (n,), tokens of each text; None where all are of one length.
    """

    inputs: np.ndarray
    y: np.ndarray
    lengths: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options for all phases of a run."""

    batch_size: int = 32
    batch_norm: str = "frozen"
    augment: str = "none"
    patience: int = 8
    seed: int = 0
    class_weights: Mapping[int, float] | None = None
    tf32: bool = False  # whether the steps of training may multiply in TF32; features and scores never do
    checkpoints: Path
    work: Path | None = None  # where features larger than memory allows are mapped
    placement: Placement = ONE_DEVICE
    tell: Callable[[str, int, int, str], None] = lambda phase, done, total, text: None


@dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """The result of one phase: history per epoch, the best epoch, and which weights were verified unchanged."""

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
    """The user stopped a phase; the model holds the weights of the best epoch so far."""

    def __init__(self, epochs: int, history: list[dict[str, float]], text: str = ""):
        super().__init__(text or f"stopped after {epochs} epochs")
        self.epochs, self.history = epochs, history


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The results of all phases, and the trained model's scores of the held-out splits, in their order."""

    phases: list[PhaseResult]
    scores: dict[str, np.ndarray]


def run(task: TaskModel, phases: Sequence[tuple[Phase, Sequence[Rule]]], parts: Mapping[str, Examples], options: Options) -> Trained:
    """Trains the task model in place, phase after phase.

    Args:
        task: the task model.
        phases: each phase with its freeze rules.
        parts: `train` is learned from, `val` is what early stopping looks at, `test` is only scored; the
            last two may be empty.
        options: options for all phases.

    Raises:
        TrainingDiverged, OutOfMemory, FreezeError: see `errors`.
        Interrupted: at Ctrl-C, with the best weights so far in the model.
    """
    results = []
    scores: dict[str, np.ndarray] = {}
    # Features are kept and compared with what artifacts answer, scores are too: both in float32 proper.
    with options.placement.watched(), tensor_float32(False):
        for index, (phase, rules) in enumerate(phases):
            result, scores = _run_phase(task, phase, rules, parts, options, last=index == len(phases) - 1)
            results.append(result)
    return Trained(phases=results, scores=scores)


def _run_phase(
    task: TaskModel, phase: Phase, rules: Sequence[Rule], parts: Mapping[str, Examples], options: Options, *, last: bool
) -> tuple[PhaseResult, dict[str, np.ndarray]]:
    flags = freezing.apply(task.model, rules, sections=task.sections, batch_norm=options.batch_norm)
    before = freezing.frozen_digests(task.model)
    model = feature_cache.split(task.model)
    started = time.monotonic()
    cached = 0
    given = {name: [part.inputs] for name, part in parts.items()}
    train_y, epochs, augmentation = parts["train"].y, phase.epochs, options.augment
    if model.prefix is not None:
        views = 1 if options.augment == "none" else min(MAX_VIEWS, phase.epochs)
        given = _features(model.prefix, parts, views, options, held_out=("val", "test") if last else ("val",))
        train_y, epochs, augmentation = np.concatenate([train_y] * views), math.ceil(phase.epochs / views), "none"
        cached = sum(len(parts[name]) for name in given)
    features_done = time.monotonic()
    lengths = {name: _lengths(model.suffix, part) for name, part in parts.items()}
    history, best_epoch = _fit(
        task, phase, model.suffix, epochs, augmentation, (given["train"], train_y), (given["val"], parts["val"].y), lengths, options
    )
    freezing.check_frozen(task.model, before)
    result = PhaseResult(
        name=phase.name,
        history=history,
        best_epoch=best_epoch,
        trainable_parameters=flags.trainable_parameters,
        frozen=len(before),
        cached_examples=cached,
        seconds={"features": features_done - started, "fit": time.monotonic() - features_done},
    )
    held_out = {name: given[name] for name in ("val", "test")} if last else {}
    return result, {name: _scores(model.suffix, arrays, lengths[name], name, options) for name, arrays in held_out.items()}


def _lengths(suffix: keras.Model, part: Examples) -> np.ndarray | None:
    """Returns the lengths of a split if the input of the suffix has a free axis."""
    return part.lengths if any(_free(tensor) for tensor in suffix.inputs) else None


def _free(tensor: keras.KerasTensor) -> bool:
    return len(tensor.shape) > 1 and tensor.shape[1] is None


def _scores(
    suffix: keras.Model, arrays: list[np.ndarray], lengths: np.ndarray | None, name: str, options: Options, batch: int = 64
) -> np.ndarray:
    """Runs the suffix on what the prefix gave: the same function as the whole model on the examples, each exactly once."""
    count = len(arrays[0])
    mine = np.arange(count)[options.placement.rows(count)]
    found = np.empty((len(mine), suffix.output_shape[-1]), "float32")
    order = np.arange(len(mine)) if lengths is None else np.argsort(lengths[mine], kind="stable")
    for start in range(0, len(mine), batch):
        place = order[start : start + batch]
        index = mine[place]
        end = None if lengths is None else int(lengths[index].max())
        given = [
            np.asarray(array[index], tensor.dtype)[:, :end] if _free(tensor) else np.asarray(array[index], tensor.dtype)
            for array, tensor in zip(arrays, suffix.inputs, strict=True)
        ]
        found[place] = np.asarray(suffix.predict_on_batch(given[0] if len(given) == 1 else given), "float32")
        options.tell(f"score {name}", min(start + batch, len(mine)), len(mine), "")
    return options.placement.together(found, count)


def _features(
    model: keras.Model, parts: Mapping[str, Examples], views: int, options: Options, held_out: Sequence[str]
) -> dict[str, list[np.ndarray]]:
    """Runs the prefix once per example and view, each worker on its part; the views of one example stand `len(train)` apart."""
    forward = feature_cache.constant_function(model)
    placement = options.placement
    train = parts["train"]
    looks: list[Sliceable] = [_view(train, view, options) for view in range(views)]
    wanted: dict[str, list[Sliceable]] = {**{name: [parts[name].inputs] for name in held_out}, "train": looks}
    total = sum(len(images) for several in wanted.values() for images in several)
    done = 0

    def tell(now: int, _: int) -> None:
        options.tell("features", done + now, total, "")

    found = {}
    for name, several in wanted.items():
        arrays = []
        for images in several:
            arrays.append(
                feature_cache.compute(
                    model, images, forward, folder=options.work, progress=tell, lengths=parts[name].lengths, placement=placement
                )
            )
            done += len(images)
        found[name] = arrays[0] if len(arrays) == 1 else [np.concatenate(same) for same in zip(*arrays, strict=True)]
    return found


def _view(train: Examples, view: int, options: Options) -> Sliceable:
    if options.augment == "none":
        return train.inputs
    return augment.AugmentedView(images=train.inputs, name=options.augment, seed=options.seed, epoch=view)


def _fit(
    task: TaskModel,
    phase: Phase,
    suffix: keras.Model,
    epochs: int,
    augmentation: str,
    train: tuple[list[np.ndarray], np.ndarray],
    val: tuple[list[np.ndarray], np.ndarray],
    lengths: Mapping[str, np.ndarray | None],
    options: Options,
) -> tuple[list[dict[str, float]], int]:
    """Fits the suffix and leaves the best epoch's weights in it; returns the history and the best epoch."""
    placement = options.placement
    target = keras.KerasTensor((None, *train[1].shape[1:]), pipeline.target_dtype(train[1]))
    twin = None if placement.strategy is None else replicas.twin(suffix, placement, task.task.keras_loss, target)
    # Another model of the same layers is compiled, so that what is saved needs no optimizer and no class of tlkeras to be read.
    fitted = keras.Model(suffix.inputs, suffix.outputs[0], name=suffix.name) if twin is None else twin.model
    steps = math.ceil(len(train[1]) / options.batch_size)
    with placement.scope():
        fitted.compile(
            optimizer=precision.scaled(optimizer(phase, steps * epochs, placement), fitted),
            loss=task.task.keras_loss if twin is None else None,
            weighted_metrics=task.task.keras_metrics,
        )
    held_out = len(val[1]) > 0
    best = KeepBest(
        task.model if placement.chief else None,
        monitor=f"val_{task.task.monitor}" if held_out else task.task.monitor,
        patience=options.patience,
        path=options.checkpoints / "best.weights.h5",
        before_save=_copying(twin),
    )
    free = [_free(tensor) for tensor in suffix.inputs]

    def batches(part: tuple[list[np.ndarray], np.ndarray], name: str, **told: Any) -> tf.data.Dataset:
        return placement.distributed(
            lambda share: pipeline.batches(_one(part[0]), part[1], seed=options.seed, lengths=lengths[name], free=free, share=share, **told)
        )

    weights = dict(options.class_weights) if options.class_weights else None
    data = batches(train, "train", batch_size=options.batch_size, shuffle=True, augment=augmentation, class_weights=weights)
    checks = batches(val, "val", batch_size=CHECKED, shuffle=False) if held_out else None
    record = History()
    watch = [
        record,
        StopOnNaN(phase.learning_rate),
        best,
        Progress(lambda done, total, text: options.tell(phase.name, done, total, text), steps=steps),
    ]
    # The parts of a twin's batches come without end.
    counted = {} if twin is None else {"steps_per_epoch": steps, "validation_steps": math.ceil(len(val[1]) / CHECKED) or None}
    with _memory_advice(options.batch_size), _on_interrupt(best, record), tensor_float32(options.tf32):
        fitted.fit(data, validation_data=checks, epochs=epochs, verbose=0, shuffle=False, callbacks=watch, **counted)
    if phase.keep == "best":
        best.restore()
    if twin is not None:
        twin.copy_back()
    return record.rows, best.best_epoch if phase.keep == "best" else len(record.rows)


def _copying(twin: replicas.Twin | None) -> Callable[[], None]:
    return (lambda: None) if twin is None else twin.copy_back


def _one(arrays: list[np.ndarray]) -> Any:
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


class History(keras.callbacks.Callback):
    """Keeps one row per finished epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.rows.append({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})


@contextmanager
def _memory_advice(batch_size: int) -> Iterator[None]:
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise OutOfMemory(
            f"a batch of {batch_size} does not fit into memory; "
            + (f"try --batch-size {batch_size // 2}" if batch_size > 1 else "try a smaller --image-size")
        ) from error


@contextmanager
def _on_interrupt(best: KeepBest, record: History) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        best.restore()
        best.before_save()
        raise Interrupted(best.epochs, record.rows) from error
