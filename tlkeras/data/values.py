"""The values of examples, from the cells of a table or the entries of arrays: of what kind they are, and how each is read.

What is unmistakable is inferred; everything else is one label per example, or an error that says how to specify it:

- cells that are lists, or lists written as texts: sets of labels. Lists of numbers, equally long and with fractions: numbers.
- labels joined by `|`, `;` or `,`, all of which also stand alone in the column: sets of labels. In a column called `labels` or `tags`, labels
  joined by `|` or `;` that come again in other cells need not stand alone.
- many distinct numbers with fractions among them: numbers. Whole numbers are classes, or an error where most of them stand once.
- several columns: sets of labels where all cells are 0 or 1, numbers where all are numbers, otherwise several targets. Each of these is what
  a single column would be; numbers with any fraction, or of which most stand once, are numbers.
- columns of 0 and 1 of which each row has exactly one 1 are an error: they may be classes, or sets of labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tlkeras.data import cells as of_cells
from tlkeras.data.cells import FOR_NUMBERS, FOR_SETS, FOR_SEVERAL, as_list, check_classes, is_binary, is_missing, label_texts, number
from tlkeras.data.target import KINDS, UNNAMED, Target
from tlkeras.errors import DataError
from tlkeras.registry import load_function

PLURAL = ("labels", "tags")  # names of columns of sets of labels
ONE_HOT = "exactly one 1 in each row, so they are classes or sets of labels"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user or a trained model says about the target of examples.

    Args:
        kind: name in `KINDS`; None: inferred.
        separator: between the labels of one example; None: detected.
        target: what a trained model predicts: its kind, label maps and parts are adhered to.
        labels: the label map, or the names of the numbers, where a user passes them.
    """

    kind: str | None = None
    separator: str | None = None
    target: Target | None = None
    labels: tuple[str, ...] | None = None

    @property
    def known(self) -> tuple[str, ...] | None:
        """The label map, where there is one already."""
        return self.target.labels if self.target else self.labels


@dataclass(frozen=True, kw_only=True)
class Column:
    """Cells that hold the target, or one part or label of it.

    Args:
        name: of the column; empty where it has none.
        cells: one for each example.
        title: what errors call it.
        classes: the labels by number, where the source stores numbers for them.
        kind: of a part of several targets, where that is asked for.
        is_array: whether the cells are the rows of an array with two dimensions.
    """

    name: str
    cells: Sequence[Any]
    title: str
    classes: Sequence[str] | None = None
    kind: str | None = None
    is_array: bool = False


@dataclass(frozen=True, kw_only=True)
class Values:
    """The values of examples.

    Args:
        draft: what they are; its label maps may be empty still.
        values: of each example, None where it is missing.
        notes: (name of the column, what was noticed).
    """

    draft: Target
    values: list[Any]
    notes: tuple[tuple[str, str], ...] = ()


def read_values(columns: Sequence[Column], *, where: Sequence[str], request: Request) -> Values:
    """Returns the values of examples.

    Args:
        columns: that hold the target.
        where: what errors call each example.
        request: what is known about the target.

    Raises:
        DataError: for cells that do not fit the kind, or that leave open what is meant.
    """
    kind = request.target.kind if request.target else request.kind or _inferred(columns, where, request)
    return load_function(KINDS.get(kind).read)(columns, where, request)


def read_names(names: Sequence[str], request: Request, *, title: str) -> Values:
    """Returns the values that names stand for, of folders or digits: one label each, unless something else is asked for.

    Args:
        names: each of them once.
        request: what is known about the target.
        title: what errors call a name.

    Raises:
        DataError: when a name does not fit the kind that is asked for.
    """
    kind = request.target.kind if request.target else request.kind or ("class" if request.separator is None else "labels")
    if kind == "class":
        return Values(draft=Target(kind=kind, labels=()), values=list(names))
    where = [f"{title} {name!r}" for name in names]
    read = read_values([Column(name="", cells=names, title=f"the name of a {title}")], where=where, request=replace(request, kind=kind))
    if None in read.values:
        raise DataError(f"{where[read.values.index(None)]} stands for a missing value; rename it")
    return read


# === Kinds ===


def _inferred(columns: Sequence[Column], where: Sequence[str], request: Request) -> str:
    if len(columns) == 1:
        return _of_column(columns[0], where, request)
    if any(column.kind for column in columns):
        return "several"
    present = [cell for column in columns for cell in column.cells if not is_missing(cell)]
    if present and all(map(is_binary, present)):
        if all(sum(_flags(row)) == 1 for row in _rows(columns) if not any(map(is_missing, row))):
            names = ", ".join(column.name for column in columns[:6])
            raise DataError(
                f"the columns {names} have {ONE_HOT}; expected --task classification or {FOR_SETS} (kind='class' or kind='labels' for arrays)"
            )
        return "labels"
    return "numbers" if present and all(number(cell) is not None for cell in present) else "several"


