"""Use what a run left: score it, or predict with it, as a Keras model or as any artifact in its own runtime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import runs
from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.data.sources.columns import Columns
from tlkeras.data.sources.registry import open_source
from tlkeras.data.split import SPLITS, split
from tlkeras.data.store import Store
from tlkeras.data.subset import subset
from tlkeras.errors import ConfigError, DataError
from tlkeras.evaluation import metrics
from tlkeras.evaluation.metrics import Score
from tlkeras.prediction import Model, Prediction
from tlkeras.reporting import SILENT, Reporter
from tlkeras.targets import open_target


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures of a run or an artifact on some examples."""

    score: Score
    runtime: str
    data: str
    part: str
    skipped: int

    def to_dict(self) -> dict[str, Any]:
        rows = {one.label: {"precision": one.precision, "recall": one.recall, "f1": one.f1, "n": one.n} for one in self.score.per_class}
        return {
            **self.score.to_dict(),
            "per_class": rows,
            "runtime": self.runtime,
            "data": self.data,
            "split": self.part,
            "skipped": self.skipped,
        }


def evaluate(
    target: str | Path, data: str | Dataset | None = None, *, part: str = "auto", data_dir: str | None = None, reporter: Reporter = SILENT
) -> Evaluation:
    """Scores a run, or any artifact in its own runtime.

    Args:
        target: folder of a run, `.keras` model, or artifact.
        data: a source; the run's own when None.
        part: `train`, `val`, `test`, `all`, or `auto`: the test split (else validation) of the run's own source
            or of a source that has splits, and every example of any other.
        data_dir: where tensorflow-datasets keeps prepared data.

    Raises:
        DataError, ConfigError, ExportError: see `errors`.
    """
    if part not in ("auto", "all", *SPLITS):
        raise ConfigError(f"split is {part!r}; expected auto, all, {', '.join(SPLITS)}")
    opened = open_target(target)
    told = runs.read_config(opened.run) if opened.run else None
    if data is None and told is None:
        raise ConfigError(f"{str(target)!r} belongs to no run, so there is no source of its own; pass --data SOURCE")
    chosen = _examples(opened, told, data, part, data_dir, reporter)
    store, index, part = chosen.store, chosen.index, chosen.part
    scores = opened.scores(store.inputs[index], progress=partial(reporter.progress, "score"))
    figures = metrics.score(store.y[index], scores, opened.labels)
    return Evaluation(score=figures, runtime=opened.runtime, data=chosen.name, part=part, skipped=len(store.skipped))


@dataclass(frozen=True, kw_only=True)
class _Examples:
    """Decoded examples, which of them are meant, and what they are called."""

    store: Store
    index: np.ndarray
    part: str
    name: str


def _examples(
    opened: Model, told: RunConfig | None, data: str | Dataset | None, part: str, data_dir: str | None, reporter: Reporter
) -> _Examples:
    """Decodes a source as a model wants it, and picks a part of it.

    Args:
        opened: the model.
        told: the config it was made with, or None where that is not known.
        data: a source; the config's own when None.
        part: see `evaluate`.
        data_dir: where tensorflow-datasets keeps prepared data.
        reporter: hears of progress.
    """
    config = told or RunConfig()
    spec = config.data.source if data is None else data
    columns = Columns(text=config.data.text_column, label=config.data.label_column)
    if isinstance(spec, Dataset):
        dataset = spec
    else:
        dataset = open_source(spec, labels=opened.labels, data_dir=data_dir or config.data.data_dir, columns=columns)
    own = told is not None and not isinstance(spec, Dataset) and _same_source(spec, config.data.source)
    if own and config.data.limit:
        dataset = subset(dataset, config.data.limit, config.seed)
    store = opened.inputs.materialise(dataset, progress=partial(reporter.progress, "decode"))
    index, part = _chosen(store, dataset, config if own else None, part)
    if not len(index):
        raise DataError(f"{dataset.name} has no examples in its {part} split; choose another with --split")
    return _Examples(store=store, index=index, part=part, name=dataset.name)


def held_out(opened: Model, told: RunConfig, data: str | None = None, *, reporter: Reporter = SILENT) -> tuple[np.ndarray, np.ndarray, str]:
    """Returns the held-out pictures of a model's own source (or of another), their classes, and what they are called."""
    chosen = _examples(opened, told, data, "auto", None, reporter)
    images, y = np.asarray(chosen.store.inputs[chosen.index]), np.asarray(chosen.store.y[chosen.index])
    return images, y, f"{chosen.name}, {chosen.part}, {len(y)} examples"


def _same_source(one: str | None, other: str | None) -> bool:
    """Whether two `--data` values mean the same: equal, both the digits, or two ways to write one path."""
    one, other = one or "digits", other or "digits"
    return one == other or (Path(one).exists() and Path(one).resolve() == Path(other).resolve())


def _chosen(store: Store, dataset: Dataset, own: RunConfig | None, part: str) -> tuple[np.ndarray, str]:
    """Returns which examples to score, and what they are called."""
    everything = np.arange(len(store))
    if part == "all" or (part == "auto" and own is None and not dataset.has_splits):
        return everything, "all"
    fractions: dict[str, Any] = {"val_split": own.data.val_split, "test_split": own.data.test_split, "seed": own.seed} if own else {}
    splits = split(store.sha256, store.y, [example.split for example in store.examples], **fractions)
    if part == "auto":
        part = "test" if len(splits.test) else "val"
    return getattr(splits, part), part


def predict(
    target: str | Path | Model,
    inputs: Any,
    *,
    top_k: int | None = None,
    runtime: str | None = None,
    zoo: str | Path | None = None,
) -> Iterator[Prediction]:
    """Predicts images, texts or sequences, one after the other; one that cannot be read gives an error and the others go on.

    To predict several times, open the model once: `tlkeras.load(target).predict(inputs)`.

    Args:
        target: folder of a run, `.keras` model, artifact, or entry of the zoo; see `tlkeras.load`. Or an open model.
        inputs: one input or several: paths, folders, patterns, encoded images, arrays, PIL images, or texts; see `Model.predict`.
        top_k: only the best labels, best first; all labels when None.
        runtime: see `tlkeras.load`.
        zoo: folder of the zoo.
    """
    model = target if isinstance(target, Model) else open_target(target, runtime=runtime, zoo=zoo)
    yield from model.predict_each(inputs, top_k=top_k)
