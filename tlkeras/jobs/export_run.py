"""The export of a run: right after training, or later from the run folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras import models
from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset, Example
from tlkeras.data.row_cache import open_cache
from tlkeras.data.split import Splits
from tlkeras.data.store import Store
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError, DataError, OutputError
from tlkeras.evaluation.prediction import Model
from tlkeras.export.artifact import Artifact
from tlkeras.export.budget import Budget
from tlkeras.export.calibration import Calibration, stratified
from tlkeras.export.export import export
from tlkeras.export.formats import FORMATS
from tlkeras.export.parity import Samples
from tlkeras.export.spec import ExportSpec
from tlkeras.files import open_regular
from tlkeras.jobs import backbone_record, preflight, run_folder
from tlkeras.jobs.opening import open_target
from tlkeras.jobs.preflight import Chosen
from tlkeras.jobs.run_folder import Run
from tlkeras.modalities.inputs import Inputs
from tlkeras.progress import AUTO, SILENT, Clock, Reporter, resolve
from tlkeras.registry import load_function
from tlkeras.tasks.certainty import known_of
from tlkeras.tasks.registry import task_named
from tlkeras.tasks.rejection import without_reference

PARITY_SAMPLES = 8  # examples on which every artifact is compared with the Keras model


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The decoded examples of a run, and their splits.

    Args:
        store: every example in the form that the model accepts.
        splits: indices of each split.
        target: what the model predicts, with what its task has learnt; that of the store when None.
        scores: split -> the Keras model's scores of its examples, if already known.
        synthetic: whether synthetic examples replace missing data. Nothing is evaluated or calibrated on them.
    """

    store: Store
    splits: Splits
    target: Target | None = None
    scores: Mapping[str, np.ndarray] | None = None
    synthetic: bool = False

    @property
    def held_out(self) -> str:
        """The split that artifacts are evaluated on."""
        return "test" if len(self.splits.test) else "val"


def needs_calibration(formats: Sequence[str]) -> list[str]:
    """Returns those of the formats that are calibrated on real examples."""
    return [name for name in formats if FORMATS.get(name).calibrated or FORMATS.get(name).attempts]


def export_task(
    model: keras.Model,
    inputs: Inputs,
    examples: Examples,
    config: RunConfig,
    out: Path,
    *,
    keep: bool = False,
    reporter: Reporter = SILENT,
    clock: Clock | None = None,
) -> list[Artifact]:
    """Writes and verifies the artifacts of a task model; each is scored on the held-out split in its own runtime.

    Args:
        model: the trained task model.
        inputs: what it accepts.
        examples: the examples of the run.
        config: formats, budget and calibration.
        out: folder of the artifacts.
        keep: whether artifacts of other formats in `out` stay in the manifest.
        reporter: receives progress.
        clock: receives the seconds of each format, as parts of the step `export`.

    Returns:
        The artifacts that were written.
    """
    if not config.export.formats:
        return []
    store, splits = examples.store, examples.splits
    held_out = getattr(splits, examples.held_out)
    sample_index = (held_out if len(held_out) else splits.train)[:PARITY_SAMPLES]
    (tensor,) = model.inputs
    target = examples.target or store.target
    spec = export_spec(inputs, target, config)
    targets = task_named(config.model.task).targets_of([store.examples[index] for index in held_out], target)
    samples = Samples(
        inputs={tensor.name: np.asarray(store.inputs[sample_index], tensor.dtype)},
        encoded=_encoded(inputs, store, sample_index, spec, reporter),
        lengths=[] if store.lengths is None else store.lengths[sample_index].tolist(),
        score_inputs=None if examples.synthetic else store.inputs[held_out],
        score_targets=None if examples.synthetic else targets,
    )
    budget = Budget(
        max_drop=config.export.max_drop,
        calibration=_calibration(config, examples, tensor),
        io=config.export.tflite_io,
        opset=config.export.opset,
    )
    return export(
        model,
        spec,
        out,
        samples,
        formats=config.export.formats,
        budget=budget,
        score=examples.scores[examples.held_out] if examples.scores else None,
        keep=keep,
        progress=reporter.pieces("export"),
        timed=None if clock is None else lambda name, seconds: clock.add(f"export/{name}", seconds),
    )