def _of_column(column: Column, where: Sequence[str], request: Request, *, is_part: bool = False) -> str:
    """Returns the kind of a single column.

    Of a part of several targets, numbers with fractions or of which most stand once are numbers.
    """
    present = [cell for cell in column.cells if not is_missing(cell)]
    lists = [entries for cell in present if (entries := as_list(cell)) is not None]
    if not lists:
        lists = [entries for cell in present if isinstance(cell, str) and (entries := of_cells.parsed_list(cell)) is not None]
        lists = lists if len(lists) == len(present) else []
    if lists:
        return "numbers" if _are_vectors(lists) and (column.is_array or _have_fractions(lists)) and not _are_flags(lists) else "labels"
    if any(isinstance(cell, dict) for cell in present) or column.classes is not None:
        return "class"
    texts = [text for text in label_texts(column.cells, where=where) if text is not None]
    if request.separator is not None and (not is_part or any(request.separator in text for text in texts)):
        return "labels"
    if _separator(column, texts, replace(request, kind=None)) is not None:
        return "labels"
    return "numbers" if of_cells.has_fractions(texts, certain=not is_part) or is_part and of_cells.has_unique_numbers(texts) else "class"


def _are_vectors(lists: Sequence[Sequence[Any]]) -> bool:
    """Whether lists are numbers, equally many in each."""
    return len({len(entries) for entries in lists}) == 1 and all(
        not isinstance(entry, (str, bytes)) and number(entry) is not None for entries in lists for entry in entries
    )


def _have_fractions(lists: Sequence[Sequence[Any]]) -> bool:
    return any(float(entry) % 1 for entries in lists for entry in entries)


def _are_flags(lists: Sequence[Sequence[Any]]) -> bool:
    return all(is_binary(entry) for entries in lists for entry in entries)


def _rows(columns: Sequence[Column]) -> Iterable[tuple[Any, ...]]:
    return zip(*(column.cells for column in columns), strict=True)


def _flags(row: Iterable[Any]) -> list[bool]:
    return [of_cells.BINARY[str(cell).strip().lower()] for cell in row]


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
    return Values(draft=draft, values=values)


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
    if present and column.classes is None and _are_vectors(present) and _are_flags(present) and (column.is_array or _repeat(present)):
        names = request.known or tuple(map(str, range(len(present[0]))))
        if len(names) != len(present[0]):
            raise DataError(f"{column.title} has {len(present[0])} columns of 0 and 1; expected {len(names)}, one for each label")
        values = [entries and tuple(label for label, flag in zip(names, _flags(entries), strict=True) if flag) for entries in lists]
        return Values(draft=replace(draft, labels=names), values=values)
    if column.is_array and _are_vectors(present):
        raise DataError(f"{column.title} has numbers besides 0 and 1; expected 0 or 1 for each label, or lists of labels")
    note = () if separator is None or separator == request.separator else ((column.name, f"labels are separated by {separator!r}"),)
    return Values(draft=draft, values=_label_sets(column, lists, where, request), notes=note)


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
    separator = request.separator if request.separator is not None else _separator(column, texts, request)
    known = set(request.known or ())
    return [_empty(cell) if is_missing(cell) else _split(cell, separator, known) for cell in column.cells], separator


def _split(cell: Any, separator: str | None, known: set[str]) -> list[Any]:
    """Returns the labels in one text; a label of the model may contain the separator itself."""
    return cell.split(separator) if separator and isinstance(cell, str) and cell.strip() not in known else [cell]


def _empty(cell: Any) -> list[Any] | None:
    """Returns no labels for an empty text, None for any other missing value."""
    return [] if isinstance(cell, str) and not cell.strip() else None


def _separator(column: Column, texts: Sequence[str], request: Request) -> str | None:
    """Returns what separates labels: beyond doubt, or most likely where sets of labels are asked for and no model knows the labels."""
    known = request.known or ()
    separator = of_cells.separator_of(texts, known=known, certain=request.kind is None or bool(known))
    if separator is not None or known or column.name.strip().lower() not in PLURAL:
        return separator
    for separator in "|;":
        parts = {part.strip() for text in texts for part in text.split(separator)}
        if any(separator in text for text in texts) and len(parts) < len(set(texts)):
            return separator
    return None


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
    for at, row in zip(where, _rows(columns), strict=True):
        if any(map(is_missing, row)):
            values.append(None)
            continue
        strange = next(((column, cell) for column, cell in zip(columns, row, strict=True) if not is_binary(cell)), None)
        if strange is not None:
            raise DataError(f"{at} has {str(strange[1])[:40]!r} in column {strange[0].name!r}; {expected}")
        values.append(tuple(column.name for column, flag in zip(columns, _flags(row), strict=True) if flag))
    return values


# === Numbers ===


def read_numbers(columns: Sequence[Column], where: Sequence[str], request: Request) -> Values:
    """Returns the numbers of each example: of each column, or the entries of a cell."""
    names = tuple(column.name for column in columns)
    rows: list[Sequence[Any] | None] = list(_rows(columns))
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
        if value is None or not math.isfinite(value):
            raise DataError(f"{at} has the label {str(cell)[:40]!r}; expected a finite number")
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
        kind = None if own.target else column.kind or _of_column(column, where, own, is_part=True)
        parts.append(read_values([column], where=where, request=replace(own, kind=kind)))
    values = [None if any(value is None for value in row) else row for row in zip(*(part.values for part in parts), strict=True)]
    drafts = [replace(part.draft, name=column.name) for part, column in zip(parts, columns, strict=True)]
    return Values(draft=Target.several(drafts), values=values, notes=tuple(note for part in parts for note in part.notes))
