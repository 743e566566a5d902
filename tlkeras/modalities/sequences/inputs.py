"""Sequences of numbers as a model accepts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset, Example, Issue
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.row_cache import RowCache
from tlkeras.data.store import Progress, Store
from tlkeras.errors import DataError
from tlkeras.modalities.inputs import check_modality, load_array
from tlkeras.modalities.sequences import arrays
from tlkeras.modalities.sequences.files import FILES
from tlkeras.modalities.sequences.sparkline import sparkline


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Sequences of `time` steps of `features` numbers."""

    time: int
    features: int
    modality: str = "sequence"
    noun: str = "sequence"
    files: FileKind = FILES

    def materialise(
        self,
        dataset: Dataset,
        *,
        cache_dir: Path | None = None,
        strict: bool = False,
        progress: Progress | None = None,
        cache: RowCache | None = None,
    ) -> Store:
        check_modality(dataset, self.modality)
        return arrays.materialise(dataset, time=self.time, features=self.features)

    def is_batch(self, array: np.ndarray) -> bool:
        return array.ndim == 3

    def read(self, value: Any, name: str | None = None) -> np.ndarray:
        name = name or (str(value) if isinstance(value, str | Path) else "the input")
        if isinstance(value, str | Path):
            value = load_array(value, name, f"an .npy file, or a CSV of numbers, (time, {self.features})")
        if not hasattr(value, "__array__"):
            raise DataError(f"{name} is {type(value).__name__}; expected a path, or an array (time, {self.features})")
        array = np.asarray(value)
        if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != self.features or not len(array):
            raise DataError(f"{name} has the shape {array.shape}, {array.dtype}; expected numbers (time, {self.features})")
        return arrays.fitted(array.astype("float32"), self.time)[None]

    def stack(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(inputs)

    def encoded(self, example: Example) -> bytes:
        return b""

    def thumbnail(self, example: Example, array: np.ndarray) -> str:
        return sparkline(array if example.array is None else example.array, example.id)

    def metadata(self) -> dict[str, str]:
        return {"modality": "sequence", "time": str(self.time), "features": str(self.features)}

    def settings(self) -> dict[str, Any]:
        return {}

    def save(self, folder: Path) -> None:
        """Sequences need nothing beside a model."""

    def serving(self) -> dict[str, Any]:
        return {}

    def synthetic(self, count: int, label: str) -> list[Example]:
        rng = np.random.default_rng(0)
        shape = (self.time, self.features)
        return [Example(id=f"synthetic/{i}", label=label, array=rng.normal(size=shape).astype("float32")) for i in range(count)]


def of_task(model: Any, tokens: Any, config: RunConfig, dataset: Dataset) -> tuple[Sequences, list[Issue]]:
    """See `Modality.of_task`."""
    return of_model(model, config, None), []


def of_model(model: Any, config: RunConfig, folder: Path | None) -> Sequences:
    """See `Modality.of_model`."""
    _, time, features = model.inputs[0].shape
    return Sequences(time=int(time), features=int(features))


def of_metadata(metadata: Mapping[str, str], folder: Path) -> Sequences:
    """See `Modality.of_metadata`."""
    return Sequences(time=int(metadata["time"]), features=int(metadata["features"]))


def facts(dataset: Dataset, config: RunConfig) -> dict[str, Any]:
    """See `Modality.facts`."""
    return arrays.described(dataset, config.model.max_length)
