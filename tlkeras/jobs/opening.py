"""Open what a user names: a run, a Keras model, an artifact, or an entry of the zoo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import keras

from tlkeras.errors import DataError, ExportError
from tlkeras.evaluation.prediction import Model, keras_scores, known_target, wide_scores
from tlkeras.export import manifest as manifests
from tlkeras.export.checksum import measure, private_copy
from tlkeras.export.formats import FORMATS
from tlkeras.export.read import kind_of, open_artifact
from tlkeras.export.runtimes import KERAS, RUNTIMES, plain
from tlkeras.jobs import run_folder
from tlkeras.jobs.lookup import artifact_of, find, not_a_target
from tlkeras.jobs.run_folder import Run
from tlkeras.modalities import inputs
from tlkeras.tasks.registry import task_named, task_of
from tlkeras.weights.keras_file import read_keras
from tlkeras.zoo import opening


def load(target: str | Path, *, runtime: str | None = None, zoo: str | Path | None = None) -> Model:
    """Opens a run, an artifact or an entry of the zoo; arguments, result and errors are those of `tlkeras.load`."""
    located = find(target, zoo)
    if located.entry is not None:
        return opening.load(located.entry, runtime=runtime, root=located.root)
    return _open(located.path, runtime)


open_target = load


def _open(path: Path, runtime: str | None) -> Model:
    run = run_folder.of(path)
    wants_keras = runtime is not None and plain(runtime) == KERAS
    if run and path.resolve() == run.root:
        return _keras(run.model, run) if runtime is None or wants_keras else _format(run.exports, run, runtime)
    if path.suffix == ".keras":
        if runtime is not None and not wants_keras:
            raise ExportError(f"{str(path)!r} runs in keras, received the runtime {runtime!r}; name the run or the entry to choose another")
        return _keras(path, run)
    if path.is_dir() and not (path / "saved_model.pb").is_file() and (path / manifests.NAME).is_file():
        return _format(path, run, runtime)
    try:
        kind = kind_of(path)
    except ExportError:
        raise DataError(not_a_target(path)) from None
    folder = path if (path / manifests.NAME).is_file() else path.parent
    if wants_keras and folder == path:
        return _keras(path / "model.keras", run)
    return _artifact(path, folder, run, _reader(path, kind, runtime))


def _reader(path: Path, kind: str, runtime: str | None) -> str:
    """Returns what opens an artifact of a kind, where the runtime that was asked for can."""
    if runtime is None:
        return kind
    readers = {reader for row in FORMATS if row.reader == kind for reader in (row.reader, *row.also)}
    reader = RUNTIMES.get(plain(runtime)).reader if plain(runtime) in RUNTIMES else None
    if reader not in readers:
        names = ", ".join(row.name for row in RUNTIMES if row.reader in readers)
        raise ExportError(f"{str(path)!r} runs in {names}; received the runtime {runtime!r}")
    return str(reader)


def _format(folder: Path, run: Run | None, runtime: str | None) -> Model:
    """Opens one of the artifacts of a folder."""
    path, reader = artifact_of(folder, run, runtime)
    return _artifact(path, folder, run, reader)


def _artifact(path: Path, folder: Path, run: Run | None, reader: str) -> Model:
    manifest = manifests.read_manifest(folder)
    task = task_of(manifest["metadata"])
    with manifests.unchanged(folder, path) as copy:
        predictor = open_artifact(copy, reader)
    return Model(
        scores=predictor.scores,
        runtime=predictor.runtime,
        inputs=inputs.of_metadata(manifest["metadata"], folder),
        target=known_target(manifest, path),
        task=task,
        folder=run.root if run else None,
        wide=predictor.scores_and_features if predictor.gives_features else None,
    )


def _keras(path: Path, run: Run | None) -> Model:
    if run is None and path.is_file() and (path.parent / manifests.NAME).is_file():  # of an entry
        manifest = manifests.read_manifest(path.parent)
        task = task_of(manifest["metadata"])
        with manifests.unchanged(path.parent, path) as copy:
            model = read_keras(copy)
        return Model(
            scores=partial(keras_scores, model),
            wide=wide_scores(model),
            runtime=f"keras {keras.__version__}",
            inputs=inputs.of_metadata(manifest["metadata"], path.parent),
            target=known_target(manifest, path),
            task=task,
        )
    if run is None or not path.is_file():
        raise DataError(f"{str(path)!r} is not the model of a run: config.yaml, labels.txt or the model itself is missing")
    config, target = run_folder.read_config(run), run_folder.read_target(run)
    with _unchanged(path, run) as copy:
        model = read_keras(copy)
    task, width = task_named(config.model.task), model.outputs[0].shape[-1]
    if task.labelled_outputs and width != len(target.labels):
        raise DataError(
            f"{str(path)!r} answers {width} scores, and {run.labels.name} has {len(target.labels)} labels: one of them is not of this run"
        )
    return Model(
        scores=partial(keras_scores, model),
        runtime=f"keras {keras.__version__}",
        inputs=inputs.of_model(model, config, run.root),
        target=target,
        task=task,
        folder=run.root,
        model=model,
        wide=wide_scores(model),
    )


@contextmanager
def _unchanged(path: Path, run: Run) -> Iterator[Path]:
    """Yields a copy of a model in the folder of a run: its own model has the hash that the run recorded, if it recorded one.

    Raises:
        DataError: when it is another model.
    """
    recorded = _recorded(run) if path.resolve() == run.model.resolve() else {}
    with private_copy(path.parent, [path.name]) as copies:
        size, sha256 = measure(copies / path.name)
        if recorded.get("sha256") not in (None, sha256):
            raise DataError(
                f"{str(path)!r} has changed since the run wrote it ({size:,} bytes now), and thresholds and calibration are those of the model before; "
                f"restore it; a model that you trained further needs another name: `tlkeras evaluate {run.root / 'FILE.keras'}` scores it, and "
                f"`tlkeras export FILE.keras --labels {run.labels}` exports it"
            )
        yield copies / path.name


def _recorded(run: Run) -> Mapping[str, Any]:
    """Returns size and hash of the model of a run, from its `metrics.json`; nothing where that is of before, as while a run goes on."""
    if run.asked.is_file() or not run.metrics.is_file():
        return {}
    try:
        recorded = run_folder.read_json(run.metrics).get("model")
    except DataError:  # the model can be used all the same
        return {}
    return recorded if isinstance(recorded, dict) else {}
