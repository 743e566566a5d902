"""The whole jobs as Python calls: `finetune`, `evaluate`, `predict`."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras import config as configs
from tlkeras import files, models
from tlkeras.config import RunConfig
from tlkeras.data.audit import Audit, audit
from tlkeras.data.examples import Dataset, Issue
from tlkeras.data.sources.registry import DEFAULT, kind_of, recorded
from tlkeras.data.split import SPLITS, Splits, split
from tlkeras.data.store import Store, rows
from tlkeras.distribution.strategies import Placement, open_placement
from tlkeras.evaluation import metrics, report
from tlkeras.evaluation.metrics import Score
from tlkeras.evaluation.prediction import keras_scores
from tlkeras.export.artifact import Artifact
from tlkeras.export.graph import precision_gap
from tlkeras.jobs import export_run, plan, preflight, run_folder
from tlkeras.jobs.evaluate import evaluate, predict
from tlkeras.jobs.opening import open_target
from tlkeras.jobs.run_folder import Run
from tlkeras.modalities.inputs import TOKENIZER, Inputs, Pictures, Sequences, Texts
from tlkeras.modalities.sequences import arrays as sequences
from tlkeras.models import TaskModel
from tlkeras.progress import AUTO, Reporter, resolve
from tlkeras.training import freezing, precision
from tlkeras.training import phases as training

__all__ = ["Result", "build", "dry_run", "evaluate", "finetune", "keras_scores", "open_target", "predict", "seed_everything"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a fine-tuning: the run folder, its metrics as stored, and the effective config."""

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
    """Examples in the form that the model accepts, with their splits."""

    inputs: Inputs
    store: Store
    splits: Splits
    audit: Audit

    def part(self, name: str) -> training.Examples:
        index = getattr(self.splits, name)
        lengths = None if self.store.lengths is None else self.store.lengths[index]
        return training.Examples(inputs=rows(self.store.inputs, index), y=self.store.y[index], lengths=lengths)


# === Fine-tune ===


def finetune(
    config: RunConfig | Dataset | Mapping[str, Any] | str | Path | None = None,
    *,
    dataset: Dataset | None = None,
    reporter: Reporter | str | None = AUTO,
    **settings: Any,
) -> Result:
    """Fine-tunes a backbone; arguments, result and errors are those of `tlkeras.finetune`."""
    reporter = resolve(reporter)
    config, dataset = preflight.settings(config, dataset, settings)
    dataset = preflight.open_examples(config, dataset)
    if config.data.source is None and dataset.source == DEFAULT:
        reporter.say(f"{preflight.USES_DIGITS}; for your own images, name a folder with one folder per class (--data FOLDER)")
    config = plan.effective(config).updated(data=recorded(dataset))
    placement = open_placement(config.train.placement)
    run = _run(config, placement, dataset)
    with _tidied(run, keep=placement.chief), placement.watched(), reporter.live():
        result = _finetune(config.updated(out=str(run.root)), placement, run, dataset, reporter)
        placement.wait()
        return result


def _run(config: RunConfig, placement: Placement, dataset: Dataset) -> Run:
    """Makes the run folder; workers other than the chief write into one that is thrown away, and export nothing."""
    if placement.chief:
        return run_folder.create(config.out, backbone=config.model.backbone, data=dataset.source or dataset.name)
    return run_folder.scratch()


