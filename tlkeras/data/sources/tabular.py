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
from tlkeras.errors import DataError, printable, shown
from tlkeras.errors import reason as reason_of
from tlkeras.files import LARGE, TIMES, parse_json, read_regular

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
        self.numbers = {name: number for number, name in reversed(list(enumerate(self.names)))}  # of the first column of each name
        self.lines = list(lines)
        self.notes = list(notes)
        self.has_header = has_header
        self.binary = tuple(binary)
        self._samples: dict[int, dict[str, list[Any]]] = {}

    @abstractmethod
    def rows(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yields the cells of each row in some columns; None where a row lacks one."""

    def sample(self, name: str, count: int = SAMPLE) -> list[Any]:
        """Returns the cells of a column that hold something, of the first rows."""
        if count not in self._samples:  # of all columns at once, of which a line may have a million
            columns = self._samples[count] = {}
            for row in islice(self.cells(), count):
                for key, value in row.items():
                    if value is not None and value != "":
                        columns.setdefault(key, []).append(value)
        return self._samples[count].get(name, [])

    def cells(self) -> Iterator[Mapping[str, Any]]:
        """Yields the cells of each row by the names of their columns."""
        return (dict(zip(self.numbers, row, strict=True)) for row in self.rows(list(self.numbers)))

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

    def cells(self) -> Iterator[Mapping[str, Any]]:
        """See `Table.cells`."""
        return iter(self._rows)


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
        return zip(*(_values(name, self._column(name)) for name in names), strict=True)

    def sample(self, name: str, count: int = SAMPLE) -> list[Any]:
        """See `Table.sample`; only these rows become Python objects."""
        return [value for value in _values(name, self._column(name).slice(0, count)) if value is not None and value != ""]

    def classes(self, name: str) -> Sequence[str] | None:
        """See `Table.classes`."""
        feature = self._features.get(name)
        feature = feature[0] if isinstance(feature, list) and feature else feature  # a list of labels in each cell
        feature = feature.get("feature", feature) if isinstance(feature, dict) else feature
        names = feature.get("names") if isinstance(feature, dict) else None
        return [str(label) for label in names] if isinstance(names, list) else None

    def _column(self, name: str) -> Any:
        return self._table.column(self.numbers[name])


MOST_ROWS = 1_000_000  # of a Parquet file that has fewer bytes than rows
BATCH, NUMBERS = 128, 8192  # rows that are read at a time: a file of kilobytes can repeat a text of a megabyte, but no such number


def read_parquet(file: Path) -> Parquet:
    """Reads a Parquet file, as long as it holds no more than its size lets expect.

    Raises:
        DataError: when it unpacks to far more than it takes up.
        OSError, ValueError: when it is damaged, or has what Arrow cannot read.
    """
    import pyarrow
    import pyarrow.parquet

    read_apart("parquet", file)
    try:
        with pyarrow.parquet.ParquetFile(file) as source:
            batches, schema = list(_batches(source, file.stat().st_size)), source.schema_arrow
        table = pyarrow.Table.from_batches(batches) if batches else schema.empty_table()
        return Parquet(file.name, table.replace_schema_metadata(schema.metadata))
    except pyarrow.ArrowException as error:
        raise ValueError(reason_of(error)) from error


def _batches(source: Any, size: int) -> Iterator[Any]:
    """Yields the rows of a Parquet file without dictionaries; what it states may be a lie, so that they are counted, too."""
    import pyarrow

    stated = source.metadata
    _check_bomb(size, stated.num_rows, sum(stated.row_group(index).total_byte_size for index in range(stated.num_row_groups)))
    rows = unpacked = 0
    for batch in source.iter_batches(NUMBERS if all(map(pyarrow.types.is_primitive, source.schema_arrow.types)) else BATCH):
        columns = [column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column for column in batch.columns]
        batch = pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)
        rows, unpacked = rows + batch.num_rows, unpacked + batch.nbytes
        _check_bomb(size, rows, unpacked)
        yield batch


def _check_bomb(size: int, rows: int, unpacked: int) -> None:
    """Refuses what no table holds in a file of so many bytes."""
    if rows > max(MOST_ROWS, size) or unpacked > max(LARGE, TIMES * size):
        raise DataError(
            f"{size:,} bytes that unpack to {rows:,} rows of {unpacked:,} bytes; expected at most {max(MOST_ROWS, size):,} rows and "
            f"{max(LARGE, TIMES * size):,} bytes; if they are meant, write them as CSV"
        )


def _values(name: str, column: Any) -> list[Any]:
    """Returns the cells of a column; bytes that are not UTF-8 stay marked, as in other tables."""
    import pyarrow

    try:
        try:
            return column.to_pylist()
        except UnicodeDecodeError:
            cells = column.cast("binary").to_pylist()
            return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]
    # Dates and times that Python does not have, zones that nobody knows, types without Python objects.
    except (pyarrow.ArrowException, OverflowError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"column {shown(name)} of type {shown(str(column.type))} has values that Python cannot hold: {reason_of(error)}; "
            "write them as texts or numbers"
        ) from error


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
