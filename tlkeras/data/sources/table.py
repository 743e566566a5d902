"""Tables: CSV, TSV, JSONL or Parquet of texts, image files, encoded images, pixels or sequences, with the target of each row."""

from __future__ import annotations

import csv
import math
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tlkeras.data.cells import clean, is_missing
from tlkeras.data.examples import Dataset, Example, Issue, losses, make_dataset, tallied
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.sources.columns import Columns, Roles, pixel_order
from tlkeras.data.sources.delimited import read_delimited
from tlkeras.data.sources.encoding import UNDECODABLE
from tlkeras.data.sources.files import FileIndex
from tlkeras.data.sources.sequences import of_rows
from tlkeras.data.sources.tabular import Table, read_json_lines, read_parquet
from tlkeras.data.split_names import parse_split
from tlkeras.data.target import Target
from tlkeras.data.values import Column, Request, Values, read_values
from tlkeras.errors import DataError, printable, reason

NOT_UTF8 = "the line is not UTF-8; pass --encoding NAME if it is another"
Content = dict[str, Any] | Issue  # fields of an `Example`, or why there is none


def open_table(
    spec: str,
    *,
    target: Target | None = None,
    data_dir: str | None = None,
    columns: Columns | None = None,
    kinds: Sequence[FileKind] = (),
) -> Dataset:
    """Lists the rows of a table; paths are relative to it.

    Raises:
        DataError: when it cannot be read, columns are missing, a split is unknown, or cells do not fit the target.
    """
    file = Path(spec).expanduser()
    columns = columns or Columns()
    name = f"table {spec!r}"
    table = read_table(file, spec, columns)
    if not table.names:
        return make_dataset(name, [], target=target)
    files = FileIndex(file.parent, {ending for kind in kinds if kind.read is None for ending in kind.endings})
    roles = columns.roles(spec, table, files.has, target)
    table = table.checked(next(iter(roles.labels)))
    where = [f"{table.name}:{line}" for line in table.lines]
    cells = list(table.rows([*roles.labels, *([roles.split] if roles.split else [])]))
    read, bad_labels = _values(spec, table, roles, cells, where, columns.request(target))
    splits = [parse_split(row[-1], row_id) for row, row_id in zip(cells, where, strict=True)] if roles.split else [None] * len(cells)
    groups = _groups(table, roles)
    notes = [*table.notes, *_ungrouped(table, roles, groups)]
    notes += [Issue(kind="label-separator", path=f"column {column!r}", reason=note, action="reported") for column, note in read.notes]
    names = list(roles.labels)
    if roles.id is not None:  # its rows are the steps of several examples
        notes += [_unlabelled(where[i], names, cells[i]) for i, value in enumerate(read.values) if value is None]
        return of_rows(spec, table, roles, read.values, splits, target=target, draft=read.draft, notes=notes, groups=groups)
    examples: list[Example] = []
    lost: Counter[Any] = Counter()
    contents = CONTENTS[roles.kind](table, roles, files, where, notes)
    for index, (row_id, value, split, content) in enumerate(zip(where, read.values, splits, contents, strict=True)):
        if index in bad_labels:
            issue = Issue(kind="bad-utf8", path=row_id, reason=NOT_UTF8, action="skipped")
        elif isinstance(content, Issue):
            issue = content if value is not None or content.kind != "empty-text" else _unlabelled(row_id, names, cells[index])
        elif value is None:
            issue = _unlabelled(row_id, names, cells[index])
        else:
            examples.append(Example(label=value, split=split, group=groups[index], **{"id": row_id, **content}))
            continue
        lost[value] += 1
        notes.append(issue)
    notes += _losses(table, read, lost)
    if not examples and (bad := [note for note in notes if note.action == "skipped"]):
        raise DataError(f"{name} has no usable row; {len(bad):,} are skipped, the first is {bad[0].path}: {bad[0].reason}")
    if target is None:
        _check_classes(name, examples, lost, notes, read.draft)
    return make_dataset(name, _unique(examples), notes=notes, target=target, draft=read.draft)


