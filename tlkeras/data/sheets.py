"""Tables of ours as CSV, which is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkeras.files import read_regular, read_text, write

MOST = 1024**3  # bytes of a table that is read
# A spreadsheet runs a cell that begins with one of these as a formula (OWASP, "CSV Injection"); a leading ' makes it a text.
FORMULA = re.compile(r"'*[=+\-@\t\r]")


def write_rows(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as CSV; the columns are those of all rows, in order of appearance. Texts that are formulas get a `'` in front."""
    write(path, _table(rows, ()))


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    writer.writerow([_inert(name) for name in names])
    writer.writerows([_inert(row.get(name, "")) for name in names] for row in rows)
    return text.getvalue()


def _inert(cell: Any) -> Any:
    """Returns a cell that spreadsheets show: numbers, also as texts, are as they are."""
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) and not _is_number(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text[0].isspace()


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """Reads rows that `write_rows` wrote, as texts; a `'` in front of a formula is gone.

    Raises:
        OSError, ValueError: when it cannot be read.
    """
    try:
        text = io.StringIO(read_text(path, MOST), newline="")
        names, *rows = [[_as_written(cell) for cell in row] for row in csv.reader(text)] or [[]]
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return [dict(zip(names, row, strict=False)) for row in rows]


def _as_written(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and FORMULA.match(cell) else cell


def write_sheet(path: str | Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Writes rows as CSV that is safe to open in a spreadsheet; see `write_rows`.

    Args:
        path: file to write; in UTF-8 with a signature, without which Excel reads another encoding.
        rows: column -> value.
        columns: that are there even without rows; further ones follow in order of appearance.
    """
    write(path, "\ufeff" + _table(rows, columns))


def read_sheet(path: str | Path) -> list[dict[str, str]]:
    """Reads the rows that `write_sheet` wrote, also where a spreadsheet has saved them with `;` or tabs between the cells.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is no CSV in UTF-8.
    """
    try:
        content = read_regular(path, MOST).decode("utf-8-sig")
        tables = (list(csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)) for delimiter in ",;\t")
        head, *rows = next((table for table in tables if table and len(table[0]) > 1), [[]])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(" ".join(str(error).split())) from error
    names = [_as_written(name.strip()) for name in head]
    return [dict(zip(names, map(_as_written, row), strict=False)) for row in rows if any(cell.strip() for cell in row)]
