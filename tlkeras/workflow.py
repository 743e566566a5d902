"""The whole jobs as Python calls: `finetune`, `evaluate`, `predict`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from tlkeras import config as configs
from tlkeras import freezing, models, plan, runs
from tlkeras.backbones.weights import read_keras
from tlkeras.config import RunConfig
from tlkeras.data import decode
from tlkeras.data.audit import Audit, audit
from tlkeras.data.examples import Dataset, Example
from tlkeras.data.sources.registry import open_source
from tlkeras.data.split import SPLITS, Splits, split
from tlkeras.data.store import Decoder, ImageStore, materialise, rows
from tlkeras.data.subset import subset
from tlkeras.errors import ConfigError, DataError
from tlkeras.evaluation import metrics, report
from tlkeras.evaluation.metrics import Score
from tlkeras.export.export import Artifact, export
from tlkeras.export.graph import precision_gap
from tlkeras.export.manifest import read_manifest, write_manifest
from tlkeras.export.parity import Samples
from tlkeras.export.read import open_artifact
from tlkeras.export.spec import ExportSpec
from tlkeras.models import TaskModel
from tlkeras.reporting import SILENT, Reporter
from tlkeras.runs import Run
from tlkeras.training import run as training

PARITY_SAMPLES = 8  # pictures on which every artifact is compared with the Keras model


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a fine-tuning left: the run folder, its metrics as stored, and the effective config."""

    run: Run
    metrics: dict[str, Any]
    config: RunConfig


@dataclass
class _Clock:
    """Seconds per phase."""

    reporter: Reporter
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 3)
        self.reporter.finished(name, self.seconds[name])


@dataclass(frozen=True, kw_only=True)
class _Data:
    """Decoded examples with their splits."""

    store: ImageStore
    splits: Splits
    audit: Audit

    def part(self, name: str) -> training.Examples:
        index = getattr(self.splits, name)
        return training.Examples(images=rows(self.store.images, index), y=self.store.y[index])


# === Fine-tune ===


def finetune(config: RunConfig, *, dataset: Dataset | None = None, reporter: Reporter = SILENT) -> Result:
    """Fine-tunes a backbone on examples and leaves a run folder with verified artifacts.

    Args:
        config: what to do; see `RunConfig`.
        dataset: examples to use in place of `config.data.source`, for example `from_arrays(x, y)`.
        reporter: hears of progress.

    Returns:
        The run, its metrics and the effective config.

    Raises:
        TlkerasError: with what to do next; see `tlkeras.errors`.

    Example:
        ```python
        result = tlkeras.finetune(tlkeras.RunConfig.from_dict({"data": "photos/", "out": "runs/photos"}))
        result.metrics["test"]["accuracy"]
        ```
    """
    config = plan.effective(config)
    run = runs.create(config.out, backbone=config.model.backbone, data=config.data.source if dataset is None else dataset.name)
    with _tidied(run):
        return _finetune(config.updated(out=str(run.root)), run, dataset, reporter)


def _finetune(config: RunConfig, run: Run, dataset: Dataset | None, reporter: Reporter) -> Result:
    clock = _Clock(reporter)
    started = time.monotonic()
    seed_everything(config.seed)
    dataset = _open(config, dataset, reporter)
    config = _with_splits(config, dataset)
    with clock.phase("build"):
        task = build(config, len(dataset.labels))
        for _, rules in plan.stages(config, task.stage_names):  # rules that do not fit are found before the pictures are read
            freezing.apply(task.model, rules, stages=task.stages)
    data = _prepare(config, dataset, run, clock, reporter)
    runs.write_text(run.config, configs.to_yaml(config.to_dict()))
    runs.write_json(run.environment, runs.environment())
    runs.write_labels(run, dataset.labels)

    with clock.phase("train"):
        trained = _train(config, task, data, run, reporter)
    history = [{"stage": one.name, **row} for one in trained.stages for row in one.history]
    runs.write_rows(run.history, history)
    task.model.save(run.model)

    scored = _score(trained, data, dataset.labels)
    runs.write_rows(run.predictions, _prediction_rows(data, scored, dataset.labels))
    with clock.phase("export"):
        artifacts = _export(config, task, data, scored, dataset, run, reporter)
        gap = precision_gap(task.model, np.asarray(data.store.images[:PARITY_SAMPLES], "float32"))
    clock.seconds["total"] = round(time.monotonic() - started, 3)
    summary = _summary(config, data, scored, trained, artifacts, gap, clock)
    figures = {name: part.figures for name, part in scored.items()}
    report.write(run.report, summary, config.to_dict(), figures, dataset.labels, data.audit.to_dict(), history)
    runs.write_json(run.metrics, summary)
    return Result(run=run, metrics=summary, config=config)


