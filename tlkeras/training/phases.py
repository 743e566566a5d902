"""Runs the phases of a recipe: set flags, split at the freeze boundary, fit, verify that frozen weights are unchanged."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tlkeras.models import TaskModel
from tlkeras.startup import tensor_float32
from tlkeras.training import feature_cache, features, freezing
from tlkeras.training.features import Arrays
from tlkeras.training.fit import fit
from tlkeras.training.freezing import Rule
from tlkeras.training.options import Examples, Options
from tlkeras.training.recipes.registry import Phase, Recipe, function
from tlkeras.training.results import Interrupted, PhaseResult, Trained, history_of

__all__ = ["Examples", "Interrupted", "Options", "PhaseResult", "Trained", "run"]

MAX_VIEWS = 4  # augmented copies of each example whose features are cached


def run(
    task: TaskModel,
    phases: Sequence[tuple[Phase, Sequence[Rule]]],
    parts: Mapping[str, Examples],
    options: Options,
    *,
    recipe: Recipe | None = None,
) -> Trained:
    """Trains the task model, phase after phase; in place, unless the recipe transforms it.

    Args:
        task: the task model.
        phases: each phase with its freeze rules.
        parts: `train` is learned from, `val` is what early stopping looks at, `test` is only scored; the
            last two may be empty.
        options: options for all phases.
        recipe: whose `transform` and `finish` are called, where set.

    Raises:
        TrainingDiverged, OutOfMemory, FreezeError: see `errors`.
        Interrupted: at Ctrl-C, with the weights in the model that the phase keeps.
    """
    results: list[PhaseResult] = []
    finish = recipe.finish if recipe else None
    # Features are kept and compared with what artifacts answer, scores are too: both in float32 proper.
    with options.distribution.watched(), tensor_float32(False):
        if recipe and recipe.transform:
            task = function(recipe.transform)(task)
        if task.task.transform:
            task = function(task.task.transform)(task)
        for index, (phase, rules) in enumerate(phases):
            scored = ("val", "test") if index == len(phases) - 1 and not finish else ()
            try:
                last = _run_phase(task, phase, rules, parts, dataclasses.replace(options, seed=_seed(options.seed, index)), scored)
            except Interrupted as stopped:
                rows = [{"phase": phase.name, **row} for row in stopped.history]
                raise Interrupted([*history_of(results), *rows], keep=stopped.keep, task=_kept(task)) from stopped
            results.append(last.result)
        if finish:  # it may change any layer, and with it the features that were computed for the last phase
            task = function(finish)(task, parts)
            last = dataclasses.replace(
                last, model=task.model, arrays={name: features.uncached(task.model, parts[name]) for name in ("val", "test")}
            )
        scores = {name: features.scores(last.model, last.arrays[name], name, options) for name in ("val", "test")}
    task = _kept(task)
    width = task.model.output_shape[-1]  # what only the loss needs stands in columns behind the scores
    return Trained(task=task, phases=results, scores={name: values[:, :width] for name, values in scores.items()})


def _kept(task: TaskModel) -> TaskModel:
    """Returns the model without what only its loss needs."""
    return function(task.task.finish)(task) if task.task.finish else task


def _seed(seed: int, index: int) -> int:
    """Returns the seed of a phase: that of the run for the first one, another for each that follows."""
    return seed if index == 0 else int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


@dataclass(frozen=True, kw_only=True)
class _Finished:
    """A finished phase: its result, the part of the model that was trained, and what that part receives."""

    result: PhaseResult
    model: keras.Model
    arrays: dict[str, Arrays]


def _run_phase(
    task: TaskModel, phase: Phase, rules: Sequence[Rule], parts: Mapping[str, Examples], options: Options, scored: Sequence[str]
) -> _Finished:
    """Runs one phase with a seed of its own; `scored` names the splits whose scores are asked for afterwards."""
    flags = freezing.apply(task.model, rules, sections=task.sections, batch_norm=options.batch_norm)
    before = freezing.frozen_digests(task.model)
    started = time.monotonic()
    split = feature_cache.split(task.model)
    views = 1 if not options.augmented or split.prefix is None else min(MAX_VIEWS, phase.epochs)
    names = tuple(dict.fromkeys([*scored, "val", "train"]))
    arrays = features.compute(split, parts, names, views, options)
    features_done = time.monotonic()
    if split.prefix is not None:
        options = dataclasses.replace(options, augment="none")  # the views are augmented already
    history, best_epoch = fit(task, phase, split.suffix, arrays["train"], arrays["val"], options)
    freezing.check_frozen(task.model, before)
    result = PhaseResult(
        name=phase.name,
        history=history,
        best_epoch=best_epoch,
        trainable_parameters=flags.trainable_parameters,
        frozen=len(before),
        cached_examples=0 if split.prefix is None else sum(len(parts[name]) for name in names),
        seconds={"features": features_done - started, "fit": time.monotonic() - features_done},
    )
    return _Finished(result=result, model=split.suffix, arrays=arrays)
