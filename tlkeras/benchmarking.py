"""What `tlkeras benchmark` measures: the artifacts of a run or of an entry of the zoo, and the Keras model itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import runs, scoring
from tlkeras.data.sources.registry import open_source
from tlkeras.data.store import materialise
from tlkeras.errors import DataError, ExportError
from tlkeras.export import evidence
from tlkeras.export.benchmark import Candidate, Row, Task
from tlkeras.export.benchmark import benchmark as measured
from tlkeras.export.formats import FORMATS
from tlkeras.export.manifest import interface_of, read_manifest
from tlkeras.reporting import SILENT, Reporter
from tlkeras.zoo.store import Zoo, default_root, verify_files

KERAS = "keras"


@dataclass(frozen=True, kw_only=True)
class Report:
    """The rows, and on what the accuracy was measured (None: not measured)."""

    rows: tuple[Row, ...]
    data: str | None

    def to_dict(self) -> dict[str, Any]:
        return {"data": self.data, "rows": [row.to_dict() for row in self.rows]}


def benchmark(
    target: str | Path,
    *,
    data: str | None = None,
    zoo: Zoo | None = None,
    formats: Sequence[str] = (),
    threads: Sequence[int] = (1, 2),
    reporter: Reporter = SILENT,
) -> Report:
    """Measures every artifact of a run or an entry, side by side.

    Args:
        target: folder of a run, or NAME or NAME/VERSION of an entry.
        data: source whose examples (the held-out ones, where it has such) give the accuracy; a run's own when None.
        zoo: where entries are looked for; `TLKERAS_ZOO`, else `zoo/models`, when None.
        formats: only these; all when empty.
        threads: numbers of threads to try.
        reporter: hears of progress.

    Returns:
        The rows.

    Raises:
        DataError, ZooError, ExportError: when there is no such thing, or it has no artifacts.
    """
    run = runs.of(Path(target)) if Path(target).is_dir() else None
    folder, keras_model, manifest = _of_run(run) if run else _of_entry(str(target), zoo or Zoo(default_root()))
    interface = interface_of(manifest)
    kept = evidence.read(folder, interface)
    candidates = list(_candidates(folder, keras_model, manifest, formats))
    task = Task(
        inputs={name: array for name, array in kept.samples.inputs.items()},
        output=interface.output_names[0],
        expected=kept.expected.outputs[interface.output_names[0]],
    )
    told = None
    if data is not None or run:
        task, told = _scored(task, run.root if run else None, data, manifest, keras_model, reporter)
    rows = measured(candidates, task, threads=threads, progress=partial(reporter.progress, "benchmark"))
    return Report(rows=tuple(rows), data=told)


def _of_run(run: runs.Run) -> tuple[Path, Path, dict[str, Any]]:
    return run.exports, run.model, read_manifest(run.exports)


def _of_entry(name: str, zoo: Zoo) -> tuple[Path, Path, dict[str, Any]]:
    entry = zoo.get(name)
    wrong = verify_files(entry)
    if wrong:
        raise ExportError(f"{entry} is not as it was published: {wrong[0]}")
    return entry.path, entry.path / "model.keras", dict(entry.manifest)


def _candidates(folder: Path, keras_model: Path, manifest: Mapping[str, Any], formats: Sequence[str]) -> list[Candidate]:
    there = manifest["artifacts"]
    missing = [name for name in formats if name not in there and name != KERAS]
    if missing or not there:
        raise DataError(f"no artifact {', '.join(missing) or 'at all'} in {str(folder)!r}; there are {', '.join(there) or 'none'}")
    wanted = list(formats) or [KERAS, *there]
    found = []
    for name in wanted:
        if name == KERAS:
            if keras_model.is_file():
                size = keras_model.stat().st_size
                found.append(Candidate(name=KERAS, path=keras_model, reader="tlkeras.benchmarking:keras_reader", bytes=size))
        else:
            one = there[name]
            found.append(Candidate(name=name, path=folder / one["path"], reader=FORMATS.get(name).reader, bytes=one["bytes"]))
    return found


def _scored(
    task: Task, root: Path | None, data: str | None, manifest: Mapping[str, Any], keras_model: Path, reporter: Reporter
) -> tuple[Task, str]:
    """Adds held-out examples, and what the Keras model says of them."""
    if root is not None:
        images, y, told = scoring.held_out(root, data, reporter=reporter)
    else:
        size, resize = int(manifest["metadata"]["image_size"]), manifest["metadata"]["resize"]
        dataset = open_source(str(data), labels=tuple(manifest["labels"]))
        store = materialise(dataset, size=size, resize=resize, progress=partial(reporter.progress, "decode"))
        images, y, told = np.asarray(store.images), np.asarray(store.y), f"{dataset.name}, all {len(store)} examples"
    scores = None
    if keras_model.is_file():
        from tlkeras.backbones.weights import read_keras

        scores = scoring.keras_scores(read_keras(keras_model), images, progress=partial(reporter.progress, "score"))
    return Task(
        inputs=task.inputs, output=task.output, expected=task.expected, score_inputs=images, score_expected=scores, score_labels=y
    ), told


def keras_reader(path: str, names: list[str], threads: int | None = None) -> tuple[Callable[..., dict[str, np.ndarray]], str]:
    """Opens a `.keras` model for the benchmark's worker: `model.predict`, as people call it."""
    from tlkeras.startup import load_tensorflow

    load_tensorflow()
    import keras
    import tensorflow as tf

    from tlkeras.backbones.weights import read_keras

    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = read_keras(Path(path))

    def call(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        (given,) = feeds.values()
        return {"scores": np.asarray(model.predict(given, verbose=0), "float32")}

    return call, f"keras {keras.__version__}"