def _encoded(inputs: Inputs, store: Store, index: np.ndarray, spec: ExportSpec, reporter: Reporter) -> list[bytes]:
    """Returns examples as clients send them; of a file that is gone, or another one by now, the decoded image takes the place."""
    if spec.decode is None and spec.tokenise is None:
        return []
    encoded, changed = [], []
    for row in index:
        example = store.examples[row]
        if spec.decode is not None and example.path is not None and not _is_as_read(Path(example.path), store.sha256[row]):
            changed.append(example.id)
            example = Example(id=example.id, label=example.label, array=np.asarray(store.inputs[row], "uint8"))
        encoded.append(inputs.encoded(example))
    if changed:
        reporter.warn(
            f"{len(changed)} of {len(index)} files to verify on were deleted or changed since they were read, {changed[0]!r} among them; "
            "verified on the decoded images instead"
        )
    return encoded


def _is_as_read(path: Path, sha256: str) -> bool:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def export_spec(inputs: Inputs, target: Target, config: RunConfig) -> ExportSpec:
    """Returns what the exporters must know in addition to a task model."""
    task = task_named(config.model.task)
    stored, of_manifest = without_reference(target)
    return ExportSpec(
        labels=target.labels if task.labelled_outputs else None,
        known=known_of(task, target),
        manifest_metadata=of_manifest,
        judge=partial(load_function(task.judge), target=target),
        signature=partial(load_function(task.signature), target=target),
        **inputs.serving(),
        **(load_function(task.spec)(target) if task.spec else {}),
        features_layer=models.FEATURES,
        metadata={
            "backbone": config.model.backbone,
            "task": task.name,
            "target": json.dumps(stored.to_dict(), ensure_ascii=False),
            **inputs.metadata(),
        },
    )


def _calibration(config: RunConfig, examples: Examples, tensor: keras.KerasTensor) -> Calibration | None:
    """Chooses training examples, evenly over the classes, if a format needs any."""
    if examples.synthetic or not needs_calibration(config.export.formats):
        return None
    train = examples.splits.train
    chosen = train[stratified(examples.store.groups[train], config.export.calibration_examples, config.seed)]
    described = {"of": "the training split", "stratified": True, "seed": config.seed}
    return Calibration(inputs={tensor.name: np.asarray(examples.store.inputs[chosen], tensor.dtype)}, chosen=described)


