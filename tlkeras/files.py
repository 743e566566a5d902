"""Files: written whole or not at all, and arrays read without running code."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np

# === Write ===


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """Yields a temporary name in a temporary folder beside `path`; the file or folder that the body writes there takes the place of `path`.

    The temporary name keeps the ending of `path`, because writers of other libraries choose the format by it. If the body raises,
    nothing is left and `path` is as it was.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        temporary = Path(folder) / path.name
        yield temporary
        put(temporary, path)


@contextmanager
def folder_aside(parent: Path) -> Iterator[Path]:
    """Yields a new folder in `parent` under a temporary name, which the body fills and passes to `put`, or which is deleted."""
    with tempfile.TemporaryDirectory(dir=parent, prefix=".") as folder:
        temporary = Path(folder) / "new"
        temporary.mkdir()
        yield temporary


def put(temporary: Path, path: Path) -> None:
    """Renames a file or a folder into place; a folder that stood there is gone as a whole, so that no stale file stays in it."""
    if temporary.is_file():
        _flush(temporary)
    if path.is_dir():
        old = Path(tempfile.mkdtemp(dir=path.parent, prefix=".old-"))
        os.replace(path, old / path.name)
        os.replace(temporary, path)
        shutil.rmtree(old)
    else:
        os.replace(temporary, path)


def _flush(path: Path) -> None:
    """Hands the content to the disk before the file has its name: a power cut leaves the old file or the new one."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write(path: str | Path, content: bytes | str) -> None:
    """Writes a file whole or not at all; texts in UTF-8."""
    with aside(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def write_json(path: str | Path, value: Mapping[str, Any]) -> None:
    """Writes JSON whole or not at all; figures that are no numbers are refused rather than written as NaN."""
    write(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_rows(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as CSV; the columns are those of all rows, in order of appearance."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write(path, text.getvalue())


def write_npz(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name as a compressed `.npz`, whole or not at all."""
    import numpy as np

    with aside(path) as temporary:
        np.savez_compressed(temporary, **arrays)


# What makes a spreadsheet run a cell as a formula (https://owasp.org/www-community/attacks/CSV_Injection), and what `escape_cell` puts before it.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
ESCAPE = "'"


def escape_cell(value: Any) -> Any:
    """Returns a text as a cell that no spreadsheet runs as a formula: `'` stands before it where it could; other values are unchanged.

    `unescape_cell` returns the text again, so one that begins with `'` has another before it as well.
    """
    return ESCAPE + value if isinstance(value, str) and value.startswith((*FORMULA, ESCAPE)) else value


def unescape_cell(text: str) -> str:
    """Returns the text that `escape_cell` made a cell of."""
    return text.removeprefix(ESCAPE)


def write_sheet(path: str | Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Writes rows as CSV that is safe to open in a spreadsheet; see `escape_cell`.

    Args:
        path: file to write; in UTF-8 with a signature, without which Excel reads another encoding.
        rows: column -> value.
        columns: that are there even without rows; further ones follow in order of appearance.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    writer.writerow([escape_cell(name) for name in names])
    writer.writerows([escape_cell(row.get(name, "")) for name in names] for row in rows)
    write(path, text.getvalue().encode("utf-8-sig"))


def read_sheet(path: str | Path) -> list[dict[str, str]]:
    """Reads the rows that `write_sheet` wrote, also where a spreadsheet has saved them with `;` or tabs between the cells.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is no CSV in UTF-8.
    """
    try:
        content = Path(path).read_bytes().decode("utf-8-sig")
        tables = (list(csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)) for delimiter in ",;\t")
        head, *rows = next((table for table in tables if table and len(table[0]) > 1), [[]])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(" ".join(str(error).split())) from error
    names = [unescape_cell(name.strip()) for name in head]
    return [dict(zip(names, map(unescape_cell, row), strict=False)) for row in rows if any(cell.strip() for cell in row)]


def cache_dir() -> Path:
    """Returns the folder of what can be had again, such as converted weights: `TLKERAS_CACHE`, else the user's cache folder."""
    if chosen := os.environ.get("TLKERAS_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "tlkeras" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tlkeras"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlkeras"


# === Read ===


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of an `.npz` file by name; objects, which are code, are refused.

    Raises:
        OSError: when it cannot be opened.
        ValueError: when it is damaged, encrypted, or holds something else.
    """
    arrays = _read(Path(path))
    if not isinstance(arrays, dict):
        raise ValueError("it holds one array without a name; expected those of numpy.savez")
    return arrays


def read_npy(source: str | Path | BinaryIO) -> np.ndarray:
    """Reads the array of an `.npy` file; see `read_npz`."""
    array = _read(Path(source) if isinstance(source, str) else source)
    if isinstance(array, dict):
        raise ValueError("it holds arrays with names; expected the one of numpy.save")
    return array


def _read(source: Path | BinaryIO) -> Any:
    """Reads the file itself where it is a path: numpy leaves a damaged one open."""
    import numpy as np

    if isinstance(source, Path):
        with source.open("rb") as file:
            return _read(file)
    try:
        arrays = np.load(source, allow_pickle=False)
        return arrays if isinstance(arrays, np.ndarray) else dict(arrays)
    # What comes of files that are cut short, damaged, encrypted or compressed in another way.
    except (EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(" ".join(str(error).split()) or "it is damaged") from error