@contextmanager
def _tidied(run: Run) -> Iterator[None]:
    """Removes working files at the end, and the folders of a run that failed before it had anything to keep."""
    try:
        yield
    finally:
        shutil.rmtree(run.work, ignore_errors=True)
        if not run.config.exists():
            for folder in (run.exports, run.checkpoints, run.root):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def seed_everything(seed: int) -> None:
    """Makes what follows repeatable on a CPU: seeds Python, NumPy, Keras, and asks TensorFlow for deterministic kernels."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _open(config: RunConfig, dataset: Dataset | None, reporter: Reporter) -> Dataset:
    if dataset is None:
        dataset = open_source(config.data.source, data_dir=config.data.data_dir)
    if config.data.limit:
        dataset = subset(dataset, config.data.limit, config.seed)
    reporter.say(f"{len(dataset.examples):,} examples of {len(dataset.labels)} classes from {dataset.name}")
    return dataset


def _with_splits(config: RunConfig, dataset: Dataset) -> RunConfig:
    """Fills the split fractions where the source has no split of its own."""
    if dataset.has_splits:
        return config
    val, test = config.data.val_split, config.data.test_split
    return config.updated(val_split=plan.SPLIT if val is None else val, test_split=plan.SPLIT if test is None else test)


def build(config: RunConfig, classes: int) -> TaskModel:
    """Builds the task model of an effective config, under its dtype policy, which is put back afterwards."""
    before = keras.config.dtype_policy()
    try:
        if config.train.mixed_precision:
            keras.config.set_dtype_policy("mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16")
        return models.build(
            config.model.backbone, classes, image_size=config.model.image_size, weights=config.model.weights, dropout=config.model.dropout
        )
    finally:
        keras.config.set_dtype_policy(before)


def _prepare(config: RunConfig, dataset: Dataset, run: Run | None, clock: _Clock, reporter: Reporter) -> _Data:
    """Decodes every example once, splits, audits, and stores the audit."""
    with clock.phase("decode"):
        store = materialise(
            dataset,
            size=plan.image_size(config),
            resize=config.data.resize,
            cache_dir=run.work if run else None,
            strict=config.data.strict,
            progress=partial(reporter.progress, "decode"),
        )
        splits = split(
            store.sha256,
            store.y,
            [example.split for example in store.examples],
            val_split=config.data.val_split,
            test_split=config.data.test_split,
            seed=config.seed,
        )
        found = audit(store, splits)
    if run:
        runs.write_json(run.audit, found.to_dict())
    for line in found.summary():
        reporter.warn(line)
    return _Data(store=store, splits=splits, audit=found)


def _train(config: RunConfig, task: TaskModel, data: _Data, run: Run, reporter: Reporter) -> training.Trained:
    options = training.Options(
        batch_size=config.train.batch_size,
        batch_norm=config.train.batch_norm or "frozen",
        augment=config.train.augment,
        patience=config.train.patience,
        seed=config.seed,
        class_weights=_class_weights(data.store.y[data.splits.train]) if config.train.class_weights else None,
        checkpoints=run.checkpoints,
        work=run.work,
        tell=reporter.progress,
    )
    stages = plan.stages(config, task.stage_names)
    try:
        return training.run(task, stages, {name: data.part(name) for name in SPLITS}, options)
    except training.Interrupted as stopped:
        task.model.save(run.model)
        runs.write_rows(run.history, stopped.history or [{"epoch": 0}])
        raise training.Interrupted(
            stopped.epochs,
            stopped.history,
            f"stopped after {stopped.epochs} epochs; the best weights so far are in {run.model}, and `tlkeras evaluate {run.root}` scores them",
        ) from stopped


def _class_weights(y: np.ndarray) -> dict[int, float]:
    """Inverse frequency, mean 1 over the examples."""
    classes, counts = np.unique(y, return_counts=True)
    return {int(index): len(y) / (len(classes) * int(count)) for index, count in zip(classes, counts, strict=True)}


# === Evaluate ===


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One split with the model's scores, in the order of the split, and the figures made of them."""

    index: np.ndarray
    scores: np.ndarray
    figures: Score


