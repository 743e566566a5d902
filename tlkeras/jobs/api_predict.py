"""`tlkeras.load` and `tlkeras.predict`. What is wrong with names is reported before TensorFlow loads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkeras.jobs import lookup
from tlkeras.startup import load_tensorflow

if TYPE_CHECKING:
    from tlkeras.evaluation.prediction import Model, Prediction


def load(target: str | Path, *, runtime: str | None = None, zoo: str | Path | None = None) -> Model:
    """Opens a run, an artifact or an entry of the zoo once, to predict with it many times.

    Args:
        target: folder of a run, `model.keras` of a run, an artifact (SavedModel folder, `.tflite`, `.onnx`), or an entry of the
            zoo: `NAME`, `NAME/VERSION`, `zoo:NAME`.
        runtime: `keras`, `tensorflow`, `litert`, `onnxruntime`, a name that means the same (`saved_model`, `tflite`, `onnx`, …),
            or a format, for example `tflite-int8`. When None, that of the artifact; Keras for a run, TensorFlow for an entry.
        zoo: folder of the zoo; `TLKERAS_ZOO`, else `zoo/models`, when None.

    Returns:
        The model: `.predict(inputs, top_k=…)` answers, `.labels` and `.runtime` describe it.

    Raises:
        DataError, ZooError: when there is no such thing.
        ExportError: when an artifact is damaged, has no manifest beside it, or has no artifact for the runtime.

    Example:
        ```python
        model = tlkeras.load("runs/photos")
        model.predict("holiday/*.jpg", top_k=3)
        ```
    """
    lookup.check_runtime(lookup.find(target, zoo), runtime)
    load_tensorflow()
    from tlkeras.jobs import opening as job

    return job.load(target, runtime=runtime, zoo=zoo)


def predict(
    target: str | Path | Model,
    inputs: Any,
    *,
    top_k: int | None = None,
    runtime: str | None = None,
    zoo: str | Path | None = None,
) -> Iterator[Prediction]:
    """Predicts images, texts or sequences, one after the other. An input that cannot be read gives an error, and prediction continues.

    Args:
        target: folder of a run, `.keras` model, artifact, or entry of the zoo; see `tlkeras.load`. Or an open model, to predict several times.
        inputs: one input or several: paths, folders, patterns, encoded images, arrays, PIL images, or texts; see `Model.predict`.
        top_k: only the best labels, best first; all labels when None.
        runtime: see `tlkeras.load`.
        zoo: folder of the zoo.

    Returns:
        An iterator over the predictions, which are computed as it advances.

    Raises:
        DataError, ZooError, ExportError: see `tlkeras.load`.

    Example:
        ```python
        for answer in tlkeras.predict("runs/photos", "holiday/*.jpg", top_k=1):
            print(answer.file, answer.label)
        ```
    """
    if isinstance(target, str | Path):
        lookup.check_runtime(lookup.find(target, zoo), runtime)
    load_tensorflow()
    from tlkeras.jobs import predict as job

    return job.predict(target, inputs, top_k=top_k, runtime=runtime, zoo=zoo)
