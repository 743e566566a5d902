"""Tables of typed cells, JSON lines and Parquet, and what all tables have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tlkeras.data.cells import clean
from tlkeras.data.examples import Issue
from tlkeras.data.sources.encoding import UNDECODABLE, decode_text, detect_encoding
from tlkeras.data.trial import read_apart
from tlkeras.errors import DataError, printable
from tlkeras.errors import reason as reason_of
from tlkeras.files import parse_json, read_regular

LARGEST = 1 << 34  # bytes of a table of text, which is kept in memory
SAMPLE = 50  # rows that decide what a column contains


def column_name(text: str) -> str:
    """Returns the name of a column on one line, without bytes that are not of the encoding and what cannot be printed."""
    return printable(" ".join(clean(text).split()))


class Table(ABC):
    """Rows with named columns.

    Args:
        name: of the file.
        names: of the columns.
        lines: the number of each row in the file.
        notes: what was noticed while reading.
        has_header: whether the file names the columns.
        binary: columns that may hold encoded images, by their type.
    """

    def __init__(
        self,
        name: str,
        names: Sequence[str],
        lines: Sequence[int],
        notes: Sequence[Issue] = (),
        *,
        has_header: bool = True,
        binary: Sequence[str] = (),
    ):
        self.name = printable(name)
        self.names = [column_name(name) for name in names]
        self.lines = list(lines)
        self.notes = list(notes)
        self.has_header = has_header
        self.binary = tuple(binary)

    @abstractmethod
    def rows(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yields the cells of each row in some columns; None where a row lacks one."""

    def sample(self, name: str, count: int = SAMPLE) -> list[Any]:
        """Returns the first cells of a column that hold something."""
        return [value for (value,) in islice(self.rows([name]), count) if value is not None and value != ""]

    def classes(self, name: str) -> Sequence[str] | None:
        """Returns the classes by number, where the file names them for a column of numbers."""
        return None

    def checked(self, label: str) -> Table:
        """Returns the table without rows that are shown to be misread once the column of labels is known."""
        return self


class JsonLines(Table):
    """One JSON object in each line."""

    def __init__(self, name: str, rows: Sequence[tuple[int, Mapping[str, Any]]], notes: Sequence[Issue]):
        super().__init__(name, list(dict.fromkeys(key for _, row in rows for key in row)), [number for number, _ in rows], notes)
        self._rows = [row for _, row in rows]

    def rows(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """See `Table.rows`."""
        return (tuple(row.get(name) for name in names) for row in self._rows)


def read_json_lines(file: Path, encoding: str | None) -> JsonLines:
    """Reads a JSON Lines file.

    Raises:
        DataError: for a line that is no JSON object.
    """
    content = read_regular(file, LARGEST)
    detected = detect_encoding(content, encoding)
    notes = [Issue(kind="encoding", path=printable(file.name), reason=detected.note, action="reported")] if detected.note else []
    rows: list[tuple[int, Mapping[str, Any]]] = []
    halves = 0
    for number, line in enumerate(decode_text(content, detected).split("\n"), 1):
        where = f"{printable(file.name)}:{number}"
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise DataError(f"{where} is not valid JSON: {reason_of(error)}") from error
        if not isinstance(row, dict):
            raise DataError(f"{where} is not a JSON object; expected one object with text and label on each line")
        row = {column_name(key): value for key, value in row.items()}
        if not UNDECODABLE.search(line):  # else the cells stay marked, so that the row is left out and counted with its class
            whole = {key: clean(value) if isinstance(value, str) else value for key, value in row.items()}
            halves += whole != row
            row = whole
        rows.append((number, row))
    if halves:
        reason = f"{halves:,} rows contain half a character (a lone surrogate), which is read as U+FFFD"
        notes.append(Issue(kind="lone-surrogate", path=printable(file.name), reason=reason, action="kept"))
    return JsonLines(file.name, rows, notes)


class Parquet(Table):
    """A Parquet file; Hugging Face writes the names of classes into its metadata."""

    def __init__(self, name: str, table: Any):
        binary = [field.name for field in table.schema if _is_image(field.type)]
        super().__init__(name, table.column_names, range(1, table.num_rows + 1), binary=binary)
        self._table = table
        self._features = _features(table.schema.metadata or {})

    def rows(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """See `Table.rows`."""
        return zip(*(_values(self._column(name)) for name in names), strict=True)

    def sample(self, name: str, count: int = SAMPLE) -> list[Any]:
        """See `Table.sample`; only these rows become Python objects."""
        return [value for value in _values(self._column(name).slice(0, count)) if value is not None and value != ""]

    def classes(self, name: str) -> Sequence[str] | None:
        """See `Table.classes`."""
        feature = self._features.get(name)
        feature = feature[0] if isinstance(feature, list) and feature else feature  # a list of labels in each cell
        feature = feature.get("feature", feature) if isinstance(feature, dict) else feature
        names = feature.get("names") if isinstance(feature, dict) else None
        return [str(label) for label in names] if isinstance(names, list) else None

    def _column(self, name: str) -> Any:
        return self._table.column(self.names.index(name))


def read_parquet(file: Path) -> Parquet:
    """Reads a Parquet file."""
    import pyarrow.parquet

    read_apart("parquet", file)
    return Parquet(file.name, pyarrow.parquet.read_table(file))


def _values(column: Any) -> list[Any]:
    """Returns the cells of a column; bytes that are not UTF-8 stay marked, as in other tables."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        cells = column.cast("binary").to_pylist()
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]


def _is_image(type_: Any) -> bool:
    from pyarrow import types

    if types.is_struct(type_):
        return {"bytes", "path"} >= {field.name for field in type_}
    return types.is_binary(type_) or types.is_large_binary(type_)


def _features(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """Returns the features that Hugging Face's `datasets` stores with a table: name -> description."""
    try:
        features = parse_json(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        return {}
    return features if isinstance(features, dict) else {}
