"""Use what a run left: score it, or predict with it, as a Keras model or as any artifact in its own runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from tlkeras import runs
from tlkeras.backbones.hub import TOKEN_IDS
from tlkeras.backbones.scratch import SEQUENCE
from tlkeras.backbones.weights import read_keras
from tlkeras.config import RunConfig
from tlkeras.data.decode import size_from_text
from tlkeras.data.examples import Dataset
from tlkeras.data.sources.columns import Columns
from tlkeras.data.sources.registry import open_source
from tlkeras.data.split import SPLITS, split
from tlkeras.data.store import Store
from tlkeras.data.subset import subset
from tlkeras.errors import ConfigError, DataError
from tlkeras.evaluation import metrics
from tlkeras.evaluation.metrics import Score
from tlkeras.export.manifest import read_manifest
from tlkeras.export.read import open_artifact
from tlkeras.inputs import Inputs, Pictures, Sequences, texts_of
from tlkeras.reporting import SILENT, Reporter
from tlkeras.runs import Run


class _Scorer(Protocol):
    """What scores pictures: a Keras model or an artifact in its own runtime."""

    def __call__(self, images: np.ndarray, *, progress: Callable[[int, int], None] | None = None) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class Target:
    """A run, a model or an artifact, opened: what it takes, what it knows, how it answers."""

    scores: _Scorer
    runtime: str
    inputs: Inputs
    labels: tuple[str, ...]
    run: Run | None
    model: keras.Model | None = None  # of a `.keras` file


def open_target(target: str | Path) -> Target:
    """Opens a run folder, a `.keras` model of a run, or an artifact.

    Raises:
        DataError: when there is no such thing.
        ExportError: when an artifact is damaged or has no manifest beside it.
    """
    path = Path(target).expanduser()
    if not path.exists():
        raise DataError(
            f"no run or artifact {str(target)!r}; expected the folder of a run, a .keras model, a SavedModel folder, a .tflite or an .onnx file"
        )
    run = runs.of(path)
    if run and path.resolve() == run.root:
        path = run.model
    if path.suffix == ".keras":
        return _open_keras(path, run)
    predictor = open_artifact(path)
    manifest = read_manifest(path.parent)
    return Target(
        scores=predictor.scores,
        runtime=predictor.runtime,
        inputs=inputs_of(manifest["metadata"], path.parent),
        labels=tuple(manifest["labels"]),
        run=run,
    )


def _open_keras(path: Path, run: Run | None) -> Target:
    if run is None or not path.is_file():
        raise DataError(f"{str(path)!r} is no model of a run: config.yaml, labels.txt or the model itself are missing")
    config = runs.read_config(run)
    model = read_keras(path)
    return Target(
        scores=partial(keras_scores, model),
        runtime=f"keras {keras.__version__}",
        inputs=_inputs_of_keras(model, config, run),
        labels=runs.read_labels(run),
        run=run,
        model=model,
    )


def _inputs_of_keras(model: keras.Model, config: RunConfig, run: Run) -> Inputs:
    (given,) = model.inputs
    if given.name == TOKEN_IDS:
        return texts_of(run.root)
    if given.name == SEQUENCE:
        return Sequences(time=int(given.shape[1]), features=int(given.shape[2]))
    return Pictures(size=int(given.shape[1]), resize=config.data.resize, channels=int(given.shape[3]))


def inputs_of(metadata: Mapping[str, str], folder: Path) -> Inputs:
    """Returns what an artifact takes.

    Args:
        metadata: of its manifest.
        folder: where the manifest stands, and the vocabulary of a model of texts.
    """
    if metadata.get("modality") == "text":
        return texts_of(folder)
    if metadata.get("modality") == "sequence":
        return Sequences(time=int(metadata["time"]), features=int(metadata["features"]))
    if "image_size" not in metadata:
        raise DataError(f"the artifacts in {str(folder)!r} do not take one image of a fixed size, one text or one sequence")
    return Pictures(size=size_from_text(metadata["image_size"]), resize=metadata["resize"], channels=int(metadata.get("channels", 3)))


def keras_scores(
    model: keras.Model, inputs: np.ndarray, *, batch_size: int = 64, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Returns the scores of pictures (n, size, size, channels), 0-255, or of token ids (n, tokens), as float32 (n, classes)."""
    found = [np.empty((0, model.output_shape[-1]), "float32")]
    kind = model.inputs[0].dtype
    for start in range(0, len(inputs), batch_size):
        found.append(np.asarray(model.predict_on_batch(np.asarray(inputs[start : start + batch_size], kind)), "float32"))
        if progress:
            progress(min(start + batch_size, len(inputs)), len(inputs))
    return np.concatenate(found)


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
    opened: Target, told: RunConfig | None, data: str | Dataset | None, part: str, data_dir: str | None, reporter: Reporter
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
    dataset, same = open_dataset(opened, config, config.data.source if data is None else data, data_dir)
    own = told is not None and same
    store = opened.inputs.materialise(dataset, progress=partial(reporter.progress, "decode"))
    index, part = _chosen(store, dataset, config if own else None, part)
    if not len(index):
        raise DataError(f"{dataset.name} has no examples in its {part} split; choose another with --split")
    return _Examples(store=store, index=index, part=part, name=dataset.name)


def open_dataset(opened: Target, config: RunConfig, spec: str | Dataset | None, data_dir: str | None = None) -> tuple[Dataset, bool]:
    """Lists the examples of a source under the labels of a model, and tells whether it is the source of the config itself.

    Args:
        opened: the model.
        config: columns, limit and seed.
        spec: a source, or None for the built-in digits.
        data_dir: where tensorflow-datasets keeps prepared data.
    """
    if isinstance(spec, Dataset):
        return spec, False
    columns = Columns(text=config.data.text_column, label=config.data.label_column)
    dataset = open_source(spec, labels=opened.labels, data_dir=data_dir or config.data.data_dir, columns=columns)
    own = _same_source(spec, config.data.source)
    return subset(dataset, config.data.limit, config.seed) if own and config.data.limit else dataset, own


def held_out(
    opened: Target, told: RunConfig, data: str | None = None, *, reporter: Reporter = SILENT
) -> tuple[np.ndarray, np.ndarray, str]:
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


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer for one file, or why there is none."""

    file: str
    label: str = ""
    score: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"file": self.file, "label": self.label, "score": self.score, "scores": self.scores}


def predict(target: str | Path, given: Sequence[str | Path]) -> Iterator[Prediction]:
    """Predicts pictures or texts, one after the other; one that cannot be read gives an error and the others go on.

    Args:
        target: folder of a run, `.keras` model, or artifact.
        given: picture files, or texts.
    """
    opened = open_target(target)
    for one in given:
        try:
            taken = opened.inputs.read(str(one))
        except DataError as error:
            yield Prediction(file=str(one), error=str(error))
            continue
        scores = opened.scores(taken)[0]
        best = int(scores.argmax())
        named = {label: float(score) for label, score in zip(opened.labels, scores, strict=True)}
        yield Prediction(file=str(one), label=opened.labels[best], score=float(scores[best]), scores=named)