def fingerprint(store: Store, splits: Splits) -> str:
    """Returns one hash over the content, the label and the split of every example, whatever their order."""
    texts = [store.target.text(value) for value in store.values]
    lines = sorted("\t".join(fields) for fields in zip(store.sha256, texts, splits.names(), strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# === Later, from the run folder ===


def export_run(
    target: str | Path,
    formats: Sequence[str],
    out: str | Path | None = None,
    *,
    data: str | Path | Dataset | Chosen | None = None,
    data_dir: str | None = None,
    changes: Mapping[str, Any] | None = None,
    reporter: Reporter | str | None = AUTO,
) -> list[Artifact]:
    """Exports a finished or stopped run again: the same artifacts as `finetune --export` writes.

    Args:
        target: the folder of the run, or its `model.keras`.
        formats: names of formats.
        out: new or empty folder; the run's own `exports`, where other artifacts are kept, when None.
        data: a source or examples to calibrate and evaluate on; the run's own when None.
        data_dir: where tensorflow-datasets keeps prepared data.
        changes: config keys of the export that differ from the run's, for example `{"max_drop": 0.01}`.
        reporter: receives progress.

    Returns:
        The artifacts that were written.

    Raises:
        DataError: when it is not a run, has no model, or lacks the data that a format needs.
        ConfigError: when the backbone cannot be exported to a format.
        ExportError: see `tlkeras.export.export`.
    """
    reporter = resolve(reporter)
    run = run_folder.run_of(target)
    if run is None:
        raise DataError(f"{str(target)!r} is not a run; expected a folder written by `tlkeras finetune`, or its model.keras")
    if not run.model.is_file():
        raise DataError(f"{str(run.root)!r} has no model.keras yet; finish the run first")
    if not formats:
        raise ConfigError(f"no formats to export; choose from {', '.join(FORMATS.names())}")
    row, names = backbone_record.read(run), [FORMATS.get(name).name for name in formats]
    backbone_record.check_formats(row, names)
    config = run_folder.read_config(run).updated(**{**(changes or {}), "backbone": row.name, "export": names})
    folder = _folder(run, out)
    opened = open_target(run.model)
    with reporter.live():
        examples = _examples(opened, config, data, data_dir, run, reporter)
        artifacts = export_task(opened.model, opened.inputs, examples, config, folder, keep=out is None, reporter=reporter)
    if out is None:
        _record(run, artifacts)
    return artifacts


def _folder(run: Run, out: str | Path | None) -> Path:
    folder = run.exports if out is None else Path(out).expanduser()
    if out is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"--out {str(out)!r} is not an empty folder and is not overwritten; choose another")
    return folder


def _examples(
    opened: Model,
    config: RunConfig,
    data: str | Path | Dataset | Chosen | None,
    data_dir: str | None,
    run: Run,
    reporter: Reporter,
) -> Examples:
    """Decodes the data of the run, or the source passed instead. Synthetic examples replace missing data."""
    try:
        chosen = preflight.examples_for(config, opened.target, data, data_dir=data_dir)
    except DataError as error:
        if data is not None:
            raise
        return _without_data(opened, config, preflight.missing_source(config) or str(error), reporter)
    dataset, own = chosen.dataset, chosen.own is not None
    cache = open_cache(config.data.cache, reporter.warn)
    store = opened.inputs.materialise(dataset, progress=partial(reporter.progress, "decode"), cache=cache)
    fractions: dict[str, Any] = {"val_split": config.data.val_split, "test_split": config.data.test_split} if own else {}
    splits = store.split(**fractions, seed=config.seed)
    if own and _changed(run, store, splits):
        reporter.warn(f"{dataset.name} has changed since the run: examples that are held out now may have been trained on")
    return Examples(store=store, splits=splits, target=opened.target)


def _changed(run: Run, store: Store, splits: Splits) -> bool:
    """Whether the examples differ from those that a finished run recorded."""
    if not run.metrics.is_file():
        return False
    recorded = run_folder.read_json(run.metrics).get("data", {}).get("fingerprint")
    return recorded is not None and recorded != fingerprint(store, splits)


def _without_data(opened: Model, config: RunConfig, reason: str, reporter: Reporter) -> Examples:
    needing = needs_calibration(config.export.formats)
    if needing:
        raise DataError(
            f"the data of the run cannot be opened ({reason}), and {', '.join(needing)} must be calibrated on real examples; "
            "pass --data SOURCE, or leave out these formats"
        )
    reporter.warn(
        f"the data of the run cannot be opened ({reason}): verified on synthetic examples, accuracy not measured; pass --data SOURCE"
    )
    dataset = _synthetic(opened.inputs, opened.target)
    store = opened.inputs.materialise(dataset)
    nothing = np.empty(0, int)
    return Examples(
        store=store, splits=Splits(train=np.arange(len(store)), val=nothing, test=nothing), target=opened.target, synthetic=True
    )


def _synthetic(inputs: Inputs, target: Target) -> Dataset:
    """Returns random images or sequences, or a few sentences: enough to compare an artifact with its model."""
    examples = inputs.synthetic(PARITY_SAMPLES, target.some_value)
    return Dataset(name="synthetic examples", examples=tuple(examples), target=target)


def _record(run: Run, artifacts: Sequence[Artifact]) -> None:
    """Puts the new artifacts beside the others of a finished run in `metrics.json`."""
    if not run.metrics.is_file():
        return
    metrics = run_folder.read_json(run.metrics)
    metrics["exports"] = {**metrics.get("exports", {}), **{one.format: one.to_dict() for one in artifacts}}
    run_folder.write_json(run.metrics, metrics)
