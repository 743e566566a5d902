"""Predict with a run, an artifact or an entry of the zoo, in its own runtime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlkeras.evaluation.prediction import Model, Prediction
from tlkeras.jobs.opening import open_target


def predict(
    target: str | Path | Model,
    inputs: Any,
    *,
    top_k: int | None = None,
    runtime: str | None = None,
    zoo: str | Path | None = None,
) -> Iterator[Prediction]:
    """Predicts images, texts or sequences, one after the other. An input that cannot be read gives an error, and prediction continues.

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