def _score(trained: training.Trained, data: _Data, labels: Sequence[str]) -> dict[str, Scored]:
    done = {}
    for name, scores in trained.scores.items():
        index = getattr(data.splits, name)
        done[name] = Scored(index=index, scores=scores, figures=metrics.score(data.store.y[index], scores, labels))
    return done


def _prediction_rows(data: _Data, scored: dict[str, Scored], labels: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "split": name,
            "example": data.store.examples[index].id,
            "label": labels[data.store.y[index]],
            "predicted": labels[int(scores.argmax())],
            "score": f"{scores.max():.6f}",
        }
        for name, part in scored.items()
        for index, scores in zip(part.index, part.scores, strict=True)
    ]


# === Export ===


def _export(
    config: RunConfig, task: TaskModel, data: _Data, scored: dict[str, Scored], dataset: Dataset, run: Run, reporter: Reporter
) -> list[Artifact]:
    """Writes and verifies the artifacts; each is re-scored on the held-out split in its own runtime."""
    if not config.export.formats:
        return []
    held_out = scored["test"] if len(scored["test"].index) else scored["val"]
    sample_index = (held_out.index if len(held_out.index) else data.splits.train)[:PARITY_SAMPLES]
    spec = ExportSpec(
        labels=dataset.labels,
        decode=decoder(config),
        features_layer=models.FEATURES,
        metadata={"backbone": config.model.backbone, "resize": config.data.resize, "image_size": str(config.model.image_size)},
    )
    samples = Samples(
        inputs={"image": np.asarray(data.store.images[sample_index], "float32")},
        pictures=[encoded(data.store.examples[index]) for index in sample_index],
        score_inputs=data.store.images[held_out.index],
        score_labels=data.store.y[held_out.index],
    )
    tell = partial(reporter.progress, "export")
    artifacts = export(task.model, spec, run.exports, samples, formats=config.export.formats, score=held_out.scores, progress=tell)
    write_manifest(run.exports, spec, artifacts)
    return artifacts


