"""Callbacks that watch a phase while Keras fits it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import keras

from tlkeras.errors import TrainingDiverged


class StopOnNaN(keras.callbacks.Callback):
    """Raises `TrainingDiverged`, with advice, soon after the first batch whose loss is not finite.

    Keras calls it from a thread of its own: a loss that every step waits for would keep a GPU from running ahead.
    """

    async_safe = True

    def __init__(self, learning_rate: float):
        super().__init__()
        self.learning_rate = learning_rate

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            self.model.stop_training = True
            raise TrainingDiverged(
                f"the loss became {loss} at batch {batch + 1} with learning rate {self.learning_rate:g}; "
                f"try --learning-rate {self.learning_rate / 10:g}, and check data_audit.json for unusual images"
            )


class History(keras.callbacks.Callback):
    """Keeps one row per finished epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.rows.append({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})


class Progress(keras.callbacks.Callback):
    """Reports the progress of a phase, epoch by epoch and batch by batch.

    Args:
        report: called with (batches done, batches in all, text).
        steps: batches of an epoch.
    """

    def __init__(self, report: Callable[[int, int, str], None], *, steps: int):
        super().__init__()
        self.report, self.steps = report, steps
        self._epoch = self._done = 0
        self._reported = 0.0
        self._text = ""

    @property
    def _total(self) -> int:
        return self.steps * int(self.params["epochs"])

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    # At the beginning of a batch, not at its end: there Keras first waits for the figures of the step.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._done = self._epoch * self.steps + batch
        if time.monotonic() - self._reported > 0.1:
            self._reported = time.monotonic()
            self.report(self._done, self._total, self._text)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._done = (epoch + 1) * self.steps
        logs = logs or {}
        metrics = [name for name in logs if name.startswith("val_") and name != "val_loss"]
        self._text = f"epoch {epoch + 1}/{self.params['epochs']}" + "".join(
            f" {name.replace('_', ' ')} {logs[name]:.3f}" for name in ("loss", "val_loss", *metrics) if name in logs
        )
        self.report(self._done, self._total, self._text)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.report(self._total, self._total, self._text)
