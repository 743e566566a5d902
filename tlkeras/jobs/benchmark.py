"""What `tlkeras benchmark` measures: the artifacts of a run or of an entry of the zoo, and the Keras model itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras.data.examples import Dataset
from tlkeras.errors import DataError, ExportError
from tlkeras.evaluation.prediction import Model, keras_scores, known_target
from tlkeras.export import verification
from tlkeras.export.benchmark import Candidate, Row, Workload
from tlkeras.export.benchmark import benchmark as measured
from tlkeras.export.formats import FORMATS
from tlkeras.export.manifest import interface_of, read_manifest
from tlkeras.export.runtimes import KERAS
from tlkeras.jobs import evaluate, preflight, run_folder
from tlkeras.jobs.lookup import find_whole
from tlkeras.jobs.preflight import Chosen
from tlkeras.modalities import inputs
from tlkeras.progress import AUTO, Reporter, resolve
from tlkeras.registry import load_function
from tlkeras.tasks.registry import Task, target_of, task_of
from tlkeras.weights.keras_file import read_keras
from tlkeras.zoo.store import Zoo, default_root, verify_files


@dataclass(frozen=True, kw_only=True)
class Report:
    """The rows, and on what the accuracy was measured; where it was not (None), why. `measure` is what the task calls the accuracy."""

    rows: tuple[Row, ...]
    data: str | None
    unmeasured: str | None = None
    measure: str = "accuracy"

    def to_dict(self) -> dict[str, Any]:
        return {"data": self.data, "unmeasured": self.unmeasured, "rows": [row.to_dict() for row in self.rows]}


def benchmark(
    target: str | Path,
    *,
    data: str | Path | Dataset | Chosen | None = None,
    dataset: Dataset | None = None,
    zoo: Zoo | None = None,
    formats: Sequence[str] = (),
    threads: Sequence[int] = (1, 2),
    reporter: Reporter | str | None = AUTO,
) -> Report:
    """Measures every artifact of a run or an entry, side by side.

    Args:
        target: folder of a run, or NAME or NAME/VERSION of an entry (also `zoo:NAME`).
        data: source whose held-out examples give the accuracy; the model's own, where that is here, when None.
        dataset: examples that give the accuracy, for example `from_arrays(x, y)`.
        zoo: where entries are looked for; `TLKERAS_ZOO`, else `zoo/models`, when None.
        formats: only these; all when empty.
        threads: numbers of threads to try.
        reporter: receives progress; None for silence.

    Returns:
        The rows.

    Raises:
        DataError, ZooError, ExportError: when there is no such thing, or it has no artifacts.
    """
    reporter = resolve(reporter)
    located = find_whole(target, zoo.root if zoo else None)
    chosen, unmeasured = preflight.to_benchmark(located, data if dataset is None else dataset)
    run = None if located.entry else run_folder.of(located.path)
    folder, keras_model, manifest = _of_run(run) if run else _of_entry(str(located.entry), Zoo(located.root or default_root()))
    interface = interface_of(manifest)
    stored = verification.read(folder, interface)
    task = task_of(manifest["metadata"])
    candidates = list(_candidates(folder, keras_model, manifest, formats))
    workload = Workload(
        inputs={name: array for name, array in stored.samples.inputs.items()},
        output=interface.output_names[0],
        expected=stored.expected.outputs[interface.output_names[0]],
        judge=partial(load_function(task.judge), target=target_of(manifest)),
    )
    measured_on = None
    with reporter.live():
        if chosen is not None:
            workload, measured_on = _scored(workload, task, chosen, manifest, folder, keras_model, reporter)
        rows = measured(candidates, workload, threads=threads, progress=partial(reporter.progress, "benchmark"))
    return Report(rows=tuple(rows), data=measured_on, unmeasured=unmeasured, measure=task.figure)


def _of_run(run: run_folder.Run) -> tuple[Path, Path, dict[str, Any]]:
    return run.exports, run.model, read_manifest(run.exports)


def _of_entry(name: str, zoo: Zoo) -> tuple[Path, Path, dict[str, Any]]:
    entry = zoo.get(name)
    wrong = verify_files(entry)
    if wrong:
        raise ExportError(f"{entry} has changed since it was published: {wrong[0]}")
    return entry.path, entry.path / "model.keras", dict(entry.manifest)


def _candidates(folder: Path, keras_model: Path, manifest: Mapping[str, Any], formats: Sequence[str]) -> list[Candidate]:
    artifacts = manifest["artifacts"]
    missing = [name for name in formats if name not in artifacts and name != KERAS]
    if missing or not artifacts:
        raise DataError(f"no artifact {', '.join(missing) or 'at all'} in {str(folder)!r}; there are {', '.join(artifacts) or 'none'}")
    candidates = []
    for name in list(formats) or [KERAS, *artifacts]:
        if name == KERAS:
            if keras_model.is_file():
                size = keras_model.stat().st_size
                candidates.append(Candidate(name=KERAS, path=keras_model, reader="tlkeras.jobs.benchmark:keras_reader", bytes=size))
        else:
            record = artifacts[name]
            candidates.append(Candidate(name=name, path=folder / record["path"], reader=FORMATS.get(name).reader, bytes=record["bytes"]))
    return candidates


def _scored(
    workload: Workload, task: Task, chosen: Chosen, manifest: Mapping[str, Any], folder: Path, keras_model: Path, reporter: Reporter
) -> tuple[Workload, str]:
    """Adds held-out examples, and the Keras model's scores of them."""
    model = read_keras(keras_model)
    scores = partial(keras_scores, model)
    accepted = inputs.of_metadata(manifest["metadata"], folder)
    opened = Model(scores=scores, runtime=KERAS, inputs=accepted, target=known_target(manifest, folder), task=task)
    held_out, targets, measured_on = evaluate.held_out(opened, chosen, reporter=reporter)
    expected = scores(held_out, progress=partial(reporter.progress, "score"))
    return replace(workload, score_inputs=held_out, score_expected=expected, score_targets=targets), measured_on


def keras_reader(path: str, names: list[str], threads: int | None = None) -> tuple[Callable[..., dict[str, np.ndarray]], str]:
    """Opens a `.keras` model for the benchmark's worker: `model.predict`, as people call it."""
    model = read_keras(Path(path))

    def call(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        (inputs,) = feeds.values()
        return {"scores": np.asarray(model.predict(inputs, verbose=0), "float32")}

    return call, f"keras {keras.__version__}"
