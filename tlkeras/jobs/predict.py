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
    """Predicts with a run, an artifact, an entry or an open model; arguments, result and errors are those of `tlkeras.predict`."""
    model = target if isinstance(target, Model) else open_target(target, runtime=runtime, zoo=zoo)
    yield from model.predict_each(inputs, top_k=top_k)
