"""The inputs of a model: how a source becomes a store, and how one value from a user becomes an input."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset, Example
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.row_cache import RowCache
from tlkeras.data.store import Progress, Store
from tlkeras.errors import DataError, reason
from tlkeras.files import read_npy, read_regular
from tlkeras.modalities.registry import DEFAULT, MODALITIES
from tlkeras.modalities.sources import modality_of
from tlkeras.registry import load_function


class Inputs(Protocol):
    """The inputs that a model accepts."""

    @property
    def modality(self) -> str:
        """Name in `MODALITIES`."""

    def materialise(
        self,
        dataset: Dataset,
        *,
        cache_dir: Path | None = None,
        strict: bool = False,
        progress: Progress | None = None,
        cache: RowCache | None = None,
    ) -> Store:
        """Turns every example of a source into an input of the model.

        Args:
            dataset: what a source gave.
            cache_dir: where inputs go that are too large for memory.
            strict: whether an example that cannot be read is an error.
            progress: called with (done, all).
            cache: where inputs that took time to make are kept between runs.
        """

    @property
    def noun(self) -> str:
        """What one input is called in messages."""

    @property
    def files(self) -> FileKind:
        """The files that may be such inputs, in the folders that a user passes."""

    def is_batch(self, array: np.ndarray) -> bool:
        """Whether an array holds several inputs."""

    def read(self, value: Any, name: str | None = None) -> np.ndarray:
        """Returns one input, (1, …), from a user's value.

        Args:
            value: a path; the content of a file; an array; for images a PIL image; for texts the text.
            name: its name in error messages.

        Raises:
            DataError: when it cannot be read.
        """

    def stack(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Returns several inputs, each (1, …), as one array (n, …)."""

    def encoded(self, example: Example) -> bytes:
        """Returns an example as clients send it: an encoded image, or a text in UTF-8."""

    def thumbnail(self, example: Example, array: np.ndarray) -> str:
        """Returns an example as a small part of an HTML page, without scripts: at most a few kB.

        Args:
            example: as the source gave it.
            array: its input of the model, without the batch dimension.
        """

    def metadata(self) -> dict[str, str]:
        """Returns the metadata stored with the artifacts."""

    def settings(self) -> dict[str, Any]:
        """Returns the config keys that were fitted to the data."""

    def save(self, folder: Path) -> None:
        """Writes what must stand beside a stored model, such as a vocabulary, into the folder of a run."""

    def serving(self) -> dict[str, Any]:
        """Returns the fields of an `ExportSpec` that depend on the inputs: what artifacts need besides the model."""

    def synthetic(self, count: int, label: str) -> list[Example]:
        """Returns examples of a label that are good enough to compare an artifact with its model."""


def of_metadata(metadata: Mapping[str, str], folder: Path) -> Inputs:
    """Returns the inputs that an artifact accepts.

    Args:
        metadata: metadata of its manifest.
        folder: folder of the manifest and, for a text model, the vocabulary.

    Raises:
        DataError: when the metadata is incomplete, as for models of anything but images of a fixed size, texts or sequences.
    """
    name = metadata.get("modality", DEFAULT)
    row = MODALITIES.get(name if name in MODALITIES else DEFAULT)
    try:
        return load_function(row.of_metadata)(metadata, folder)
    except DataError:
        raise
    except (ValueError, OverflowError) as error:
        raise DataError(f"the manifest in {str(folder)!r} has metadata that are none ({reason(error)}); export again") from error
    except (KeyError, TypeError) as error:
        raise DataError(
            f"the manifest in {str(folder)!r} has no {error.args[0]!r}: its model accepts something other than images of a fixed size, texts or "
            "sequences; call the artifact in its own runtime"
        ) from error


def of_model(model: Any, config: RunConfig, folder: Path) -> Inputs:
    """Returns the inputs of a stored Keras model, by the name of its input tensor.

    Args:
        model: with one input.
        config: of its run.
        folder: folder of the run.
    """
    (tensor,) = model.inputs
    row = next((row for row in MODALITIES if row.tensor == tensor.name), MODALITIES.get(DEFAULT))
    return load_function(row.of_model)(model, config, folder)


def check_modality(dataset: Dataset, modality: str) -> None:
    """Rejects texts for an image model, and vice versa.

    Raises:
        DataError: naming a backbone that accepts the examples.
    """
    row = modality_of(dataset)
    if row.name != modality:
        raise DataError(
            f"{dataset.name} contains {row.name} examples and the backbone accepts {modality}; "
            f"use a backbone that accepts them, for example --backbone {row.backbone}"
        )


LARGEST_CSV = 512 * 1024**2  # bytes of a file of numbers, which is kept in memory


def load_array(path: str | Path, name: str, expected: str) -> np.ndarray:
    """Reads an .npy file, or numbers separated by commas.

    Args:
        path: of the file.
        name: its name in the error.
        expected: what the error says was expected.

    Raises:
        DataError: when it cannot be read.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".csv":
            return np.loadtxt(io.StringIO(read_regular(path, LARGEST_CSV).decode("utf-8-sig")), delimiter=",", ndmin=2)
        return read_npy(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())[:160]
        raise DataError(f"{name}: {reason}; expected {expected}") from error
