"""Sources whose files are examples of any modality, and which modality examples are of."""

from __future__ import annotations

from tlkeras.data.examples import Dataset
from tlkeras.data.sources.columns import Columns
from tlkeras.data.sources.registry import open_dataset
from tlkeras.data.target import Target
from tlkeras.modalities.registry import MODALITIES, Modality


def open_source(spec: str | None, *, target: Target | None = None, data_dir: str | None = None, columns: Columns | None = None) -> Dataset:
    """Lists the examples of a source; no image is read yet, except from sources that are arrays.

    Args:
        spec: a `--data` value; None means the built-in digits.
        target: what a model predicts, whose label maps are kept to.
        data_dir: where tensorflow-datasets keeps prepared data.
        columns: how a table is read, and which of its columns is what.

    Raises:
        DataError: when there is no such source or it holds nothing to learn from.

    Example:
        >>> dataset = open_source("digits")
        >>> len(dataset.examples), dataset.labels[:3]
        (1797, ('0', '1', '2'))
    """
    kinds = [row.files for row in MODALITIES if row.files is not None]
    return open_dataset(spec, kinds=kinds, target=target, data_dir=data_dir, columns=columns)


def modality_of(dataset: Dataset) -> Modality:
    """Returns the modality of a dataset: that of its first example, by the last row that owns it."""
    return next(row for row in reversed(list(MODALITIES)) if row.owns(dataset.examples[0]))
