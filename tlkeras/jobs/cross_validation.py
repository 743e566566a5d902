"""Cross-validation: the same training on each of several folds, from the same weights, with features that are computed once."""

from __future__ import annotations

import dataclasses
import logging
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import files
from tlkeras.config import RunConfig
from tlkeras.data import folds as folding
from tlkeras.data import sheets
from tlkeras.data.folds import Folds
from tlkeras.data.split import SPLITS, Splits, split
from tlkeras.data.target import Target
from tlkeras.distribution.strategies import Distribution
from tlkeras.errors import ConfigError
from tlkeras.evaluation import cross_validation as estimates
from tlkeras.jobs import plan as planning
from tlkeras.jobs.examples import Data
from tlkeras.jobs.plan import Plan
from tlkeras.jobs.run_folder import Run
from tlkeras.models import TaskModel
from tlkeras.progress import Clock, Reporter
from tlkeras.registry import load_function
from tlkeras.startup import set_seed
from tlkeras.tasks.registry import TARGET, Task, take
from tlkeras.training import phases as training
from tlkeras.training.options import SharedFeatures
from tlkeras.training.states import State, States

OF_RUN = "the model of this run is trained on its own training split, as always"
OF_PROBE = "a linear probe of the pretrained features, not the model of this run"
OptionsOf = Callable[[Data, Reporter], training.Options]
FactsOf = Callable[[Task, Data], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """The result of a cross-validation.

    Args:
        content: what `cross_validation.json` and `metrics.json` hold.
        scores: float32 (n, width), of models that have not seen the example; the mean over the repeats.
        folds: which fold tested each example.
        shared: features of all examples.
    """

    content: dict[str, Any]
    scores: np.ndarray
    folds: Folds
    shared: SharedFeatures


def check(config: RunConfig, distribution: Distribution) -> None:
    """Checks that a run can be cross-validated.

    Raises:
        ConfigError: naming what is in the way.
    """
    if config.train.cross_validate is not None and distribution.workers > 1:
        raise ConfigError(f"cross_validate is set, and {distribution.workers} workers train together; use one machine, or leave it out")


def of_run(
    plan: Plan, task: TaskModel, data: Data, into: Run, *, clock: Clock, reporter: Reporter, final: str = OF_RUN, **functions: Any
) -> CrossValidation:
    """Trains and tests on folds, shows what they say, and writes it into the folder of a run; see `run`."""
    with clock.step("cross-validation"):
        result = run(plan, task, data, reporter=reporter, final=final, **functions)
    write(into, result, data, task.task)
    title = f"{estimates.TITLE}: {estimates.described(result.content)}"
    reporter.result(title, estimates.cells(result.content), estimates.lines(result.content))
    return result


def run(
    plan: Plan,
    task: TaskModel,
    data: Data,
    *,
    options: OptionsOf,
    facts: FactsOf,
    reporter: Reporter,
    final: str = OF_RUN,
    states: States | None = None,
) -> CrossValidation:
    """Trains and tests on every fold of all examples, those of the test split included; the task model has its first weights afterwards.

    Where a phase chooses among epochs or weights on validation, examples for that are held out from those that the fold trains on, as many as
    `val_split` says. What the task learns of held-out scores, such as thresholds, it learns of the scores of the other folds.

    Args:
        plan: with `train.cross_validate`.
        task: the task model, whose weights no training has changed.
        data: all examples.
        options: (examples of a fold, reporter) -> options of training.
        facts: (task, examples of a fold) -> what recipes may ask.
        reporter: receives progress.
        final: what the report says about the model that is not of a fold.
        states: where the result of each fold is stored, for a run that is killed; None for nowhere.

    Raises:
        ConfigError: when there are fewer examples or groups than folds.
    """
    config, store, started = plan.config, data.store, time.monotonic()
    count, repeats = folding.parse(str(config.train.cross_validate))
    strata = store.target.fold_strata(store.values)
    folds = folding.deal(strata, store.sha256, count=count, repeats=repeats, groups=store.group_of, seed=config.seed)
    shared = SharedFeatures(everything=_everything(data), seed=config.seed)
    scores = np.full((repeats, len(store), task.model.output_shape[-1]), np.nan, "float32")
    rows: list[dict[str, Any]] = []
    targets: dict[tuple[int, int], Target] = {}
    with _undone(task, data, config.seed) as undo:
        for number, (repeat, fold, learn, test) in enumerate(folds.pairs()):
            reporter.piece("cross-validation", number + 1, count * repeats, f"fold {fold + 1}")
            result = _stored(states, number, shared)
            if result is None:
                undo()
                seed, began = _seed(config.seed, repeat, fold), time.monotonic()
                says = reporter if not number else None
                try:
                    trained, splits = _trained(plan, task, data, learn, test, folds.keys, seed, options, facts, shared, says)
                except training.Interrupted as stopped:
                    at = f"fold {number + 1} of {count * repeats}"
                    raise KeyboardInterrupt(f"stopped in {at}, before the model itself was trained") from stopped
                result = _Result(scores=trained.scores["test"], target=trained.task.target, row=_row(repeat, fold, trained, splits, began))
                shared.closed = True
                _store(states, number, result, shared)
            scores[repeat, test], targets[repeat, fold] = result.scores, result.target
            rows.append(result.row)
    reporter.progress("cross-validation", count * repeats, count * repeats)
    for row, (repeat, fold, learn, test) in zip(rows, folds.pairs(), strict=True):
        row["figures"] = _figures(task.task, targets[repeat, fold], data, scores[repeat], learn, test)
    content = _content(config, data, folds, rows, final) | {"seconds": round(time.monotonic() - started, 3)}
    return CrossValidation(content=content, scores=scores.mean(axis=0), folds=folds, shared=shared)


@dataclass(frozen=True, kw_only=True)
class _Result:
    """What a fold gives: scores of the examples that it tests, the target as it was learned, and the row of its facts."""

    scores: np.ndarray
    target: Target
    row: dict[str, Any]


def _row(repeat: int, fold: int, trained: training.Trained, splits: Splits, began: float) -> dict[str, Any]:
    details = {name: value for name, value in trained.phases[-1].details.items() if isinstance(value, int | float | str)}
    sizes = {name: len(getattr(splits, name)) for name in SPLITS}
    return {"repeat": repeat, "fold": fold, **sizes, "seconds": round(time.monotonic() - began, 3), "details": details}


def _store(states: States | None, number: int, result: _Result, shared: SharedFeatures) -> None:
    """Stores the result of a fold, with the features that all folds share."""
    if states:
        facts = {"target": result.target.to_dict(), "row": result.row, "shared": [list(key) for key in shared.known]}
        states.save(f"fold-{number}", State(arrays={"scores": [result.scores]}, facts=facts))


def _stored(states: States | None, number: int, shared: SharedFeatures) -> _Result | None:
    """Returns the result of a fold that was trained before this process began."""
    state = states.load(f"fold-{number}") if states else None
    if state is None:
        return None
    shared.closed, shared.expected = True, shared.expected | {(str(key), int(views)) for key, views in state.facts["shared"]}
    return _Result(scores=state.arrays["scores"][0], target=Target.from_dict(state.facts["target"]), row=dict(state.facts["row"]))


@contextmanager
def _undone(task: TaskModel, data: Data, seed: int) -> Iterator[Callable[[], None]]:
    """Yields what puts the first weights back; afterwards the model and all random numbers are as they were, as if nothing had been trained."""
    variables = [(variable, np.asarray(variable.value)) for variable in task.model.variables]
    chance = random.getstate(), np.random.get_state()

    def undo() -> None:
        for variable, value in variables:
            variable.assign(value)

    logger = logging.getLogger("tensorflow")
    logger.addFilter(_no_retracing)  # each fold has functions of its own, and they are traced once each
    try:
        yield undo
    finally:
        logger.removeFilter(_no_retracing)
    undo()
    task.task.prepared(task.model, data.target)
    set_seed(seed)
    random.setstate(chance[0])
    np.random.set_state(chance[1])


def _no_retracing(record: logging.LogRecord) -> bool:
    return "tf.function retracing" not in record.getMessage()


def _everything(data: Data) -> training.Examples:
    return training.Examples(inputs=data.store.inputs, y=data.targets[TARGET], lengths=data.store.lengths, rows=np.arange(len(data.store)))


def _seed(seed: int, repeat: int, fold: int) -> int:
    """Returns the seed of a fold."""
    return int(np.random.SeedSequence((seed, 1 + repeat, fold)).generate_state(1)[0])


def _trained(
    plan: Plan,
    task: TaskModel,
    data: Data,
    learn: np.ndarray,
    test: np.ndarray,
    keys: tuple[str, ...],
    seed: int,
    options: OptionsOf,
    facts: FactsOf,
    shared: SharedFeatures,
    reporter: Reporter | None,
) -> tuple[training.Trained, Splits]:
    """Trains on one fold, in place, and returns its splits, too; only the first one says what it decides."""
    own = _of_fold(plan, task, data, Splits(train=learn, val=learn[:0], test=test))
    phases = planning.phases(plan, task.section_names, **facts(task.task, own))
    if any(phase.solver != "exact" and (phase.keep == "best" or phase.interpolate or phase.repeats > 1) for phase, _ in phases):
        own = _of_fold(plan, task, data, _with_validation(plan.config, data, learn, test, keys, seed))
        phases = planning.phases(plan, task.section_names, **facts(task.task, own))
    fold_task = dataclasses.replace(task, target=own.target)
    task.task.prepared(task.model, own.target)
    set_seed(seed)
    with tempfile.TemporaryDirectory(prefix="tlkeras-fold-") as folder:
        own_options = dataclasses.replace(
            options(own, reporter or Reporter()),
            seed=seed,
            shared=shared,
            checkpoints=Path(folder),
            say=reporter.say if reporter else _silent,
        )
        trained = training.run(fold_task, phases, {name: own.part(name) for name in SPLITS}, own_options, recipe=plan.recipe)
    return trained, own.splits


def _silent(text: str) -> None:
    """Says nothing: what is decided is the same in every fold."""


def _of_fold(plan: Plan, task: TaskModel, data: Data, splits: Splits) -> Data:
    """Returns the examples in the splits of a fold, with what the task learns of those that it trains on."""
    target = task.task.learnt(data.store.target, take(data.targets, splits.train), planning.task_options(plan.config))
    return dataclasses.replace(data, splits=splits, target=target)


def _with_validation(config: RunConfig, data: Data, learn: np.ndarray, test: np.ndarray, keys: tuple[str, ...], seed: int) -> Splits:
    """Returns the splits of a fold with validation examples among those it learns from; what belongs together stays together."""
    share = planning.SPLIT if config.data.val_split is None else config.data.val_split
    inner = split(
        [keys[index] for index in learn],
        data.store.strata[learn],
        [None] * len(learn),
        val_split=share,
        test_split=0.0,
        seed=seed,
        groups=[data.store.group_of[index] for index in learn],
    )
    return Splits(train=learn[inner.train], val=learn[inner.val], test=test)


def _figures(
    task: Task, target: Target, data: Data, scores: np.ndarray, learn: np.ndarray, test: np.ndarray
) -> dict[str, float | int | None]:
    """Returns the figures of a fold; thresholds and the like are of the scores of the other folds."""
    target = task.calibrated(target, take(data.targets, learn), scores[learn])
    return load_function(task.score)(take(data.targets, test), scores[test], target).cells()


def _content(config: RunConfig, data: Data, folds: Folds, rows: list[dict[str, Any]], final: str) -> dict[str, Any]:
    groups = {group for group in data.store.group_of if group is not None}
    return {
        "format": estimates.FORMAT,
        "folds": folds.count,
        "repeats": folds.repeats,
        "examples": len(data.store),
        "recipe": config.train.recipe,
        "seed": config.seed,
        "grouped_by": (config.data.group_column or "group") if groups else None,
        "groups": len(groups),
        "final": final,
        "level": estimates.LEVEL,
        "interval": estimates.METHOD,
        "figures": estimates.figures(rows),
        "rows": rows,
    }


# === Files ===


def write(run: Run, result: CrossValidation, data: Data, task: Task) -> None:
    """Writes the figures, the table of out-of-fold predictions, and their scores as arrays, into the folder of a run."""
    store, where = data.store, data.splits.names()
    target = task.calibrated(data.target, data.targets, result.scores)
    columns = load_function(task.columns)
    files.write_json(run.cross_validation, result.content)
    sheets.write_sheet(
        run.out_of_fold,
        [
            {"split": where[index], "example": example.id, "fold": int(result.folds.tested[0, index]) + 1}
            | columns(example.label, result.scores[index], target)
            for index, example in enumerate(store.examples)
        ],
    )
    ids = np.array([example.id for example in store.examples])
    files.write_npz(run.out_of_fold_scores, {"example": ids, "scores": result.scores, "folds": result.folds.tested})


def read_scores(run: Run, ids: list[str], width: int) -> np.ndarray | None:
    """Returns the out-of-fold scores of examples, float32 (n, width), or None where a run has none or those of others."""
    if not run.out_of_fold_scores.is_file():
        return None
    arrays = files.read_npz(run.out_of_fold_scores)
    position = {example: index for index, example in enumerate(arrays["example"].tolist())}
    if arrays["scores"].shape[1:] != (width,) or any(example not in position for example in ids):
        return None
    return arrays["scores"][[position[example] for example in ids]]
