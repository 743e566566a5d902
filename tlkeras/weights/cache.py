"""The cache of converted weights. Importing this module imports no Keras."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from tlkeras.weights.sources import Row, Status


def status(rows: Iterable[Row]) -> list[Status]:
    """Returns every source of weights of some rows, with its state."""
    return [source.status(row) for row in rows for source in row.weights]


def clear(rows: Iterable[Row]) -> int:
    """Deletes the cached weights of some rows; returns the number of bytes freed."""
    freed = 0
    for source in status(rows):
        freed += source.ours
        for path in source.paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return freed
