"""Use an entry from Python, through any of its artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras

from tlkeras.errors import ExportError, ZooError
from tlkeras.evaluation.prediction import Model, Scorer, keras_scores, wide_scores
from tlkeras.export.checksum import SAVED_MODEL
from tlkeras.export.read import open_artifact
from tlkeras.export.runtimes import KERAS, choose, plain
from tlkeras.modalities import inputs
from tlkeras.tasks.registry import target_of, task_of
from tlkeras.weights.keras_file import read_keras
from tlkeras.zoo.manifest import HERE
from tlkeras.zoo.store import Entry, Zoo, copied, default_root, verify_files

DEFAULT = "tensorflow"  # what serves an entry


@dataclass(frozen=True, kw_only=True)
class EntryModel(Model):
    """An entry, opened in one runtime; see `tlkeras.evaluation.prediction.Model`.

    Args:
        entry: what was opened.
    """

    entry: Entry


def load(name: str, *, version: int | str | None = None, runtime: str | None = None, root: str | Path | None = None) -> EntryModel:
    """Opens an entry of the zoo.

    The hashes of all its files are checked first. Only the model is executed, in its runtime.

    Args:
        name: `NAME`, or `NAME/VERSION`.
        version: an integer, `"stable"`, or None for the promoted version, else the newest.
        runtime: `tensorflow` (the default), `keras`, `litert`, `onnxruntime`, a name that means the same (`saved_model`, `tflite`,
            `onnx`, …), or a format of the entry, for example `tflite-int8`.
        root: folder of the zoo; `TLKERAS_ZOO`, else `zoo/models`, when None.

    Returns:
        The model; call `.predict([...])`.

    Raises:
        ZooError: when there is no such entry, it is damaged, or it has no artifact for the runtime.

    Example:
        ```python
        import tlkeras.zoo

        tlkeras.zoo.load("photos").predict("holiday/*.jpg")[0].label
        ```
    """
    entry = Zoo(default_root() if root is None else root).get(name.removeprefix("zoo:"), version)
    wrong = verify_files(entry)
    if wrong:
        raise ZooError(f"{entry} has changed since it was published: {wrong[0]}; download it again, or publish it again")
    target = target_of(entry.manifest)
    if target is None:
        raise ZooError(f"{entry} has no labels: it is a pretrained network; use it as --backbone zoo:{entry.name}")
    runtime = DEFAULT if runtime is None else runtime
    scores, running, wide = _keras(entry) if plain(runtime) == KERAS else _artifact(entry, runtime)
    return EntryModel(
        entry=entry,
        runtime=running,
        target=target,
        task=task_of(entry.manifest["metadata"]),
        inputs=inputs.of_metadata(entry.manifest["metadata"], entry.path),
        scores=scores,
        wide=wide,
    )


def _artifact(entry: Entry, runtime: str) -> tuple[Scorer, str, Scorer | None]:
    try:
        name, reader = choose(runtime, entry.manifest["artifacts"], of=str(entry), keras=_has_keras(entry))
    except ExportError as error:
        raise ZooError(str(error)) from None
    with _copied(entry, entry.manifest["artifacts"][name]["path"]) as path:
        predictor = open_artifact(path, reader)
    return predictor.scores, predictor.runtime, predictor.scores_and_features if predictor.gives_features else None


def _has_keras(entry: Entry) -> bool:
    return "model.keras" in entry.files


def _keras(entry: Entry) -> tuple[Scorer, str, Scorer | None]:
    if not _has_keras(entry):
        raise ZooError(f"{entry} has no model.keras; use another runtime")
    with _copied(entry, "model.keras") as path:
        model = read_keras(path)
    return partial(keras_scores, model), f"keras {keras.__version__}", wide_scores(model)


@contextmanager
def _copied(entry: Entry, path: str) -> Iterator[Path]:
    """Yields a copy of an artifact, as the manifest says its path, that is what was published; see `store.copied`."""
    names = [name for name in entry.files if name.partition("/")[0] in SAVED_MODEL] if path == HERE else [path]
    with copied(entry, names) as copies:
        yield copies if path == HERE else copies / path
