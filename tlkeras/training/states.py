"""The state of training that is on disk while it runs, so that a run that is killed goes on from there, to the same weights.

What is stored: every variable of the part that is fitted, states of random generators among them, those of its optimizer, the best epoch so
far and the rows of the history. The order of the examples and their augmentation follow from the seed and the number of the epoch. Each file
is written aside and renamed, and read only when its sha256 is right; of the epochs of a phase the newest two are there, so that a damaged
one costs an epoch, not the run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras import files
from tlkeras.errors import TrainingError, reason, shown

SHARE = 0.03  # of the time of training that writing may take, where something need not be written
GENERATIONS = 2  # states of epochs that are there of one phase
MAGIC = b"tlkeras state 1\n"
NAME = re.compile(r"(?P<key>[a-z0-9.-]+)@(?P<number>\d{6})\.state")


@dataclass(frozen=True, kw_only=True)
class State:
    """One stored state.

    Args:
        arrays: name of a group -> its arrays, in order.
        facts: values as in JSON.
    """

    arrays: Mapping[str, list[np.ndarray]]
    facts: Mapping[str, Any]


@dataclass(kw_only=True)
class States:
    """The states of a run, by key; a key has numbered states, of which the newest counts.

    Args:
        folder: of the states.
        warn: receives what is damaged.
        writes: whether this process writes them: of several workers, whose weights are equal, the first one does.
        common: numbers of whole states that this worker sees -> those that all workers see; None for a single one.
    """

    folder: Path
    warn: Callable[[str], None] = lambda text: None
    writes: bool = True
    common: Callable[[Sequence[int]], Sequence[int]] | None = None
    seconds: float = 0.0  # that all writing took since training began
    _cost: float = 0.0  # seconds of the last write that might have been left out
    _began: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Says that training begins: the time before it does not count."""
        self.seconds, self._began = 0.0, time.monotonic()

    def save(self, key: str, state: State, number: int = 0) -> None:
        """Writes a state, and removes those of the same key that are older than the one before."""
        if not self.writes:
            return
        with self._counted():
            self._write(key, state, number)

    def _write(self, key: str, state: State, number: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        body = io.BytesIO()
        arrays = {f"{group}/{index:06d}": array for group, values in state.arrays.items() for index, array in enumerate(values)}
        counts = {group: len(values) for group, values in state.arrays.items()}
        described = json.dumps({"facts": state.facts, "counts": counts}).encode()
        np.savez(body, described=np.frombuffer(described, "uint8"), **arrays)  # type: ignore[arg-type]
        content = body.getvalue()
        files.write(self.folder / f"{key}@{number:06d}.state", MAGIC + hashlib.sha256(content).digest() + content)
        for older in self._numbers(key)[:-GENERATIONS]:
            (self.folder / f"{key}@{older:06d}.state").unlink(missing_ok=True)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts the seconds of the body, once where one is inside of another."""
        started, before = time.monotonic(), self.seconds
        try:
            yield
        finally:
            self.seconds = before + time.monotonic() - started

    def due(self) -> bool:
        """Whether a write that need not be fits in: all writing, this one with it, is to take at most `SHARE` of the time."""
        trained = time.monotonic() - self._began - self.seconds
        return (self.seconds + self._cost) * (1 - SHARE) <= trained * SHARE

    def if_due(self, write: Callable[[], None]) -> None:
        """Writes what makes going on quicker and is not needed for it, unless that would take too large a share of the time."""
        if self.writes and self.due():
            before = self.seconds
            with self._counted():
                write()
            self._cost = self.seconds - before

    def save_epoch(self, key: str, state: Callable[[], State], number: int) -> None:
        """Writes the state at the end of an epoch, if it is due."""
        self.if_due(lambda: self.save(key, state(), number))

    def newest(self, key: str) -> int:
        """Returns the number of the newest state of a key; 0 where there is none."""
        return max(self._numbers(key), default=0)

    def load(self, key: str) -> State | None:
        """Returns the newest state of a key that is whole, for all workers alike; None where there is none."""
        numbers = reversed(self._numbers(key))
        if self.common is None:
            return next((state for number in numbers if (state := self._whole(key, number)) is not None), None)
        seen = {number: state for number in numbers if (state := self._whole(key, number)) is not None}
        agreed = self.common(sorted(seen))
        if seen and not agreed:
            self.warn(
                f"the checkpoints {key!r} are not seen by all workers, so they are not used; the folder of a run must be one that all share"
            )
        return seen[max(agreed)] if agreed else None

    def _whole(self, key: str, number: int) -> State | None:
        path = self.folder / f"{key}@{number:06d}.state"
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.warn(f"the checkpoint {path.name} is damaged ({shown(reason(error), 100)}); the one before it is used")
            return None

    def drop(self, key: str) -> None:
        """Removes all states of a key."""
        for number in self._numbers(key):
            (self.folder / f"{key}@{number:06d}.state").unlink(missing_ok=True)

    def of(self, key: str) -> FitStates:
        """Returns the states of one fit."""
        return FitStates(states=self, key=key)

    def _numbers(self, key: str) -> list[int]:
        matches = [NAME.fullmatch(path.name) for path in self.folder.glob("*.state")] if self.folder.is_dir() else []
        return sorted(int(match["number"]) for match in matches if match and match["key"] == key)


def _read(path: Path) -> State:
    with files.open_regular(path) as file:
        content = file.read()
    if not content.startswith(MAGIC):
        raise ValueError("it is no state of this version")
    digest, body = content[len(MAGIC) : len(MAGIC) + 32], content[len(MAGIC) + 32 :]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its content is not that of its hash")
    arrays = files.read_npz(io.BytesIO(body))
    described = files.parse_json(arrays["described"].tobytes())
    groups = {group: [arrays[f"{group}/{index:06d}"] for index in range(count)] for group, count in described["counts"].items()}
    if not isinstance(described["facts"], dict):
        raise ValueError("its facts have no names")
    return State(arrays=groups, facts=described["facts"])


@dataclass(frozen=True, kw_only=True)
class FitStates:
    """The states of one fit: at the end of epochs, and when it is done.

    Args:
        states: of the run.
        key: of the fit.
    """

    states: States
    key: str

    def part(self, index: int) -> FitStates:
        """Returns the states of one of several fits of a phase."""
        return dataclasses.replace(self, key=f"{self.key}.{index}")

    @property
    def newest(self) -> int:
        """How many epochs the newest state has; 0 where there is none."""
        return self.states.newest(self.key)

    def load(self) -> State | None:
        return self.states.load(self.key)

    def done(self, state: Callable[[], State], epochs: int, *, timed: bool) -> None:
        """Stores that the fit is done, if it is due: from the state of an epoch before it ends the same, unless the clock ended it."""
        if timed:
            self.states.save(self.key, state(), epochs)
        else:
            self.states.save_epoch(self.key, state, epochs)


def values(variables: Sequence[Any]) -> list[np.ndarray]:
    """Returns the values of variables."""
    return [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: Sequence[Any], stored: Sequence[np.ndarray]) -> None:
    """Gives variables their stored values.

    Raises:
        TrainingError: when these are not values of these variables.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [array.shape for array in stored]:
        raise TrainingError(
            f"a checkpoint has {len(stored)} variables, and the network {len(shapes)}, or of other shapes: it was written by another version of "
            "tlkeras or Keras; start the run anew with another --out"
        )
    for variable, array in zip(variables, stored, strict=True):
        variable.assign(array)


class SaveState(keras.callbacks.Callback):
    """Writes the state at the end of epochs; the last of the callbacks, so that the others have seen the epoch.

    Args:
        states: where.
        rows: returns the history so far.
        best: what keeps the best epoch; None where the last one counts.
        epochs: of the phase; the end of the last one is stored by `done`.
    """

    def __init__(self, states: FitStates, rows: Callable[[], Sequence[Mapping[str, float]]], best: Any, epochs: int):
        super().__init__()
        self._states, self._rows, self._best, self._epochs = states, rows, best, epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch + 1 < self._epochs and not self.model.stop_training:
            self._states.states.save_epoch(self._states.key, self._state, epoch + 1)

    def _state(self) -> State:
        best: dict[str, Any] = {} if self._best is None else self._best.state()
        weights = best.pop("weights", None)
        return State(
            arrays={
                "model": values(self.model.variables),
                "optimizer": values(self.model.optimizer.variables),
                **({} if weights is None else {"best": weights}),
            },
            facts={"rows": [dict(row) for row in self._rows()], "best": best, "done": False},
        )
