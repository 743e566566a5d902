"""Arrays: `.npz` with `x` and `y` (n,), sequences (n, time, features) or pictures uint8 (n, height, width, channels); and sequences
as a long-form CSV with `id`, `label` and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.data.examples import Dataset, Example, from_arrays, make_dataset
from tlkeras.data.sources.columns import Columns
from tlkeras.errors import DataError

IDS = ("id", "sequence", "series")
ORDER = ("time", "step", "t", "timestamp")


def open_npz(spec: str, *, labels: Sequence[str] | None = None, data_dir: str | None = None, columns: Columns | None = None) -> Dataset:
    """Reads arrays of sequences or pictures; `split` (n,) says what is held out, where it is there.

    Raises:
        DataError: when arrays are missing or do not fit.
    """
    try:
        with np.load(Path(spec).expanduser(), allow_pickle=False) as held:
            arrays = dict(held)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {spec!r}: {error}") from error
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        raise DataError(
            f"{spec!r} has the arrays {', '.join(arrays)}; expected x (n, time, features) or (n, height, width, channels), and y (n,)"
        )
    x, y, splits = arrays["x"], arrays["y"], arrays.get("split")
    if x.ndim == 4:
        found = from_arrays(x, [str(one) for one in y], name=Path(spec).name)
        parts = (None if splits is None else str(splits[i]) for i in range(len(x)))
        split = (replace(one, split=part) for one, part in zip(found.examples, parts, strict=True))
        return make_dataset(f"arrays {spec!r}", split, labels=labels)
    if x.ndim != 3 or y.shape != (len(x),) or x.dtype.kind not in "fiu":
        raise DataError(f"x in {spec!r} is {x.dtype} {x.shape} and y {y.shape}; expected numbers (n, time, features) and as many labels")
    if not np.isfinite(x).all():
        raise DataError(f"x in {spec!r} has values that are no numbers; fill them first")
    examples = (
        Example(id=f"{i}", label=str(y[i]), array=x[i].astype("float32"), split=None if splits is None else str(splits[i]))
        for i in range(len(x))
    )
    return make_dataset(f"arrays {spec!r}", examples, labels=labels)


def id_column(names: Sequence[str]) -> str | None:
    """Returns the column that tells sequences apart, where a table has one."""
    return next((name for name in names if name.lower() in IDS), None)


def of_rows(
    spec: str, names: Sequence[str], rows: Sequence[tuple[int, Mapping[str, Any]]], label: str, labels: Sequence[str] | None
) -> Dataset:
    """Makes sequences of a long-form table: one row for each step, in their order, or in that of a column `time`.

    Raises:
        DataError: for values that are no numbers, or a sequence with two labels.
    """
    key = id_column(names) or ""
    order = next((name for name in names if name.lower() in ORDER), None)
    features = [name for name in names if name not in (key, label, order, "split")]
    steps: dict[str, list[tuple[float, list[float]]]] = {}
    told: dict[str, tuple[str, str | None]] = {}
    for number, row in rows:
        name, held = str(row[key]), (str(row[label]), row.get("split") or None)
        if told.setdefault(name, held) != held:
            raise DataError(
                f"{Path(spec).name}:{number}: the sequence {name!r} has the label {held[0]!r} here and {told[name][0]!r} before"
            )
        try:
            place = float(row[order]) if order else float(number)
            steps.setdefault(name, []).append((place, [float(row[one]) for one in features]))
        except (TypeError, ValueError) as error:
            raise DataError(f"{Path(spec).name}:{number}: {error}; expected numbers in {', '.join(features)}") from error
    examples = [
        Example(id=name, label=told[name][0], split=told[name][1], array=np.array([values for _, values in sorted(found)], "float32"))
        for name, found in steps.items()
    ]
    return make_dataset(f"table {spec!r}", examples, labels=labels)
