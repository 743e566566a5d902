"""Runs the phases of a recipe: set flags, split at the freeze boundary, fit, verify that frozen weights are unchanged."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tlkeras.errors import TrainingDiverged
from tlkeras.models import TaskModel
from tlkeras.startup import set_seed, tensor_float32
from tlkeras.training import averaging, budget, contrastive, exact, feature_cache, features, freezing, observed
from tlkeras.training.features import Arrays
from tlkeras.training.fit import evaluated, fit
from tlkeras.training.freeze_rules import parse
from tlkeras.training.freezing import Rule
from tlkeras.training.options import Examples, Options
from tlkeras.training.recipes.registry import Phase, Recipe, function
from tlkeras.training.results import Interrupted, PhaseResult, Trained, history_of
from tlkeras.training.states import State, assign, values

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
    finish = recipe.finish if recipe else None
    if options.states:
        options.states.begin()
    # Features are kept and compared with what artifacts answer, scores are too: both in float32 proper.
    with options.distribution.watched(), tensor_float32(False):
        if recipe and recipe.transform:
            task = function(recipe.transform)(task)
        if task.task.transform:
            task = function(task.task.transform)(task)
        stored = options.states.load(TRAINED) if options.states and not finish else None
        if stored is not None:  # a run that was killed later
            assign(task.model.variables, stored.arrays["model"])
            results = [PhaseResult(**result) for result in stored.facts["results"]]
            seen = observed.restored(stored)
        else:
            task, results, seen = _phases(task, phases, parts, options, recipe)
            if options.states and not finish:
                facts = {"results": [dataclasses.asdict(result) for result in results]}
                state = State(arrays={"model": values(task.model.variables), **observed.stored(seen)}, facts=facts)
                options.states.save(TRAINED, state)
    task = _without_loss(task)
    width = task.model.output_shape[-1]  # what only the loss needs stands in columns behind the scores
    seen = dataclasses.replace(seen, scores={name: answers[:, :width] for name, answers in seen.scores.items()})
    return Trained(task=task, phases=results, observed=seen)


def _phases(
    task: TaskModel,
    phases: Sequence[tuple[Phase, Sequence[Rule]]],
    parts: Mapping[str, Examples],
    options: Options,
    recipe: Recipe | None,
) -> tuple[TaskModel, list[PhaseResult], observed.Observed]:
    """Runs the phases that are not done yet, and finishes; returns the model, the results, and what it gives for what is held out."""
    results: list[PhaseResult] = []
    finish = recipe.finish if recipe else None
    last: _Finished | None = None
    for index, (phase, rules) in enumerate(phases):
        final = index == len(phases) - 1 and not finish
        stored = options.states.load(f"phase-{index}") if options.states else None
        if stored is not None:
            assign(task.model.variables, stored.arrays["model"])
            results.append(PhaseResult(**stored.facts["result"]))
            continue
        try:
            planned = _planned(task, phase, rules, parts["train"], options, index) if results else (phase, rules)
            if planned is None:
                continue
            if index:  # what a phase draws does not depend on whether those before it ran in this process
                set_seed(_seed(options.seed, index))
            state = options.states.of(f"fit-{index}") if options.states else None
            own = dataclasses.replace(options, seed=_seed(options.seed, index), state=state)
            last = _run_phase(task, *planned, parts, own, SCORED if final else ())
        except Interrupted as stopped:
            before, rows = history_of(results), [{"phase": phase.name, **row} for row in stopped.history]
            task = function(finish)(task, parts) if finish and recipe and recipe.finish_interrupted else task
            raise Interrupted(
                [*before, *rows], keep=stopped.keep, task=_without_loss(task), stored=len(before) + stopped.stored
            ) from stopped
        results.append(last.result)
        if options.states and not final:
            facts = {"result": dataclasses.asdict(last.result)}
            options.states.save(f"phase-{index}", State(arrays={"model": values(task.model.variables)}, facts=facts))
    model, arrays = (task.model, {}) if last is None else (last.model, last.arrays)
    if finish:
        task = function(finish)(task, parts)
    if finish or "test" not in arrays:  # features of the last phase are of another model, or it was left out
        model, arrays = task.model, {}
    seen = observed.observe(task, model, arrays, parts, options)
    if last is not None and last.scores and not finish:  # nothing is calibrated on examples that the head has seen
        seen = dataclasses.replace(seen, scores={**seen.scores, **last.scores}, logits={})
    for name, answers in seen.scores.items():
        if not np.isfinite(answers).all():
            raise _diverged(f"the scores of the {name} split", phases[-1][0])
    return task, results, seen


SCORED = ("val", "test")  # splits that are scored after training
TRAINED = "trained"  # key of the state of a run that is trained: its weights, and these scores


def _without_loss(task: TaskModel) -> TaskModel:
    """Returns the model without what only its loss needs."""
    return function(task.task.finish)(task) if task.task.finish else task


def _seed(seed: int, index: int) -> int:
    """Returns the seed of a phase: that of the run for the first one, another for each that follows."""
    return seed if index == 0 else int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


@dataclass(frozen=True, kw_only=True)
class _Finished:
    """A finished phase: its result, the part of the model that was trained, what that part receives, and scores from before it learned
    from the examples of a split."""

    result: PhaseResult
    model: keras.Model
    arrays: dict[str, Arrays]
    scores: dict[str, np.ndarray]


def _planned(
    task: TaskModel, phase: Phase, rules: Sequence[Rule], examples: Examples, options: Options, index: int
) -> tuple[Phase, Sequence[Rule]] | None:
    """As `_within_its_time`; a run that goes on keeps to what was planned, though the machine may be faster or slower now."""
    if phase.minutes is None:
        return phase, rules
    stored = options.states.load(f"plan-{index}") if options.states else None
    if stored is not None:
        epochs, unfreeze = stored.facts["epochs"], stored.facts["unfreeze"]
        if epochs is None:
            return None
        rules = rules if unfreeze == phase.unfreeze else parse(unfreeze, task.section_names)
        return dataclasses.replace(phase, epochs=epochs, unfreeze=unfreeze), rules
    planned = _within_its_time(task, phase, rules, examples, options)
    if options.states:
        facts = {"epochs": planned[0].epochs if planned else None, "unfreeze": planned[0].unfreeze if planned else None}
        options.states.save(f"plan-{index}", State(arrays={}, facts=facts))
    return planned


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
    scores: dict[str, np.ndarray] = {}
    if phase.solver == "exact":
        history, best_epoch = _solved(task, phase, split.suffix, arrays, options, details), 1
        if phase.validation_too and len(parts["val"]) and len(parts["test"]):
            scores = _solved_on_validation_too(task, phase, split.suffix, arrays, options, details)
    else:
        history, best_epoch = _fitted(trained, phase, split.suffix, arrays, options, details)
    freezing.check_frozen(task.model, before)
    _check_finite(trained.model, phase)
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
    return _Finished(result=result, model=split.suffix, arrays=arrays, scores=scores)


def _check_finite(model: keras.Model, phase: Phase) -> None:
    """Raises where weights are no numbers: the loss of a step is that before it, so none tells of the last step."""
    for variable in model.trainable_variables:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise _diverged(f"the weights of {variable.path!r}", phase)


def _diverged(what: str, phase: Phase) -> TrainingDiverged:
    return TrainingDiverged(
        f"after phase {phase.name!r} {what} are not finite, with learning rate {phase.learning_rate:g}; "
        f"try --learning-rate {phase.learning_rate / 10:g}, and check data_audit.json for unusual examples"
    )


def _solved(
    task: TaskModel, phase: Phase, head: keras.Model, arrays: Mapping[str, Arrays], options: Options, details: dict[str, Any]
) -> list[dict[str, float]]:
    """Solves the head exactly; its history is one row."""
    try:
        details |= exact.solve(task, phase, head, arrays["train"], options).to_dict()
    except KeyboardInterrupt as error:
        raise Interrupted([], keep=phase.keep, task=task) from error
    return [{"epoch": 1, **evaluated(task, head, arrays["train"], arrays["val"], options)}]


def _part(options: Options, repeat: int) -> Options:
    """Returns the options of one of several fits of a phase, whose states are its own."""
    return dataclasses.replace(options, state=options.state.part(repeat)) if options.state else options


def _solved_on_validation_too(
    task: TaskModel, phase: Phase, head: keras.Model, arrays: Mapping[str, Arrays], options: Options, details: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Solves the head on the validation examples too; returns their scores by the head that did not know them."""
    scores = features.scores(head, arrays["val"], "val", options)
    everything = features.joined(arrays["train"], arrays["val"])
    without = averaging.weights_of(head)
    try:
        exact.solve(task, phase, head, everything, options)
    except KeyboardInterrupt as error:
        averaging.put(head, without)
        raise Interrupted([], keep=phase.keep, task=task) from error
    options.say(
        f"{phase.name}: solved on the {len(arrays['val'].y):,} validation examples too; the validation figures are those of the head without them"
    )
    details["solved_on"] = {"train": len(arrays["train"].y), "val": len(arrays["val"].y)}
    return {"val": scores}


def _fitted(
    task: TaskModel, phase: Phase, suffix: keras.Model, arrays: Mapping[str, Arrays], options: Options, details: dict[str, Any]
) -> tuple[list[dict[str, float]], int]:
    """Fits the trained part by steps, as often as the phase says, and averages weights as it says."""
    train, val = arrays["train"], arrays["val"]
    start = averaging.weights_of(suffix) if phase.interpolate or phase.repeats > 1 else []
    rows, best_epoch = fit(task, phase, suffix, train, val, _part(options, 0))
    held_out = len(val.y) > 0

    def judge() -> averaging.Merit:
        return averaging.merit(task, val.y, features.scores(suffix, val, "val", options))

    if phase.repeats > 1:
        ingredients = [averaging.weights_of(suffix)]
        for repeat in range(1, phase.repeats):
            averaging.put(suffix, start)
            own = dataclasses.replace(_part(options, repeat), seed=_seed(options.seed, repeat))
            more, _ = fit(task, phase, suffix, train, val, own)
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