def _finetune(config: RunConfig, placement: Placement, run: Run, dataset: Dataset, reporter: Reporter) -> Result:
    clock = _Clock(reporter)
    started = time.monotonic()
    seed_everything(config.seed)
    dataset = preflight.limited(config, dataset)
    reporter.say(f"{len(dataset.examples):,} examples of {len(dataset.labels)} classes from {dataset.name}")
    config = preflight.with_splits(config, dataset)
    with clock.phase("build"):
        task = build(config, len(dataset.labels), dataset)
        for _, rules in plan.phases(config, task.section_names):  # rules that do not fit are found before the images are read
            freezing.apply(task.model, rules, sections=task.sections)
    for note in task.notes:
        reporter.warn(note)
    data = _prepare(config, dataset, task, run, clock, reporter)
    if isinstance(data.inputs, Texts):
        config = config.updated(max_length=data.inputs.tokens.length)
        data.inputs.tokens.save(run.root / TOKENIZER)
    files.write(run.config, configs.to_yaml(config.to_dict()))
    numbers = precision.record(task.model, tf32=_tf32(config, placement))
    files.write_json(run.environment, {**run_folder.environment(), **numbers})
    run_folder.write_labels(run, dataset.labels)

    placement.agree("data", lambda: export_run.fingerprint(data.store, data.splits))
    placement.agree("weights", lambda: freezing.digest(task.model))
    with clock.phase("train"):
        trained = _train(config, placement, task, data, run, reporter)
    history = [{"phase": one.name, **row} for one in trained.phases for row in one.history]
    files.write_rows(run.history, history)
    task.model.save(run.model)

    scored = _score(trained, data, dataset.labels)
    files.write_rows(run.predictions, _prediction_rows(data, scored, dataset.labels))
    if placement.chief:
        reporter.scores({name: scored[name].figures.to_dict() for name in ("val", "test")})
    with clock.phase("export"):
        artifacts = _export(config, task, data, scored, run, reporter) if placement.chief else []
        gap = precision_gap(task.model, np.asarray(data.store.inputs[: export_run.PARITY_SAMPLES], task.model.inputs[0].dtype))
    clock.seconds["total"] = round(time.monotonic() - started, 3)
    summary = _summary(config, placement, data, scored, trained, artifacts, gap, clock) | {"precision": numbers}
    summary["data"] |= _provenance(dataset)
    figures = {name: part.figures for name, part in scored.items()}
    report.write(run.report, summary, config.to_dict(), figures, dataset.labels, data.audit.to_dict(), history)
    files.write_json(run.metrics, summary)
    return Result(run=run, metrics=summary, config=config)