def read_table(file: Path, spec: str, columns: Columns) -> Table:
    """Reads a table of any kind.

    Args:
        file: of the table.
        spec: what people called it, for errors.
        columns: how it is read.

    Raises:
        DataError: when it cannot be read.
    """
    read = READERS.get(file.suffix.lower(), read_delimited)
    try:
        table = read(file, spec, columns)
    except DataError as error:
        raise DataError(str(error) if repr(spec) in str(error) or file.name in str(error) else f"cannot read {spec!r}: {error}") from error
    except (csv.Error, OSError, ValueError) as error:
        raise DataError(f"cannot read {spec!r} as {file.suffix[1:].upper()}: {reason(error)}") from error
    if table is None:
        raise DataError(
            f"{spec!r} is a file but not a table: its first line has one cell; expected columns separated by tabs, commas, ; or |"
        )
    return table


def _values(
    spec: str, table: Table, roles: Roles, rows: Sequence[tuple[Any, ...]], where: Sequence[str], request: Request
) -> tuple[Values, set[int]]:
    """Returns the value of each row, None where there is none, and the rows whose labels are not of the encoding."""
    count = len(roles.labels)
    bad = {index for index, row in enumerate(rows) if any(isinstance(cell, str) and UNDECODABLE.search(cell) for cell in row[:count])}
    columns = [
        Column(
            name=name,
            cells=[None if at in bad else row[index] for at, row in enumerate(rows)],
            title=f"column {name!r} of {spec!r}",
            classes=table.classes(name),
            kind=kind,
        )
        for index, (name, kind) in enumerate(roles.labels.items())
    ]
    return read_values(columns, where=where, request=request), bad


def _check_classes(name: str, examples: Sequence[Example], lost: Counter[Any], notes: Sequence[Issue], target: Target) -> None:
    """A class that loses all its rows must not vanish from a model that is to learn it."""
    counts = tallied(lost, target)
    used = tallied(Counter(example.label for example in examples), target)
    gone = sorted(set(counts) - set(used))
    if gone:
        first = next(note for note in notes if note.action == "skipped")
        raise DataError(
            f"{name} has no row of {target.entry} {gone[0]!r} that can be used ({counts[gone[0]]:,} are skipped; the first skipped row is {first.path}: "
            f"{first.reason}); fix these rows, or remove them"
        )


def _unlabelled(where: str, labels: Sequence[str], row: Sequence[Any]) -> Issue:
    empty = next((name for name, cell in zip(labels, row, strict=False) if is_missing(cell)), labels[0])
    return Issue(kind="bad-row", path=where, reason=f"without a label (column {empty!r} is empty)", action="skipped")


def _losses(table: Table, read: Values, lost: Counter[Any]) -> list[Issue]:
    malformed = sum(note.kind == "bad-row" for note in table.notes)
    labelled = Counter({value: count for value, count in lost.items() if value is not None})
    if not labelled and not malformed:
        return []  # rows without a label are reported one by one, and no class loses them
    unknown = {None: lost[None] + malformed}
    return losses(table.name, "rows", Counter(read.values) + Counter({None: malformed}), labelled + Counter(unknown), read.draft)


def _unique(examples: Sequence[Example]) -> Iterator[Example]:
    """Yields the examples; a path may stand in two rows, with two labels: the line keeps their ids apart."""
    seen: set[str] = set()
    for example in examples:
        if example.path is None:
            yield example
            continue
        name, _, _ = example.id.rpartition("#")
        yield replace(example, id=example.id if name in seen else name)
        seen.add(name)


def _groups(table: Table, roles: Roles) -> list[str | None]:
    """Returns what each row belongs to; None where there is no such column, or the cell is empty."""
    if roles.group is None:
        return [None] * len(table.lines)
    return [None if is_missing(cell) else str(cell).strip() for (cell,) in table.rows([roles.group])]


def _ungrouped(table: Table, roles: Roles, groups: Sequence[str | None]) -> list[Issue]:
    """Returns a note of how many rows belong to no group, which may then be in another split than what they belong to."""
    empty = groups.count(None) if roles.group is not None else 0
    reason = f"{empty:,} rows have nothing in column {roles.group!r}; each is a group of its own"
    return [Issue(kind="no-group", path=table.name, reason=reason, action="kept")] if empty else []


# === Contents ===


