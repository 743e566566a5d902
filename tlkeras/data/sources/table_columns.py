"""The columns of a table that are neither content nor target, by example: facts to slice an evaluation by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tlkeras.data.cells import clean, is_missing
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.sources.columns import PATH, Columns, Roles
from tlkeras.data.sources.files import FileIndex
from tlkeras.data.sources.table import read_table
from tlkeras.data.sources.tabular import Table
from tlkeras.data.target import Target
from tlkeras.errors import printable

Cells = dict[str, dict[str, Any]]  # id of an example -> column -> cell, None where it is missing


def names(spec: str, columns: Columns | None = None) -> tuple[str, ...]:
    """Returns the columns of a table."""
    return tuple(read_table(Path(spec).expanduser(), spec, columns or Columns()).names)


def read(
    spec: str, chosen: Sequence[str], columns: Columns | None = None, kinds: Sequence[FileKind] = (), target: Target | None = None
) -> Cells:
    """Returns the cells of some columns of a table for each of its examples, by the ids that `open_table` gives them.

    Of a sequence, whose steps are several rows, the cells are those of its first row.

    Args:
        spec: the table.
        chosen: their names, which are known to be there.
        columns: how the table is read, and which of its columns is what.
        kinds: what files are examples.
        target: what a trained model predicts.

    Raises:
        DataError: as `open_table`.
    """
    file, columns = Path(spec).expanduser(), columns or Columns()
    table = read_table(file, spec, columns)
    files = FileIndex(file.parent, {ending for kind in kinds if kind.read is None for ending in kind.endings})
    roles = columns.roles(spec, table, files.has, target)
    table = table.checked(next(iter(roles.labels)))
    cells: Cells = {}
    for key, row in zip(_ids(table, roles, files), table.rows(list(chosen)), strict=True):
        if key is not None:
            values = {name: None if is_missing(value) else value for name, value in zip(chosen, row, strict=True)}
            cells.setdefault(key, values)
    return cells


def _ids(table: Table, roles: Roles, files: FileIndex) -> Iterator[str | None]:
    """Yields the id of the example of each row; None for a row without content or label."""
    if roles.id is not None:
        yield from (printable(clean(str(value))) for (value,) in table.rows([roles.id]))
    elif roles.kind != PATH:
        yield from (f"{table.name}:{line}" for line in table.lines)
    else:
        seen: set[str] = set()
        for line, (value, *labels) in zip(table.lines, table.rows([*roles.content, *roles.labels]), strict=True):
            name = "" if is_missing(value) else str(value).strip()
            if not name or any(map(is_missing, labels)) or files.find(name)[1]:
                yield None
                continue
            name = files.id_of(name)
            yield f"{name}#{line}" if name in seen else name  # a path may stand in two rows
            seen.add(name)
