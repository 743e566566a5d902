"""Callbacks that watch a phase while Keras fits it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras.errors import TrainingDiverged

SAVE_EVERY = 30.0  # seconds between two writes of the best weights; a head is better every 0.1 s at first


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


class KeepBest(keras.callbacks.Callback):
    """Keeps the weights of the best epoch, stops after `patience` epochs without a better one, restores the best.

    Args:
        trained: the model that holds the weights worth keeping (the whole task model); None where this process writes none.
        before_save: puts what is fitted into `trained`, where the one is a copy of the other.
        monitor: `val_loss`, or `loss` where nothing is held out.
        patience: epochs without improvement before the phase stops.
        path: where the best weights are written, at most every `SAVE_EVERY` seconds.
    """

    def __init__(
        self, trained: keras.Model | None, *, monitor: str, patience: int, path: Path, before_save: Callable[[], None] = lambda: None
    ):
        super().__init__()
        self.trained, self.monitor, self.patience, self.path, self.before_save = trained, monitor, patience, path, before_save
        self.best, self.best_epoch, self.epochs = math.inf, 0, 0
        self._weights: list[np.ndarray] | None = None
        self._written = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epochs = epoch + 1
        value = (logs or {}).get(self.monitor, math.inf)
        if value < self.best:
            self.best, self.best_epoch = value, epoch + 1
            self._weights = self._moving_weights()
            if time.monotonic() - self._written > SAVE_EVERY:
                self.save()
        elif epoch + 1 - self.best_epoch >= self.patience:
            self.model.stop_training = True

    def _variables(self) -> list[keras.Variable]:
        # All of the fitted part: trainable weights and, where BatchNorm trains, its statistics.
        return self.model.weights

    def _moving_weights(self) -> list[np.ndarray]:
        return [v.numpy() for v in self._variables()]

    def restore(self) -> None:
        """Puts the best epoch's weights back; does nothing before the first epoch ended."""
        for variable, value in zip(self._variables(), self._weights or [], strict=False):
            variable.assign(value)

    def save(self) -> None:
        """Writes the current weights of the whole model to a temporary file, then renames it."""
        if self.trained is None:
            return
        self.before_save()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name("writing." + self.path.name)
        self.trained.save_weights(aside)
        aside.replace(self.path)
        self._written = time.monotonic()


class Progress(keras.callbacks.Callback):
    """Reports the progress of a phase, epoch by epoch and batch by batch.

    Args:
        tell: called with (batches done, batches in all, text).
        steps: batches of an epoch.
    """

    def __init__(self, tell: Callable[[int, int, str], None], *, steps: int):
        super().__init__()
        self.tell, self.steps = tell, steps
        self._epoch = self._done = 0
        self._told = 0.0
        self._text = ""

    @property
    def _all(self) -> int:
        return self.steps * int(self.params["epochs"])

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    # At the beginning of a batch, not at its end: there Keras first waits for the figures of the step.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._done = self._epoch * self.steps + batch
        if time.monotonic() - self._told > 0.1:
            self._told = time.monotonic()
            self.tell(self._done, self._all, self._text)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._done = (epoch + 1) * self.steps
        logs = logs or {}
        metrics = [name for name in logs if name.startswith("val_") and name != "val_loss"]
        self._text = f"epoch {epoch + 1}/{self.params['epochs']}" + "".join(
            f" {name.replace('_', ' ')} {logs[name]:.3f}" for name in ("loss", "val_loss", *metrics) if name in logs
        )
        self.tell(self._done, self._all, self._text)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.tell(self._all, self._all, self._text)
