"""Tables: CSV, TSV, JSONL or Parquet with `path,label` or `text,label` columns, and `split` where the table says what is held out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkeras.data.examples import Dataset, Example, Issue, make_dataset
from tlkeras.data.sources.columns import SPLIT, Columns
from tlkeras.data.sources.folder import SPLITS
from tlkeras.data.sources.sequences import id_column, of_rows
from tlkeras.errors import DataError

Row = tuple[int, Mapping[str, Any]]  # number of its line, column -> value

# Bytes that are no UTF-8 stay in a text as these code points, so that the row can be named and left out.
SURROGATES = range(0xDC80, 0xDD00)
LONGEST = 2**31 - 1  # of one field; Python's own limit of 131,072 is shorter than many reviews


def open_table(spec: str, *, labels: Sequence[str] | None = None, data_dir: str | None = None, columns: Columns | None = None) -> Dataset:
    """Lists the rows of a table; paths are relative to it.

    Raises:
        DataError: when it cannot be read, columns are missing, or a split is unknown.
    """
    file = Path(spec).expanduser()
    try:
        names, rows = READERS[file.suffix.lower()](file)
        listed = list(rows)
    except (csv.Error, OSError, ValueError) as error:
        raise DataError(f"cannot read {spec!r} as {file.suffix[1:].upper()} in UTF-8: {' '.join(str(error).split())[:200]}") from error
    told = columns or Columns()
    if id_column(names) and told.text is None and not told.has_content(names):
        return of_rows(spec, names, listed, told.label_in(spec, names), labels)
    content, label, is_text = told.found(spec, names) if names else ("", "", False)
    found = [_example(row, file, number, content, label, is_text) for number, row in listed]
    notes = [one for one in found if isinstance(one, Issue)]
    return make_dataset(f"table {spec!r}", _unique([one for one in found if isinstance(one, Example)]), notes=notes, labels=labels)


def _unique(examples: Sequence[Example]) -> Iterator[Example]:
    """Yields the examples; a path may stand in two rows, with two labels: the line keeps their ids apart."""
    seen: set[str] = set()
    for one in examples:
        name, _, number = one.id.rpartition("#")
        kept = one.id if one.text is not None or name in seen else name
        seen.add(name)
        yield Example(id=kept, label=one.label, path=one.path, text=one.text, split=one.split)


def _example(row: Mapping[str, Any], file: Path, number: int, content: str, label: str, is_text: bool) -> Example | Issue:
    where = f"{file.name}:{number}"
    given, named, split = (_text(row.get(name)) for name in (content, label, SPLIT))
    if any(ord(one) in SURROGATES for one in given + named):
        return Issue(kind="bad-utf8", path=where, reason="the line is not UTF-8", action="skipped")
    if not given.strip() or not named.strip():
        kind = "bad-row" if not named.strip() or not is_text else "empty-text"
        return Issue(kind=kind, path=where, reason=f"no {label if not named.strip() else content}", action="skipped")
    if split.strip() and split.strip().lower() not in SPLITS:
        raise DataError(f"{where} has split {split!r}; expected train, val or test")
    held = SPLITS[split.strip().lower()] if split.strip() else None
    if is_text:
        return Example(id=where, label=named.strip(), text=given, split=held)
    return Example(id=f"{given.strip()}#{number}", label=named.strip(), path=file.parent / given.strip(), split=held)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


# === Kinds of tables ===


def _separated(separator: str) -> Callable[[Path], tuple[Sequence[str], Iterator[Row]]]:
    def read(file: Path) -> tuple[Sequence[str], Iterator[Row]]:
        csv.field_size_limit(LONGEST)
        text = file.read_bytes().decode("utf-8-sig", "surrogateescape")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
        names = list(reader.fieldnames or [])
        return names, ((reader.line_num, row) for row in reader)

    return read


def _json_lines(file: Path) -> tuple[Sequence[str], Iterator[Row]]:
    rows: list[Row] = []
    for number, line in enumerate(file.read_bytes().decode("utf-8-sig", "surrogateescape").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{file.name}:{number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{file.name}:{number} is no JSON object; expected one object with text and label in each line")
        rows.append((number, row))
    return list(dict.fromkeys(name for _, row in rows for name in row)), iter(rows)


def _parquet(file: Path) -> tuple[Sequence[str], Iterator[Row]]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(file)
    return table.column_names, enumerate(table.to_pylist(), 1)


READERS: dict[str, Callable[[Path], tuple[Sequence[str], Iterator[Row]]]] = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".tab": _separated("\t"),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}
