"""Runs the phases of a recipe: set flags, split at the freeze boundary, fit, verify that frozen weights are unchanged."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tlkeras.models import TaskModel
from tlkeras.startup import tensor_float32
from tlkeras.training import averaging, budget, contrastive, exact, feature_cache, features, freezing
from tlkeras.training.features import Arrays
from tlkeras.training.fit import evaluated, fit
from tlkeras.training.freezing import Rule
from tlkeras.training.options import Examples, Options
from tlkeras.training.recipes.registry import Phase, Recipe, function
from tlkeras.training.results import Interrupted, PhaseResult, Trained, history_of

__all__ = ["Examples", "Interrupted", "Options", "PhaseResult", "Trained", "run"]


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
        last: _Finished | None = None
        for index, (phase, rules) in enumerate(phases):
            final = index == len(phases) - 1 and not finish
            try:
                planned = _within_its_time(task, phase, rules, parts["train"], options) if results else (phase, rules)
                if planned is None:
                    continue
                own = dataclasses.replace(options, seed=_seed(options.seed, index))
                last = _run_phase(task, *planned, parts, own, ("val", "test") if final else ())
            except Interrupted as stopped:
                rows = [{"phase": phase.name, **row} for row in stopped.history]
                task = function(finish)(task, parts) if finish and recipe and recipe.finish_interrupted else task
                raise Interrupted([*history_of(results), *rows], keep=stopped.keep, task=_kept(task)) from stopped
            results.append(last.result)
        model, arrays = (task.model, {}) if last is None else (last.model, last.arrays)
        if finish:
            task = function(finish)(task, parts)
        if finish or "test" not in arrays:  # features of the last phase are of another model, or it was left out
            model, arrays = task.model, {name: features.uncached(task.model, parts[name]) for name in ("val", "test")}
        scores = {name: features.scores(model, arrays[name], name, options) for name in ("val", "test")}
        before_head = features.before_head(model, {name: arrays[name] for name in scores})
    task = _kept(task)
    width = task.model.output_shape[-1]  # what only the loss needs stands in columns behind the scores
    return Trained(task=task, phases=results, scores={name: values[:, :width] for name, values in scores.items()}, features=before_head)


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


def _within_its_time(
    task: TaskModel, phase: Phase, rules: Sequence[Rule], examples: Examples, options: Options
) -> tuple[Phase, Sequence[Rule]] | None:
    """Returns a phase as it fits into its minutes, or None where it does not; the others as they are."""
    if phase.minutes is None:
        return phase, rules
    costs = budget.measured(task, examples)
    planned = budget.fitted(phase, rules, task.section_names, costs, examples=len(examples), seconds=phase.minutes * 60)
    if planned is None:
        options.say(
            f"{phase.name}: left out, as {budget.FEWEST_EPOCHS} epochs take more than {phase.minutes:g} minutes here (--max-minutes)"
        )
    elif planned[0] != phase:
        options.say(f"{phase.name}: {planned[0].epochs} epochs, unfreeze {planned[0].unfreeze}, to fit into {phase.minutes:g} minutes")
    return planned


def _run_phase(
    task: TaskModel, phase: Phase, rules: Sequence[Rule], parts: Mapping[str, Examples], options: Options, scored: Sequence[str]
) -> _Finished:
    """Runs one phase with a seed of its own; `scored` names the splits whose scores are asked for afterwards."""
    options = options.of_phase(phase)
    if phase.why:
        options.say(f"{phase.name}: {phase.why}")
    flags = freezing.apply(task.model, rules, sections=task.sections, batch_norm=options.batch_norm, only=phase.only)
    before = freezing.frozen_digests(task.model)
    started = time.monotonic()
    trained = contrastive.of_features(task) if phase.solver == "pairs" else task
    split = feature_cache.split(trained.model)
    views = min(options.views, options.views if phase.solver == "exact" else phase.epochs)
    if not options.augmented or split.prefix is None:
        views = 1
    names = tuple(dict.fromkeys([*scored, "val", "train"]))
    arrays = features.compute(split, parts, names, views, options)
    features_done = time.monotonic()
    if split.prefix is not None:
        options = dataclasses.replace(options, augment="none")  # the views are augmented already
    details: dict[str, Any] = {}
    if phase.solver == "exact":
        history, best_epoch = _solved(task, phase, split.suffix, arrays, options, details), 1
    else:
        history, best_epoch = _fitted(trained, phase, split.suffix, arrays, options, details)
    freezing.check_frozen(task.model, before)
    result = PhaseResult(
        name=phase.name,
        history=history,
        best_epoch=best_epoch,
        trainable_parameters=flags.trainable_parameters,
        frozen=len(before),
        cached_examples=0 if split.prefix is None else sum(len(parts[name]) for name in names),
        seconds={"features": features_done - started, "fit": time.monotonic() - features_done},
        details={"unfreeze": phase.unfreeze, "learning_rate": phase.learning_rate, **details},
    )
    return _Finished(result=result, model=split.suffix, arrays=arrays)


def _solved(
    task: TaskModel, phase: Phase, head: keras.Model, arrays: Mapping[str, Arrays], options: Options, details: dict[str, Any]
) -> list[dict[str, float]]:
    """Solves the head exactly; its history is one row."""
    try:
        details |= exact.solve(task, phase, head, arrays["train"], options).to_dict()
    except KeyboardInterrupt as error:
        raise Interrupted([], keep=phase.keep, task=task) from error
    return [{"epoch": 1, **evaluated(task, head, arrays["train"], arrays["val"], options)}]


def _fitted(
    task: TaskModel, phase: Phase, suffix: keras.Model, arrays: Mapping[str, Arrays], options: Options, details: dict[str, Any]
) -> tuple[list[dict[str, float]], int]:
    """Fits the trained part by steps, as often as the phase says, and averages weights as it says."""
    train, val = arrays["train"], arrays["val"]
    start = averaging.weights_of(suffix) if phase.interpolate or phase.repeats > 1 else []
    rows, best_epoch = fit(task, phase, suffix, train, val, options)
    held_out = len(val.y) > 0

    def judge() -> averaging.Merit:
        return averaging.merit(task, val.y, features.scores(suffix, val, "val", options))

    if phase.repeats > 1:
        ingredients = [averaging.weights_of(suffix)]
        for repeat in range(1, phase.repeats):
            averaging.put(suffix, start)
            more, _ = fit(task, phase, suffix, train, val, dataclasses.replace(options, seed=_seed(options.seed, repeat)))
            rows += [{**row, "epoch": row["epoch"] + len(rows)} for row in more]
            ingredients.append(averaging.weights_of(suffix))
        details["soup_of"] = averaging.greedy_soup(suffix, ingredients, judge) if held_out else [phase.repeats - 1]
        best_epoch = len(rows)
    if phase.interpolate and held_out:
        share, merits = averaging.interpolated(suffix, start, averaging.weights_of(suffix), phase.interpolate, judge)
        details["share_of_the_way"] = share
        details["validation"] = {
            f"{at:g}": {"figure": round(merit.figure, 6), "loss": round(-merit.gain, 6)} for at, merit in merits.items()
        }
    return rows, best_epoch