def _texts(table: Table, roles: Roles, files: FileIndex, where: Sequence[str], notes: list[Issue]) -> Iterator[Content]:
    for row_id, (value,) in zip(where, table.rows(roles.content), strict=True):
        if isinstance(value, (list, dict)):
            raise DataError(f"{row_id} has a {type(value).__name__} in column {roles.content[0]!r}; expected a text: choose --text-column")
        text = "" if value is None or isinstance(value, float) and math.isnan(value) else str(value)
        if UNDECODABLE.search(text):
            yield Issue(kind="bad-utf8", path=row_id, reason=NOT_UTF8, action="skipped")
        elif not text.strip():
            yield Issue(kind="empty-text", path=row_id, reason=f"no {roles.content[0]}", action="skipped")
        else:
            yield {"text": clean(text)}


def _paths(table: Table, roles: Roles, files: FileIndex, where: Sequence[str], notes: list[Issue]) -> Iterator[Content]:
    (column,) = roles.content
    for row_id, (value,) in zip(where, table.rows([column]), strict=True):
        name = "" if is_missing(value) else str(value).strip()
        if UNDECODABLE.search(name):
            yield Issue(kind="bad-utf8", path=row_id, reason=NOT_UTF8, action="skipped")
        elif not name:
            yield Issue(kind="bad-row", path=row_id, reason=f"no {column}", action="skipped")
        else:
            path, several = files.find(name)
            if several:
                shown = " and ".join(several[:2])
                yield Issue(kind="bad-row", path=row_id, reason=f"{len(several)} files match {name!r}: {shown}", action="skipped")
            else:
                yield {"id": f"{files.id_of(name)}#{row_id.rpartition(':')[2]}", "path": path}
    if table.lines and not files.direct and not files.matched and _are_ids(table, column):
        raise DataError(
            f"no image file beside {str(files.root / table.name)!r} is named after the column {column!r}; name the column of paths with --path-column, "
            "that of texts with --text-column, or put the images beside the table"
        )
    notes += files.notes(table.name, column)


def _are_ids(table: Table, column: str) -> bool:
    return not any(PurePosixPath(str(value).replace("\\", "/")).suffix for value in table.sample(column))


def _encoded(table: Table, roles: Roles, files: FileIndex, where: Sequence[str], notes: list[Issue]) -> Iterator[Content]:
    for row_id, (value,) in zip(where, table.rows(roles.content), strict=True):
        content = value.get("bytes") if isinstance(value, dict) else value
        path = value.get("path") if isinstance(value, dict) else None
        if isinstance(content, bytes) and content:
            yield {"content": content}
        elif isinstance(path, str) and path:
            yield {"id": f"{printable(path)}#{row_id.rpartition(':')[2]}", "path": files.root / path}
        else:
            yield Issue(kind="bad-row", path=row_id, reason=f"no {roles.content[0]}", action="skipped")


def _pixels(table: Table, roles: Roles, files: FileIndex, where: Sequence[str], notes: list[Issue]) -> Iterator[Content]:
    numbers = pixel_order(roles.content)
    columns = [name for _, name in sorted(zip(numbers, roles.content, strict=True), key=operator.itemgetter(0))]
    side = math.isqrt(len(columns))
    if side * side != len(columns):
        raise DataError(
            f"{table.name} has {len(columns)} columns of pixels, which is not a square; expected side x side columns (784 for 28 x 28), or an .npz "
            "with x uint8 (n, height, width, channels) and y"
        )
    for row_id, row in zip(where, table.rows(columns), strict=True):
        try:
            values = np.array([float(value) for value in row])
        except (TypeError, ValueError, OverflowError):
            yield Issue(kind="bad-row", path=row_id, reason="a pixel is not a number", action="skipped")
            continue
        if not (values % 1 == 0).all() or values.min() < 0 or values.max() > 255:
            reason = f"pixels from {values.min():g} to {values.max():g}; expected whole numbers from 0 to 255"
            yield Issue(kind="bad-row", path=row_id, reason=reason, action="skipped")
            continue
        yield {"array": values.astype("uint8").reshape(side, side)}


CONTENTS: dict[str, Callable[[Table, Roles, FileIndex, Sequence[str], list[Issue]], Iterator[Content]]] = {
    "text": _texts,
    "path": _paths,
    "image": _encoded,
    "pixels": _pixels,
}

READERS: dict[str, Callable[[Path, str, Columns], Table | None]] = {
    ".jsonl": lambda file, spec, columns: read_json_lines(file, columns.encoding),
    ".ndjson": lambda file, spec, columns: read_json_lines(file, columns.encoding),
    ".parquet": lambda file, spec, columns: read_parquet(file),
}
