"""Arrays: `.npz` with `x` and `y` (n,), sequences (n, time, features) or images uint8 (n, height, width, channels); and sequences
as a long-form CSV with `id`, `label` and features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.data.array_values import array_values
from tlkeras.data.cells import clean
from tlkeras.data.examples import Dataset, Example, Issue, array_examples, make_dataset, unlabelled
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.sources.columns import Columns, Roles
from tlkeras.data.sources.tabular import Table
from tlkeras.data.split_names import parse_split
from tlkeras.data.target import Target
from tlkeras.errors import DataError, printable, reason, shown
from tlkeras.files import read_npz


def open_npz(
    spec: str,
    *,
    target: Target | None = None,
    data_dir: str | None = None,
    columns: Columns | None = None,
    kinds: Sequence[FileKind] = (),
) -> Dataset:
    """Reads arrays of sequences or images; the optional `split` (n,) has the split of each.

    Raises:
        DataError: when arrays are missing or do not fit.
    """
    try:
        arrays = read_npz(Path(spec).expanduser())
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {spec!r}: {reason(error)}") from error
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        raise DataError(
            f"{spec!r} has the arrays {', '.join(arrays)}; expected x (n, time, features) or (n, height, width, channels), and y (n,)"
        )
    x, y, splits = arrays["x"], arrays["y"], arrays.get("split")
    if not x.ndim or not y.ndim:
        raise DataError(f"x in {spec!r} has the shape {x.shape} and y {y.shape}; expected one row of each for each example")
    name = f"arrays {spec!r}"
    if splits is not None and splits.shape != (len(x),):
        raise DataError(f"split in {spec!r} has the shape {splits.shape} and x {x.shape}; expected one split for each example")
    parts = [None] * len(x) if splits is None else [parse_split(part, f"{Path(spec).name}[{i}]") for i, part in enumerate(splits)]
    request = (columns or Columns()).request(target)
    if x.ndim == 4:
        examples, notes, draft = array_examples(x, y, name=Path(spec).name, request=request, splits=parts)
        return make_dataset(name, examples, notes=notes, target=target, draft=draft)
    if x.ndim != 3 or len(y) != len(x) or x.dtype.kind not in "fiu":
        raise DataError(f"x in {spec!r} is {x.dtype} {x.shape} and y {y.shape}; expected numbers (n, time, features) and as many labels")
    if not np.isfinite(x).all():
        raise DataError(f"x in {spec!r} contains NaN or infinite values; replace them first")
    read = array_values(y, Path(spec).name, request)
    notes = unlabelled(read, [f"{Path(spec).name}/{i}" for i in range(len(x))])
    examples = [
        Example(id=f"{i}", label=value, array=x[i].astype("float32"), split=parts[i])
        for i, value in enumerate(read.values)
        if value is not None
    ]
    return make_dataset(name, examples, notes=notes, target=target, draft=read.draft)


def of_rows(
    spec: str,
    table: Table,
    roles: Roles,
    values_of_rows: Sequence[Any],
    splits: Sequence[str | None],
    *,
    target: Target | None,
    draft: Target,
    notes: Sequence[Issue],
    groups: Sequence[str | None],
) -> Dataset:
    """Makes sequences of a long-form table: one row for each step, in their order, or in that of a column `time`.

    Args:
        spec: the table, for errors.
        table: its rows.
        roles: which of its columns is what.
        values_of_rows, splits: of each row; rows without a label are left out.
        target: what a trained model predicts, whose label maps are adhered to.
        draft: without it, what is to be predicted, without label maps.
        notes: what was noticed.
        groups: what each row belongs to; a sequence belongs to the group of its first row.

    Raises:
        DataError: for values that are no numbers, or a sequence with two labels.
    """
    head = [roles.id or "", *([roles.order] if roles.order else [])]
    steps: dict[str, list[tuple[float, list[float]]]] = {}
    known: dict[str, tuple[Any, str | None]] = {}
    belongs: dict[str, str | None] = {}
    rows_of_table = table.rows([*head, *roles.content])
    for number, label, split, group, row in zip(table.lines, values_of_rows, splits, groups, rows_of_table, strict=True):
        if label is None:
            continue
        name = printable(clean(str(row[0])))
        belongs.setdefault(name, group)
        if known.setdefault(name, (label, split)) != (label, split):
            raise DataError(
                f"{table.name}:{number}: the sequence {shown(name)} has the label {shown(label)} here and {shown(known[name][0])} before"
            )
        try:
            position = float(row[1]) if roles.order else float(number)
            steps.setdefault(name, []).append((position, [float(value) for value in row[len(head) :]]))
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{table.name}:{number}: {error}; expected numbers in {', '.join(roles.content)}") from error
    examples = [
        Example(
            id=name,
            label=known[name][0],
            split=known[name][1],
            group=belongs[name],
            array=np.array([values for _, values in sorted(rows)], "float32"),
        )
        for name, rows in steps.items()
    ]
    return make_dataset(f"table {spec!r}", examples, notes=notes, target=target, draft=draft)
