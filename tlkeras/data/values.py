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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tlkeras.data import cells as of_cells
from tlkeras.data.cells import FOR_SETS, as_list, is_binary, is_missing, label_texts, number
from tlkeras.data.target import KINDS, Target
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
    draft = Target(kind=kind, labels=())
    if all(map(draft.accepts, names)):
        return Values(draft=draft, values=list(names))
    if request.target is None and request.separator is not None and not any(request.separator in name for name in names):
        raise DataError(
            f"no {title} has {request.separator!r} in its name, for example {names[0]!r}; leave out --label-separator, or name another"
        )
    where = [f"{title} {name!r}" for name in names]
    read = read_values([Column(name="", cells=names, title=f"the name of a {title}")], where=where, request=replace(request, kind=kind))
    if None in read.values:
        raise DataError(f"{where[read.values.index(None)]} stands for a missing value; rename it")
    return read


# === Kinds ===


def _inferred(columns: Sequence[Column], where: Sequence[str], request: Request) -> str:
    if len(columns) == 1:
        return kind_of_column(columns[0], where, request)
    if any(column.kind for column in columns):
        return "several"
    present = [cell for column in columns for cell in column.cells if not is_missing(cell)]
    if present and all(map(is_binary, present)):
        if all(sum(flags(row)) == 1 for row in rows_of(columns) if not any(map(is_missing, row))):
            names = ", ".join(column.name for column in columns[:6])
            raise DataError(
                f"the columns {names} have {ONE_HOT}; expected --task classification or {FOR_SETS} (kind='class' or kind='labels' for arrays)"
            )
        return "labels"
    return "numbers" if present and all(number(cell) is not None for cell in present) else "several"


def kind_of_column(column: Column, where: Sequence[str], request: Request, *, is_part: bool = False) -> str:
    """Returns the kind of a single column.

    Of a part of several targets, numbers with fractions or of which most stand once are numbers.
    """
    present = [cell for cell in column.cells if not is_missing(cell)]
    lists = [entries for cell in present if (entries := as_list(cell)) is not None]
    if not lists:
        lists = [entries for cell in present if isinstance(cell, str) and (entries := of_cells.parsed_list(cell)) is not None]
        lists = lists if len(lists) == len(present) else []
    if lists:
        return "numbers" if are_vectors(lists) and (column.is_array or _have_fractions(lists)) and not are_flags(lists) else "labels"
    if any(isinstance(cell, dict) for cell in present) or column.classes is not None:
        return "class"
    texts = [text for text in label_texts(column.cells, where=where) if text is not None]
    if request.separator is not None and (not is_part or any(request.separator in text for text in texts)):
        return "labels"
    if separator_in(column, texts, replace(request, kind=None)) is not None:
        return "labels"
    return "numbers" if of_cells.has_fractions(texts, certain=not is_part) or is_part and of_cells.has_unique_numbers(texts) else "class"


def are_vectors(lists: Sequence[Sequence[Any]]) -> bool:
    """Whether lists are numbers, equally many in each."""
    return len({len(entries) for entries in lists}) == 1 and all(
        not isinstance(entry, (str, bytes)) and number(entry) is not None for entries in lists for entry in entries
    )


def _have_fractions(lists: Sequence[Sequence[Any]]) -> bool:
    return any(float(entry) % 1 for entries in lists for entry in entries)


def are_flags(lists: Sequence[Sequence[Any]]) -> bool:
    """Whether all entries of lists are 0 or 1."""
    return all(is_binary(entry) for entries in lists for entry in entries)


def rows_of(columns: Sequence[Column]) -> Iterable[tuple[Any, ...]]:
    """Returns the cells of each example."""
    return zip(*(column.cells for column in columns), strict=True)


def flags(row: Iterable[Any]) -> list[bool]:
    """Returns what cells of 0 and 1 say."""
    return [of_cells.BINARY[str(cell).strip().lower()] for cell in row]


def separator_in(column: Column, texts: Sequence[str], request: Request) -> str | None:
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