@contextmanager
def _tidied(run: Run, *, keep: bool) -> Iterator[None]:
    """Removes working files at the end, and the folders of a run that failed before it had anything to keep, or that is not kept."""
    try:
        yield
    finally:
        if not keep:
            shutil.rmtree(run.root, ignore_errors=True)
        shutil.rmtree(run.work, ignore_errors=True)
        if not run.config.exists():
            for folder in (run.exports, run.checkpoints, run.root):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def seed_everything(seed: int) -> None:
    """Makes what follows repeatable on a CPU: seeds Python, NumPy, Keras, and asks TensorFlow for deterministic kernels."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def build(config: RunConfig, classes: int, dataset: Dataset | None = None) -> TaskModel:
    """Builds the task model of an effective config, under its dtype policy, which is put back afterwards.

    Args:
        config: what to build.
        classes: number of outputs.
        dataset: the examples, for networks of sequences, which must know their shape.
    """
    before = keras.config.dtype_policy()
    try:
        if config.train.mixed_precision:
            keras.config.set_dtype_policy(precision.mixed_policy())
        return models.build(
            config.model.backbone,
            classes,
            image_size=config.model.image_size,
            channels=config.model.channels,
            adapter=config.model.channel_adapter,
            weights=config.model.weights,
            dropout=config.model.dropout,
            options=config.model.options(),
            data=sequences.described(dataset, config.model.max_length) if dataset and dataset.modality == "sequence" else None,
        )
    finally:
        keras.config.set_dtype_policy(before)


def _prepare(config: RunConfig, dataset: Dataset, task: TaskModel, run: Run, clock: _Clock, reporter: Reporter) -> _Data:
    """Turns every example into an input of the model, once; splits, audits, and stores the audit."""
    inputs, notes = _inputs(config, dataset, task)
    with clock.phase("decode"):
        store = inputs.materialise(dataset, cache_dir=run.work, strict=config.data.strict, progress=partial(reporter.progress, "decode"))
        splits = split(
            store.sha256,
            store.y,
            [example.split for example in store.examples],
            val_split=config.data.val_split,
            test_split=config.data.test_split,
            seed=config.seed,
        )
        found = audit(dataclasses.replace(store, notes=(*store.notes, *notes)), splits)
    files.write_json(run.audit, found.to_dict())
    for line in found.summary():
        reporter.warn(line)
    return _Data(inputs=inputs, store=store, splits=splits, audit=found)


def _inputs(config: RunConfig, dataset: Dataset, task: TaskModel) -> tuple[Inputs, list[Issue]]:
    """Returns the inputs that the model accepts, and notes from fitting them to the data."""
    if task.backbone.modality == "sequence":
        time, features = task.model.input_shape[1:]
        return Sequences(time=int(time), features=int(features)), []
    if task.tokens is None:
        return Pictures(size=plan.image_size(config), resize=config.data.resize, channels=config.model.channels), []
    if dataset.modality != "text":
        return Texts(tokens=task.tokens), []
    fitted, note = Texts(tokens=task.tokens).fitted(dataset, config.model.max_length)
    return fitted, [note]


def _train(config: RunConfig, placement: Placement, task: TaskModel, data: _Data, run: Run, reporter: Reporter) -> training.Trained:
    if placement.strategy is not None:
        reporter.say(placement.describe())
    reporter.say(precision.describe(precision.record(task.model, tf32=_tf32(config, placement))))
    options = training.Options(
        batch_size=config.train.batch_size,
        batch_norm=config.train.batch_norm or "frozen",
        augment=config.train.augment,
        patience=config.train.patience,
        seed=config.seed,
        tf32=_tf32(config, placement),
        class_weights=_class_weights(data.store.y[data.splits.train]) if config.train.class_weights else None,
        checkpoints=run.checkpoints,
        work=run.work,
        placement=placement,
        tell=reporter.progress,
    )
    phases = plan.phases(config, task.section_names)
    try:
        return training.run(task, phases, {name: data.part(name) for name in SPLITS}, options)
    except training.Interrupted as stopped:
        task.model.save(run.model)
        files.write_rows(run.history, stopped.history or [{"epoch": 0}])
        raise training.Interrupted(
            stopped.epochs,
            stopped.history,
            f"stopped after {stopped.epochs} epochs; the best weights so far are in {run.model}, and `tlkeras evaluate {run.root}` scores them",
        ) from stopped


def _tf32(config: RunConfig, placement: Placement) -> bool:
    """Whether training may multiply in TF32: as it was asked for, else where no equal losses are promised."""
    return placement.replicas == 1 if config.train.tf32 is None else config.train.tf32


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
            # A prefix keeps a class called `split` apart from the column of that name.
            **{f"score:{label}": f"{score:.6f}" for label, score in zip(labels, scores, strict=True)},
        }
        for name, part in scored.items()
        for index, scores in zip(part.index, part.scores, strict=True)
    ]


# === Export ===


def _export(config: RunConfig, task: TaskModel, data: _Data, scored: dict[str, Scored], run: Run, reporter: Reporter) -> list[Artifact]:
    """Writes and verifies the artifacts; see `run_export.export_task`."""
    examples = export_run.Examples(store=data.store, splits=data.splits, scores={name: part.scores for name, part in scored.items()})
    return export_run.export_task(task.model, data.inputs, examples, config, run.exports, reporter=reporter)


def _summary(
    config: RunConfig,
    placement: Placement,
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
            "fingerprint": export_run.fingerprint(data.store, data.splits),
            "skipped": found["skipped"],
            "issues": found["counts"],
        },
        "exports": {one.format: one.to_dict() for one in artifacts},
        "phases": [one.to_dict() for one in trained.phases],
        "placement": {"name": placement.name, "replicas": placement.replicas, "workers": placement.workers, "worker": placement.worker},
        "mixed_precision_gap": gap,
        "config": config.to_dict(),
    }


def _provenance(dataset: Dataset) -> dict[str, Any]:
    """Returns where the examples came from: the source as it was named and its kind, or the name of arrays that were passed."""
    kind = kind_of(dataset.source) if dataset.source else None
    return {"source": recorded(dataset), "kind": kind.name if kind else "arrays", "modality": dataset.modality}


# === Dry run ===


def dry_run(config: RunConfig, dataset: Dataset | None = None) -> str:
    """Returns what the data are, and for each phase of the recipe the table of layers: rule, parameters, flag, BatchNorm mode."""
    dataset = preflight.limited(config, preflight.open_examples(config, dataset))
    config = plan.effective(config)
    task = build(config, len(dataset.labels), dataset)
    tables = [preflight.describe(config, dataset)]
    for phase, rules in plan.phases(config, task.section_names):
        flags = freezing.apply(task.model, rules, sections=task.sections, batch_norm=config.train.batch_norm or "frozen")
        tables.append(f"phase {phase.name}: at most {phase.epochs} epochs, learning rate {phase.learning_rate:g}\n{flags}")
    return "\n\n".join(tables)
