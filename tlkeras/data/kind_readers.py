"""How the values of each kind of target are read from the cells of columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tlkeras.data import cells as of_cells
from tlkeras.data.cells import FOR_NUMBERS, FOR_SETS, FOR_SEVERAL, as_list, check_classes, is_binary, is_missing, label_texts, number
from tlkeras.data.target import UNNAMED, Target
from tlkeras.data.values import Column, Request, Values, are_flags, are_vectors, flags, kind_of_column, read_values, rows_of, separator_in
from tlkeras.errors import DataError

LARGEST = float(np.finfo("float32").max)


def _name(columns: Sequence[Column]) -> str:
    return columns[0].name or UNNAMED if len(columns) == 1 else UNNAMED


# === Classes ===


def read_class(columns: Sequence[Column], where: Sequence[str], request: Request) -> Values:
    """Returns one label for each example; of columns of 0 and 1, the name of the one with 1."""
    draft = Target(kind="class", labels=())
    if len(columns) > 1:
        rows = _flagged(columns, where, f"expected one column with the name of the class, or {FOR_SETS}, {FOR_NUMBERS} or {FOR_SEVERAL}")
        for at, row in zip(where, rows, strict=True):
            if row is not None and len(row) != 1:
                raise DataError(f"{at} has {len(row)} labels; expected one label for each example; {FOR_SETS} predicts several")
        return Values(draft=draft, values=[row and row[0] for row in rows])
    (column,) = columns
    values = label_texts(column.cells, where=where, names=column.classes, known=request.known or ())
    check_classes(column.title, values, request.known)
    texts = [] if request.kind or request.known is not None else [value for value in values if value is not None]
    return Values(draft=draft, values=values, notes=_notes(column, of_cells.seem_joined(texts)))


# === Sets of labels ===


def read_labels(columns: Sequence[Column], where: Sequence[str], request: Request) -> Values:
    """Returns the labels of each example: the columns of 0 and 1 that have a 1, or the entries of a cell.

    An empty cell and an empty list are no label, which is legal. What stands for a missing value (`NaN`, `null`, …) is missing.
    """
    draft = Target(kind="labels", labels=(), name=_name(columns))
    if len(columns) > 1:
        rows = _flagged(columns, where, "expected 0 or 1 in each of several label columns")
        return Values(draft=replace(draft, labels=tuple(column.name for column in columns)), values=rows)
    (column,) = columns
    lists, separator = _lists(column, request)
    present = [entries for entries in lists if entries is not None]
    if present and column.classes is None and are_vectors(present) and are_flags(present) and (column.is_array or _repeat(present)):
        names = request.known or tuple(map(str, range(len(present[0]))))
        if len(names) != len(present[0]):
            raise DataError(f"{column.title} has {len(present[0])} columns of 0 and 1; expected {len(names)}, one for each label")
        values = [entries and tuple(label for label, flag in zip(names, flags(entries), strict=True) if flag) for entries in lists]
        return Values(draft=replace(draft, labels=names), values=values)
    if column.is_array and are_vectors(present):
        raise DataError(f"{column.title} has numbers besides 0 and 1; expected 0 or 1 for each label, or lists of labels")
    sets = _label_sets(column, lists, where, request)
    detected = None if separator is None or separator == request.separator else f"labels are separated by {separator!r}"
    texts = [] if request.known is not None else [label for labels in sets for label in labels or ()]
    return Values(draft=draft, values=sets, notes=_notes(column, of_cells.seem_joined(texts), detected))


def _notes(column: Column, *notes: str | None) -> tuple[tuple[str, str], ...]:
    return tuple((column.name, note) for note in notes if note is not None)


def _repeat(lists: Sequence[Sequence[Any]]) -> bool:
    """Whether an entry stands twice in a list, which labels do not."""
    return len(lists[0]) > 1 and any(len(set(map(str, entries))) < len(entries) for entries in lists)


def _lists(column: Column, request: Request) -> tuple[list[list[Any] | None], str | None]:
    """Returns the entries of each cell, None where it is missing, and what separates them, where they are one text."""
    if any(as_list(cell) is not None for cell in column.cells):
        return [None if is_missing(cell) else as_list(cell) if as_list(cell) is not None else [cell] for cell in column.cells], None
    texts = [str(cell) for cell in column.cells if not is_missing(cell)]
    if texts and request.separator is None and all(of_cells.parsed_list(text) is not None for text in texts):
        return [_empty(cell) if is_missing(cell) else of_cells.parsed_list(cell) for cell in column.cells], None
    separator = request.separator if request.separator is not None else separator_in(column, texts, request)
    known = set(request.known or ())
    return [_empty(cell) if is_missing(cell) else _split(cell, separator, known) for cell in column.cells], separator


def _split(cell: Any, separator: str | None, known: set[str]) -> list[Any]:
    """Returns the labels in one text; a label of the model may contain the separator itself."""
    return cell.split(separator) if separator and isinstance(cell, str) and cell.strip() not in known else [cell]


def _empty(cell: Any) -> list[Any] | None:
    """Returns no labels for an empty text, None for any other missing value."""
    return [] if isinstance(cell, str) and not cell.strip() else None


def _label_sets(
    column: Column, lists: Sequence[Sequence[Any] | None], where: Sequence[str], request: Request
) -> list[tuple[str, ...] | None]:
    flat = [(at, entry) for at, entries in zip(where, lists, strict=True) for entry in entries or ()]
    entries = label_texts([entry for _, entry in flat], where=[at for at, _ in flat], names=column.classes, known=request.known or ())
    texts = iter(entries)
    return [None if labels is None else tuple(text for _ in labels if (text := next(texts)) is not None) for labels in lists]


def _flagged(columns: Sequence[Column], where: Sequence[str], expected: str) -> list[tuple[str, ...] | None]:
    """Returns the names of the columns that have a 1, for each row; None where a cell is empty."""
    values: list[tuple[str, ...] | None] = []
    for at, row in zip(where, rows_of(columns), strict=True):
        if any(map(is_missing, row)):
            values.append(None)
            continue
        strange = next(((column, cell) for column, cell in zip(columns, row, strict=True) if not is_binary(cell)), None)
        if strange is not None:
            raise DataError(f"{at} has {str(strange[1])[:40]!r} in column {strange[0].name!r}; {expected}")
        values.append(tuple(column.name for column, flag in zip(columns, flags(row), strict=True) if flag))
    return values


# === Numbers ===


def read_numbers(columns: Sequence[Column], where: Sequence[str], request: Request) -> Values:
    """Returns the numbers of each example: of each column, or the entries of a cell."""
    names = tuple(column.name for column in columns)
    rows: list[Sequence[Any] | None] = list(rows_of(columns))
    if len(columns) == 1:
        rows = [_vector(cell) for cell in columns[0].cells]
        width = max((len(row) for row in rows if row is not None), default=1)
        names = names[:1] if width == 1 and names[0] else ("value",) if width == 1 else tuple(map(str, range(width)))
    names = request.known or names
    values = [
        None if row is None or any(map(is_missing, row)) else _numbers(row, at, len(names)) for at, row in zip(where, rows, strict=True)
    ]
    return Values(draft=Target(kind="numbers", labels=names, name=_name(columns)), values=values)


def _vector(cell: Any) -> list[Any] | None:
    entries = as_list(cell)
    if entries is None and isinstance(cell, str):
        entries = of_cells.parsed_list(cell)
    return [cell] if entries is None else entries


def _numbers(row: Sequence[Any], at: str, width: int) -> tuple[float, ...]:
    if len(row) != width:
        raise DataError(f"{at} has {len(row)} numbers; expected {width}, as many for each example")
    values = tuple(number(cell) for cell in row)
    for cell, value in zip(row, values, strict=True):
        if value is not None and LARGEST < abs(value) < math.inf:
            raise DataError(
                f"{at} has the number {value:g}; expected at most {LARGEST:g}, the largest of float32: divide them all by the same"
            )
        if value is None or not math.isfinite(value):
            raise DataError(f"{at} has the label {str(cell)[:40]!r}; expected a finite number, {of_cells.WRITTEN}")
    return tuple(value for value in values if value is not None)


# === Several ===


def read_several(columns: Sequence[Column], where: Sequence[str], request: Request) -> Values:
    """Returns the value of each part for each example: each column is a part of a kind of its own."""
    if len(columns) < 2:
        raise DataError(f"{columns[0].title} is one target; expected two or more, each in a column of its own: --label-column NAME,NAME")
    if request.target is None and request.labels is not None:
        raise DataError("labels name the classes of one target, and there are several; leave them out")
    parts = []
    known = {part.name: part for part in request.target.parts} if request.target else {}
    if known:
        by_name = {column.name: column for column in columns}
        if missing := [name for name in known if name not in by_name]:
            raise DataError(f"the model predicts {', '.join(known)}, and the data has {', '.join(by_name)}; {missing[0]!r} is missing")
        columns = [by_name[name] for name in known]
    for column in columns:
        own = replace(request, kind=None, target=known.get(column.name), labels=None)
        kind = None if own.target else column.kind or kind_of_column(column, where, own, is_part=True)
        parts.append(read_values([column], where=where, request=replace(own, kind=kind)))
    values = [None if any(value is None for value in row) else row for row in zip(*(part.values for part in parts), strict=True)]
    drafts = [replace(part.draft, name=column.name) for part, column in zip(parts, columns, strict=True)]
    return Values(draft=Target.several(drafts), values=values, notes=tuple(note for part in parts for note in part.notes))