def decoder(config: RunConfig) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the decode-and-resize function of a config: encoded bytes -> uint8 (size, size, 3)."""
    return partial(decode.decode_and_resize, size=plan.image_size(config), resize=config.data.resize)


def encoded(example: Example) -> bytes:
    """Returns an example as an encoded picture: its file, or a PNG of its array."""
    if example.array is not None:
        return decode.encode_png(example.array)
    return decode.read_image_bytes(example.path or example.id)


def _summary(
    config: RunConfig,
    data: _Data,
    scored: dict[str, Scored],
    trained: training.Trained,
    artifacts: Sequence[Artifact],
    gap: float | None,
    clock: _Clock,
) -> dict[str, Any]:
    """Returns what `metrics.json` holds."""
    found = data.audit.to_dict()
    return {
        **{name: part.figures.to_dict() for name, part in scored.items()},
        "timing": clock.seconds,
        "data": {
            "train": len(data.splits.train),
            "val": len(data.splits.val),
            "test": len(data.splits.test),
            "classes": len(data.store.labels),
            "skipped": found["skipped"],
            "issues": found["counts"],
        },
        "exports": {one.format: one.to_dict() for one in artifacts},
        "stages": [one.to_dict() for one in trained.stages],
        "mixed_precision_gap": gap,
        "config": config.to_dict(),
    }


# === Dry run ===


def dry_run(config: RunConfig) -> str:
    """Returns, for each stage of the recipe, the table of layers: rule, parameters, flag, BatchNorm mode."""
    config = plan.effective(config)
    task = build(config, classes=len(open_source(config.data.source, data_dir=config.data.data_dir).labels))
    tables = []
    for stage, rules in plan.stages(config, task.stage_names):
        flags = freezing.apply(task.model, rules, stages=task.stages, batch_norm=config.train.batch_norm or "frozen")
        tables.append(f"stage {stage.name}: at most {stage.epochs} epochs, learning rate {stage.learning_rate:g}\n{flags}")
    return "\n\n".join(tables)


# === Use a run or an artifact ===


class _Scorer(Protocol):
    """What scores pictures: a Keras model or an artifact in its own runtime."""

    def __call__(self, images: np.ndarray, *, progress: Callable[[int, int], None] | None = None) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class Target:
    """A run, a model or an artifact, opened: what it takes, what it knows, how it answers."""

    scores: _Scorer
    runtime: str
    image_size: int
    resize: str
    labels: tuple[str, ...]
    run: Run | None


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
        image_size=predictor.image_size,
        resize=manifest["metadata"]["resize"],
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
        image_size=int(model.input_shape[1]),
        resize=config.data.resize,
        labels=runs.read_labels(run),
        run=run,
    )


def keras_scores(
    model: keras.Model, images: np.ndarray, *, batch_size: int = 64, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Returns the scores of pictures (n, size, size, 3), RGB 0-255, as float32 (n, classes)."""
    found = [np.empty((0, model.output_shape[-1]), "float32")]
    for start in range(0, len(images), batch_size):
        found.append(np.asarray(model.predict_on_batch(np.asarray(images[start : start + batch_size], "float32")), "float32"))
        if progress:
            progress(min(start + batch_size, len(images)), len(images))
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
    told = runs.read_config(opened.run) if opened.run else RunConfig()
    if data is None and opened.run is None:
        raise ConfigError(f"{str(target)!r} belongs to no run, so there is no source of its own; pass --data SOURCE")
    spec = told.data.source if data is None else data
    dataset = spec if isinstance(spec, Dataset) else open_source(spec, labels=opened.labels, data_dir=data_dir or told.data.data_dir)
    own = opened.run is not None and not isinstance(spec, Dataset) and _same_source(spec, told.data.source)
    if own and told.data.limit:
        dataset = subset(dataset, told.data.limit, told.seed)
    store = materialise(dataset, size=opened.image_size, resize=opened.resize, progress=partial(reporter.progress, "decode"))
    index, part = _chosen(store, dataset, told if own else None, part)
    if not len(index):
        raise DataError(f"{dataset.name} has no examples in its {part} split; choose another with --split")
    scores = opened.scores(store.images[index], progress=partial(reporter.progress, "score"))
    figures = metrics.score(store.y[index], scores, opened.labels)
    return Evaluation(score=figures, runtime=opened.runtime, data=dataset.name, part=part, skipped=len(store.skipped))


def _same_source(one: str | None, other: str | None) -> bool:
    """Whether two `--data` values mean the same: equal, both the digits, or two ways to write one path."""
    one, other = one or "digits", other or "digits"
    return one == other or (Path(one).exists() and Path(one).resolve() == Path(other).resolve())


def _chosen(store: ImageStore, dataset: Dataset, own: RunConfig | None, part: str) -> tuple[np.ndarray, str]:
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


def predict(target: str | Path, files: Sequence[str | Path]) -> Iterator[Prediction]:
    """Predicts pictures, one after the other; a file that cannot be read gives an error and the others go on.

    Args:
        target: folder of a run, `.keras` model, or artifact.
        files: picture files.
    """
    opened = open_target(target)
    decoder = Decoder(opened.image_size, opened.resize)
    for file in files:
        picture = np.zeros((1, opened.image_size, opened.image_size, 3), "uint8")
        reading = decoder.read(Example(id=str(file), label="", path=Path(file)), picture[0])
        if reading.bad:
            yield Prediction(file=str(file), error=f"{file}: {reading.bad.reason}")
            continue
        scores = opened.scores(picture)[0]
        best = int(scores.argmax())
        named = {label: float(score) for label, score in zip(opened.labels, scores, strict=True)}
        yield Prediction(file=str(file), label=opened.labels[best], score=float(scores[best]), scores=named)
