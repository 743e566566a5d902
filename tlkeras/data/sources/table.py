"""A CSV file with `path,label` columns, and `split` where the table says what is held out."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from tlkeras.data.examples import Dataset, Example, Issue, make_dataset
from tlkeras.data.sources.folder import SPLITS
from tlkeras.errors import DataError


def open_csv(spec: str, *, labels: Sequence[str] | None = None, data_dir: str | None = None) -> Dataset:
    """Lists the rows of a CSV file; paths are relative to it.

    Raises:
        DataError: without `path` and `label` columns, in another encoding than UTF-8, or with an unknown split.
    """
    file = Path(spec).expanduser()
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            columns = list(reader.fieldnames or [])
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"cannot read {spec!r} as CSV in UTF-8: {error}") from error
    if columns and not {"path", "label"} <= set(columns):
        raise DataError(
            f"{spec!r} has the columns {', '.join(map(str, columns))}; expected path and label (and split, where it says what is held out)"
        )
    examples, notes = [], []
    seen: set[str] = set()
    for number, row in rows:
        example = _example(row, file, number, seen)
        if isinstance(example, Issue):
            notes.append(example)
        else:
            examples.append(example)
    return make_dataset(f"table {spec!r}", examples, notes=notes, labels=labels)


def _example(row: dict[str, str | None], file: Path, number: int, seen: set[str]) -> Example | Issue:
    path, label, split = ((row.get(name) or "").strip() for name in ("path", "label", "split"))
    if not path or not label:
        return Issue(kind="bad-row", path=f"{file.name}:{number}", reason=f"no {'path' if not path else 'label'}", action="skipped")
    if split and split.lower() not in SPLITS:
        raise DataError(f"{file.name}:{number} has split {split!r}; expected train, val or test")
    # A path may stand in two rows, with two labels: the line keeps their ids apart.
    name = f"{path}#{number}" if path in seen else path
    seen.add(path)
    return Example(id=name, label=label, path=file.parent / path, split=SPLITS[split.lower()] if split else None)
