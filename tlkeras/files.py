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


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Waits until no other process holds a folder, and holds it; a process that ends gives it back."""
    if sys.platform == "win32":
        import msvcrt

        with (Path(folder) / ".lock").open("a+b") as file:
            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # it gives up after ten seconds
                    break
                except OSError:
                    continue
            yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


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
