"""Tables of plain text, as CSV and TSV are: the dialect is detected, and a row that does not fit is reported, never misread."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlkeras.data.examples import Issue
from tlkeras.data.sources.columns import Columns, recognises, suggestion
from tlkeras.data.sources.encoding import decode_text, detect_encoding
from tlkeras.data.sources.tabular import LARGEST, Table
from tlkeras.errors import DataError, printable
from tlkeras.files import read_regular

TITLES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
TABS_FIRST, COMMAS_FIRST = "\t,;|", ",;\t|"
BY_ENDING = {".csv": COMMAS_FIRST, ".tsv": TABS_FIRST, ".tab": TABS_FIRST}
LONGEST_CELL = 2**31 - 1  # of one field; Python's own limit of 131,072 is shorter than many reviews
MANY = 50  # lines of one row, from where it is reported
LONGEST_RECORD = 2000  # lines; beyond them a quote counts as never closed
SAMPLED = 300  # lines from which the separator is detected
OPENED = "a quotation mark opens here and is not closed"
SPACED_QUOTE = re.compile(r'[,;|\t] +"')
SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # Excel's own hint, on the first line


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How cells are separated.

    Args:
        separator: between two cells.
        quoting: whether a quotation mark at the start of a cell encloses it.
        spaced: whether blanks after a separator belong to it.
    """

    separator: str
    quoting: bool = True
    spaced: bool = False

    def cells(self, line: str) -> list[str]:
        """Returns the cells of a line without quotation marks."""
        cells = line.rstrip("\r\n").split(self.separator)
        return [cell.lstrip(" ") for cell in cells] if self.spaced else cells

    def quoted(self, lines: Sequence[str] | Iterator[str], *, strict: bool) -> list[str]:
        """Returns the cells of the first record of some lines.

        Raises:
            csv.Error: when `strict`, for a quotation mark that is not closed, or closed inside of a cell.
        """
        return next(csv.reader(iter(lines), delimiter=self.separator, skipinitialspace=self.spaced, strict=strict))


@dataclass(frozen=True)
class Record:
    """One row: its first and last line, from 1; its cells, or the plain line they are split from; and what is wrong with it."""

    line: int
    last: int
    content: str | list[str]
    problem: str | None = None

    def cells(self, dialect: Dialect) -> list[str]:
        """Returns the cells."""
        # Most lines have no quotation mark; splitting them when asked keeps wide tables small in memory.
        return dialect.cells(self.content) if isinstance(self.content, str) else self.content

    def width(self, dialect: Dialect) -> int:
        """Returns the number of cells."""
        return self.content.count(dialect.separator) + 1 if isinstance(self.content, str) else len(self.content)


