"""What a run writes about its model: scores, predictions, and the content of `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.data.sources.registry import kind_of, recorded
from tlkeras.data.target import Target
from tlkeras.distribution.strategies import Distribution
from tlkeras.evaluation.calibration import Calibrated
from tlkeras.export.artifact import Artifact
from tlkeras.jobs import export_run, run_folder
from tlkeras.jobs.examples import Data
from tlkeras.jobs.resume import Recorded
from tlkeras.modalities.sources import modality_of
from tlkeras.progress import Clock
from tlkeras.registry import load_function
from tlkeras.tasks.protocols import Score
from tlkeras.tasks.registry import Task, take
from tlkeras.training import phases as training


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One split with the model's scores, in the order of the split, and the figures made of them."""

    index: np.ndarray
    scores: np.ndarray
    figures: Score
    known: np.ndarray | None = None  # which examples are, bool (n,); None where that cannot be told


def score(calibrated: Calibrated, data: Data) -> dict[str, Scored]:
    """Returns the figures of each held-out split, as the task of the calibrated model computes them."""
    task, scored = calibrated.task, {}
    for name, scores in calibrated.scores.items():
        index = getattr(data.splits, name)
        figures = load_function(task.task.score)(take(data.targets, index), scores, task.target)
        scored[name] = Scored(index=index, scores=scores, figures=figures, known=calibrated.known.get(name))
    return scored


def held_out(figures: Mapping[str, Score]) -> str:
    """Returns the split that figures of a run are of: `test`, or `val` where no test split is held out."""
    return "test" if figures["test"].n else "val"


def prediction_rows(data: Data, scored: dict[str, Scored], task: Task, target: Target) -> list[dict[str, Any]]:
    """Returns the rows of `predictions.csv`: one for each held-out example."""
    columns, examples = load_function(task.columns), data.store.examples
    return [
        {
            **{"split": name, "example": examples[index].id},
            **columns(examples[index].label, part.scores[place], target),
            **({} if part.known is None else {"known": int(part.known[place])}),
        }
        for name, part in scored.items()
        for place, index in enumerate(part.index)
    ]


def summary(
    config: RunConfig,
    distribution: Distribution,
    data: Data,
    scored: dict[str, Scored],
    trained: training.Trained,
    artifacts: Sequence[Artifact | Recorded],
    gap: float | None,
    clock: Clock,
) -> dict[str, Any]:
    """Returns what `metrics.json` holds."""
    audit = data.audit.to_dict()
    return {
        "format": run_folder.FORMAT,
        **{name: part.figures.to_dict() for name, part in scored.items()},
        "timing": clock.seconds,
        "data": {
            "train": len(data.splits.train),
            "val": len(data.splits.val),
            "test": len(data.splits.test),
            "classes": len(data.store.labels),
            "fingerprint": export_run.fingerprint(data.store, data.splits),
            "skipped": audit["skipped"],
            "issues": audit["counts"],
        },
        "exports": {artifact.format: artifact.to_dict() for artifact in artifacts},
        "phases": [phase.to_dict() for phase in trained.phases],
        "placement": {
            "name": distribution.name,
            "replicas": distribution.replicas,
            "workers": distribution.workers,
            "worker": distribution.worker,
        },
        "mixed_precision_gap": gap,
        "config": config.to_dict(),
    }


def provenance(dataset: Dataset) -> dict[str, Any]:
    """Returns where the examples came from: the source as it was named and its kind, or the name of arrays that were passed."""
    kind = kind_of(dataset.source) if dataset.source else None
    return {"source": recorded(dataset), "kind": kind.name if kind else "arrays", "modality": modality_of(dataset).name}
