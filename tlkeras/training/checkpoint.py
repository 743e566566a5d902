"""The weights of the best epoch: kept in memory, written to a checkpoint now and then, put back at the end of a phase."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras import files

SAVE_EVERY = 30.0  # seconds between two writes of the best weights; a head is better every 0.1 s at first


def at_once(write: Callable[[], None]) -> None:
    """Writes."""
    write()


class KeepBest(keras.callbacks.Callback):
    """Keeps the weights of the best epoch, stops after `patience` epochs without a better one, restores the best.

    Args:
        trained: the model that holds the weights worth keeping (the whole task model); None where this process writes none.
        before_save: puts what is fitted into `trained`, where the one is a copy of the other.
        monitor: `val_loss`, or `loss` where nothing is held out.
        patience: epochs without improvement before the phase stops.
        path: where the best weights are written, at most every `SAVE_EVERY` seconds.
        within: calls what writes them, if it may take its time now.
    """

    def __init__(
        self,
        trained: keras.Model | None,
        *,
        monitor: str,
        patience: int,
        path: Path,
        before_save: Callable[[], None] = lambda: None,
        within: Callable[[Callable[[], None]], None] = at_once,
    ):
        super().__init__()
        self.trained, self.monitor, self.patience, self.path = trained, monitor, patience, path
        self.before_save, self.within = before_save, within
        self.best, self.best_epoch = math.inf, 0
        self._weights: list[np.ndarray] | None = None
        self._written = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        value = (logs or {}).get(self.monitor, math.inf)
        if value < self.best:
            self.best, self.best_epoch = value, epoch + 1
            # All of the fitted part: trainable weights and, where BatchNorm trains, its statistics.
            self._weights = [variable.numpy() for variable in self.model.weights]
            if time.monotonic() - self._written > SAVE_EVERY:
                self.within(self.save)
        elif epoch + 1 - self.best_epoch >= self.patience:
            self.model.stop_training = True

    def state(self) -> dict[str, Any]:
        """Returns what `resume` needs: the best value and epoch, and its weights where there are any."""
        return {"best": None if math.isinf(self.best) else self.best, "epoch": self.best_epoch, "weights": self._weights}

    def resume(self, state: Mapping[str, Any], weights: Sequence[np.ndarray] | None) -> None:
        """Continues from what `state` returned."""
        self.best = math.inf if state["best"] is None else float(state["best"])
        self.best_epoch = int(state["epoch"])
        self._weights = None if weights is None else list(weights)

    def restore(self) -> None:
        """Puts the best epoch's weights back; does nothing before there is one.

        Raises:
            ValueError: when the model has other variables than it had in that epoch.
        """
        if self._weights is None:
            return
        for variable, value in zip(self.model.weights, self._weights, strict=True):
            variable.assign(value)

    def save(self) -> None:
        """Writes the current weights of the whole model, as a whole file or not at all."""
        if self.trained is None:
            return
        self.before_save()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with files.aside(self.path) as temporary:
            self.trained.save_weights(temporary)
        self._written = time.monotonic()
