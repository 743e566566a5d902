"""Score a run or an artifact, in its own runtime."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.data.row_cache import open_cache
from tlkeras.data.split import split
from tlkeras.data.store import Store
from tlkeras.errors import DataError
from tlkeras.evaluation.prediction import Model
from tlkeras.jobs import preflight
from tlkeras.jobs.opening import open_target
from tlkeras.jobs.preflight import Chosen
from tlkeras.progress import AUTO, SILENT, Reporter, resolve
from tlkeras.registry import load_function
from tlkeras.tasks.registry import Score, Targets, take


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures of a run or an artifact on some examples."""

    score: Score
    runtime: str
    data: str
    part: str
    skipped: int

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.score.detailed(),
            "runtime": self.runtime,
            "data": self.data,
            "split": self.part,
            "skipped": self.skipped,
        }


def evaluate(
    target: str | Path,
    data: str | Path | Dataset | Chosen | None = None,
    *,
    dataset: Dataset | None = None,
    part: str = "auto",
    data_dir: str | None = None,
    reporter: Reporter | str | None = AUTO,
) -> Evaluation:
    """Scores a run or an artifact; arguments, result and errors are those of `tlkeras.evaluate`."""
    reporter = resolve(reporter)
    chosen = preflight.to_evaluate(target, data if dataset is None else dataset, part=part, data_dir=data_dir)
    opened = open_target(target)
    with reporter.live():
        examples = _decoded(opened, chosen, part, reporter)
        store, index = examples.store, examples.index
        scores = opened.scores(store.inputs[index], progress=partial(reporter.progress, "score"))
    figures = load_function(opened.task.score)(take(opened.task.targets_of(store.examples, opened.target), index), scores, opened.target)
    return Evaluation(score=figures, runtime=opened.runtime, data=examples.name, part=examples.part, skipped=len(store.skipped))


@dataclass(frozen=True, kw_only=True)
class _Examples:
    """Decoded examples, which of them are meant, and what they are called."""

    store: Store
    index: np.ndarray
    part: str
    name: str


def _decoded(opened: Model, chosen: Chosen, part: str, reporter: Reporter) -> _Examples:
    """Decodes examples as a model accepts them, and picks a part of them; see `evaluate`."""
    dataset = chosen.dataset
    cache = open_cache(chosen.own is None or chosen.own.data.cache, reporter.warn)
    store = opened.inputs.materialise(dataset, progress=partial(reporter.progress, "decode"), cache=cache)
    index, part = _chosen(store, dataset, chosen.own, part)
    if not len(index):
        raise DataError(f"{dataset.name} has no examples in its {part} split; choose another with --split")
    return _Examples(store=store, index=index, part=part, name=dataset.name)


def held_out(opened: Model, chosen: Chosen, *, reporter: Reporter = SILENT) -> tuple[np.ndarray, Targets, str]:
    """Returns held-out inputs, their targets, and what they are called."""
    examples = _decoded(opened, chosen, "auto", reporter)
    store, index = examples.store, examples.index
    targets = take(opened.task.targets_of(store.examples, opened.target), index)
    return np.asarray(store.inputs[index]), targets, f"{examples.name}, {examples.part}, {len(index)} examples"


def _chosen(store: Store, dataset: Dataset, own: RunConfig | None, part: str) -> tuple[np.ndarray, str]:
    """Returns which examples to score, and what they are called."""
    everything = np.arange(len(store))
    if part == "all" or (part == "auto" and own is None and not dataset.has_splits):
        return everything, "all"
    fractions: dict[str, Any] = {"val_split": own.data.val_split, "test_split": own.data.test_split, "seed": own.seed} if own else {}
    splits = split(store.sha256, store.strata, [example.split for example in store.examples], **fractions)
    if part == "auto":
        part = "test" if len(splits.test) else "val"
    return getattr(splits, part), part