class Delimited(Table):
    """A table of plain text."""

    def __init__(
        self,
        name: str,
        names: Sequence[str],
        records: Sequence[Record],
        notes: Sequence[Issue],
        dialect: Dialect,
        lines: Sequence[str],
        *,
        has_header: bool,
    ):
        super().__init__(name, names, [record.line for record in records], notes, has_header=has_header)
        self._records, self._dialect, self._lines = records, dialect, lines

    def rows(self, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """See `Table.rows`."""
        indices = [self.numbers[name] for name in names]
        last = max(indices, default=-1)
        for record in self._records:
            cells = record.cells(self._dialect)
            if last >= len(cells):
                cells = [*cells, *[""] * (last + 1 - len(cells))]
            yield tuple([cells[index] for index in indices])

    def checked(self, label: str) -> Delimited:
        """A record of several lines of which some are rows themselves, with a label that others have, swallowed them: they come back."""
        column, dialect, width = self.numbers[label], self._dialect, len(self.names)
        several = [record for record in self._records if record.last > record.line]
        if not several:
            return self
        labels = {cells[column] for record in self._records if record.last == record.line and len(cells := record.cells(dialect)) > column}
        records, notes = [], list(self.notes)
        for record in self._records:
            lines = self._lines[record.line - 1 : record.last]
            if record.last == record.line or not _swallowed(lines, dialect, column, width, labels):
                if len(lines) >= MANY:
                    reason = f"the row spans {len(lines)} lines, to line {record.last}; check its quotation marks"
                    notes.append(Issue(kind="long-row", path=f"{self.name}:{record.line}", reason=reason, action="kept"))
                records.append(record)
                continue
            problem = Record(record.line, record.line, lines[0], f"{OPENED} before line {record.last}")
            recovered = [problem, *(_alone(lines[i], record.line + i, dialect) for i in range(1, len(lines)))]
            good, bad = _fitting(recovered, dialect, width, self.name)
            records += good
            notes += bad
        return Delimited(self.name, self.names, records, notes, dialect, self._lines, has_header=self.has_header)


def read_delimited(file: Path, spec: str, columns: Columns) -> Delimited | None:
    """Reads a table of plain text.

    Args:
        file: the table.
        spec: what the user wrote, for errors.
        columns: encoding, header and columns that the user asks for.

    Returns:
        The table, or None for a file of no known ending that has one column only.

    Raises:
        DataError: when it cannot be decoded, or its first line looks like data and nothing says which column is what.
    """
    csv.field_size_limit(LONGEST_CELL)
    name = printable(file.name)
    content = read_regular(file, LARGEST)
    encoding = detect_encoding(content, columns.encoding)
    notes = [Issue(kind="encoding", path=name, reason=encoding.note, action="reported")] if encoding.note else []
    lines = list(io.StringIO(decode_text(content, encoding), newline=""))
    expected = BY_ENDING.get(file.suffix.lower(), TABS_FIRST)
    hint = SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
    start = 1 if hint else 0
    dialect = _dialect(lines[start:], hint[1] if hint else None, expected, columns)
    if dialect is None and file.suffix.lower() not in BY_ENDING:
        return None
    dialect = dialect or Dialect(separator=expected[0])
    records = list(_records(lines, start, dialect))
    if not records:
        return Delimited(name, [], [], notes, dialect, lines, has_header=True)
    dialect, records = _without_quoting(lines, start, dialect, records)
    if dialect != Dialect(separator=expected[0]):
        notes.append(Issue(kind="dialect", path=name, reason=_described(dialect), action="reported"))
    first = [cell.strip() for cell in records[0].cells(dialect)]
    has_header = _has_header(spec, name, first, records, dialect, lines, columns)
    if not has_header:
        reason = "no header: the first line contains data, and the columns are numbered from 1"
        notes.append(Issue(kind="no-header", path=name, reason=reason, action="reported"))
    names = first if has_header else _numbered(first)
    good, bad = _fitting(records[1:] if has_header else records, dialect, len(names), name)
    return Delimited(name, names, good, [*notes, *bad], dialect, lines, has_header=has_header)


# === Dialect ===


def _dialect(lines: Sequence[str], hint: str | None, expected: str, columns: Columns) -> Dialect | None:
    """Returns the dialect by which the first line has several cells, most of them known names, and the others as many."""
    sample = list(lines[:SAMPLED])
    spaced = any(SPACED_QUOTE.search(line) for line in sample)
    best: tuple[tuple[bool, float], Dialect] | None = None
    for separator in [hint] if hint else expected:
        for skip in (False, True) if spaced else (False,):
            dialect = Dialect(separator=separator, spaced=skip)
            records = list(_records(sample, 0, dialect))
            if len(sample) == SAMPLED:
                records = records[:-1]  # the sample may cut it
            width = records[0].width(dialect) if records else 0
            if not records or width < 2 and not hint:
                continue
            names = records[0].cells(dialect)
            named = recognises(names) or any(asked in names for asked in columns.names)
            score = (named, sum(not record.problem and record.width(dialect) == width for record in records) / max(1, len(records)))
            if best is None or score > best[0]:
                best = score, dialect
    return best[1] if best else None


def _without_quoting(lines: Sequence[str], start: int, dialect: Dialect, records: list[Record]) -> tuple[Dialect, list[Record]]:
    """Returns dialect and records, read without quoting where quotation marks are but characters: when more rows fit then."""
    width = records[0].width(dialect)
    tabs = dialect.separator == "\t"  # tables separated by tabs seldom have texts of several lines
    strange = sum(bool(record.problem) or tabs and record.last > record.line or record.width(dialect) != width for record in records)
    if strange == 0 or strange < 3 and not tabs:
        return dialect, records
    plain = Dialect(separator=dialect.separator, quoting=False)
    others = list(_records(lines, start, plain))
    wrapped = sum(
        len(cell) > 1 and cell[0] == cell[-1] == '"' for record in others if '"' in record.content for cell in record.cells(plain)
    )
    ragged = sum(record.width(plain) != width for record in others)
    return (plain, others) if ragged < strange and wrapped <= strange else (dialect, records)


def _described(dialect: Dialect) -> str:
    parts = [f"separated by {TITLES.get(dialect.separator, repr(dialect.separator))}"]
    if not dialect.quoting:
        parts.append("quotation marks are ordinary characters")
    if dialect.spaced:
        parts.append("blanks after a separator are ignored")
    return ", ".join(parts)


# === Records ===


class _Feed:
    """Lines for a CSV reader, from any line on; a record that takes too many of them ends as if the file did."""

    def __init__(self, lines: Sequence[str]):
        self._lines = lines
        self.index = self._start = 0

    def at(self, index: int) -> None:
        """Goes to a line, where a record begins."""
        self.index = self._start = index

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        if self.index >= len(self._lines) or self.index - self._start >= LONGEST_RECORD:
            raise StopIteration
        self.index += 1
        return self._lines[self.index - 1]


def _records(lines: Sequence[str], start: int, dialect: Dialect) -> Iterator[Record]:
    feed = _Feed(lines)
    reader = csv.reader(feed, delimiter=dialect.separator, skipinitialspace=dialect.spaced, strict=True)
    index = start
    while index < len(lines):
        line = lines[index]
        if not line.strip() and (dialect.separator.strip() or dialect.separator not in line):
            index += 1
        elif not dialect.quoting or '"' not in line:
            index += 1
            yield Record(index, index, line)
        else:
            feed.at(index)
            try:
                cells = next(reader)
                yield Record(index + 1, feed.index, cells)
                index = feed.index
            except csv.Error:  # the problem of the first line alone: the lines that it would swallow are read
                index += 1
                yield _alone(line, index, dialect)


def _alone(line: str, number: int, dialect: Dialect) -> Record:
    """Reads one line as a whole record."""
    if '"' not in line:
        return Record(number, number, line)
    try:
        return Record(number, number, dialect.quoted([line], strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            return Record(number, number, line, OPENED)
        return Record(number, number, dialect.quoted([line], strict=False))  # "a" b: closed, and more behind it


def _swallowed(lines: Sequence[str], dialect: Dialect, column: int, width: int, labels: Collection[str]) -> bool:
    candidates = [dialect.cells(lines[0])]
    candidates += [_alone(line, 0, dialect).cells(dialect) for line in lines[1:-1] if line.count(dialect.separator) >= width - 1]
    return any(len(cells) == width and cells[column] in labels for cells in candidates)


def _fitting(records: Sequence[Record], dialect: Dialect, width: int, name: str) -> tuple[list[Record], list[Issue]]:
    """Splits records into those with as many cells as the header, and an issue for each of the others."""
    good, bad = [], []
    for record in records:
        count = record.width(dialect)
        if record.problem is None and count == width:
            good.append(record)
            continue
        reason = record.problem
        if reason is None:
            if count > width and not any(record.cells(dialect)[width:]):  # separators at the end of the line
                good.append(record)
                continue
            reason = f"{count} cell{'' if count == 1 else 's'}, expected {width}"
            reason += "; a text with separators in it needs quotation marks" if count > width else ""
        bad.append(Issue(kind="bad-row", path=f"{name}:{record.line}", reason=reason, action="skipped"))
    return good, bad


# === Header ===


def _numbered(cells: Sequence[str]) -> list[str]:
    return [str(number) for number in range(1, len(cells) + 1)]


def _has_header(
    spec: str, name: str, first: Sequence[str], records: Sequence[Record], dialect: Dialect, lines: Sequence[str], columns: Columns
) -> bool:
    if columns.header is not None:
        return columns.header
    if recognises(first) or not _looks_like_data(first, records[1:], dialect):
        return True
    names = _numbered(first)
    if columns.numbered(first):
        return False
    good, _ = _fitting(records, dialect, len(names), name)
    table = Delimited(name, names, good, (), dialect, lines, has_header=False)
    shown = ", ".join(repr(cell[:30]) for cell in first[:3]) + (", …" if len(first) > 3 else "")
    raise DataError(
        f"the first line of {spec!r} looks like data ({shown}), not like a header; {suggestion(table)}; --header reads it as one"
    )


def _looks_like_data(first: Sequence[str], records: Sequence[Record], dialect: Dialect) -> bool:
    """Whether a value of the first line comes again in its column, or all are numbers: names of columns do neither."""
    if len(first) > 1 and all(re.fullmatch(r"[+-]?\d+(\.\d+)?", cell) for cell in first):
        return True
    for record in records[:SAMPLED]:
        cells = record.cells(dialect)
        if len(cells) == len(first) and any(cell and cell == other.strip() for cell, other in zip(first, cells, strict=True)):
            return True
    return False
