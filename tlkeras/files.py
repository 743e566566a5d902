"""Files: written whole or not at all, and arrays read without running code."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import shutil
import stat
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tlkeras.errors import shown

if TYPE_CHECKING:
    import numpy as np

# === Write ===

ASIDE = re.compile(r"-[a-z0-9_]{8}$")  # how the names of Python's temporary folders end, in which files are written


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
    with tempfile.TemporaryDirectory(dir=parent, prefix=".new-") as folder:
        temporary = Path(folder) / "new"
        temporary.mkdir()
        yield temporary


def put(temporary: Path, path: Path) -> None:
    """Renames a file or a folder into place; a folder that stood there is gone as a whole, so that no stale file stays in it."""
    if temporary.is_file():
        with temporary.open("rb") as file:  # to the disk before it has its name: a power cut leaves the old file or the new one
            os.fsync(file.fileno())
    if path.is_dir():
        old = Path(tempfile.mkdtemp(dir=path.parent, prefix=".old-"))
        os.replace(path, old / path.name)
        os.replace(temporary, path)
        shutil.rmtree(old)
    else:
        os.replace(temporary, path)


def sweep(folder: str | Path) -> None:
    """Removes what a process that was killed was writing into a folder; only for who knows that no other process writes there."""
    for path in Path(folder).glob(".*-*"):
        if ASIDE.search(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def write(path: str | Path, content: bytes | str) -> None:
    """Writes a file whole or not at all; texts in UTF-8. Bytes of a file's name that are no UTF-8 are spelled out, as JSON and YAML read them."""
    with aside(path) as temporary:
        temporary.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


def write_json(path: str | Path, value: Mapping[str, Any]) -> None:
    """Writes JSON whole or not at all; figures that are no numbers are refused rather than written as NaN."""
    write(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


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


def write_npz(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name as a compressed `.npz`, whole or not at all."""
    import numpy as np

    with aside(path) as temporary:
        np.savez_compressed(temporary, **arrays)


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

MOST_JSON = 64 * 1024**2  # bytes of a JSON file; the configs of the largest models have 2 million


def open_regular(path: str | Path) -> io.BufferedReader:
    """Opens a regular file to read it. Pipes, sockets and devices are refused: reading one can wait for ever, or never end.

    Raises:
        OSError: when it is none, or cannot be opened.
        ValueError: for a name with a zero character.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # before it is opened, which makes some devices move
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    # Once more on what was opened: a pipe may have taken the file's place, and opening one waits for its writer.
    file = open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def read_regular(path: str | Path, most: int) -> bytes:
    """Returns the content of a regular file of at most `most` bytes; see `open_regular`.

    Raises:
        OSError: also when the file is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(most + 1) if size <= most else b""
    if size > most or len(content) > most:
        raise OSError(errno.EFBIG, f"{max(size, len(content)):,} bytes; expected at most {most:,}", str(path))
    return content


def read_text(path: str | Path, most: int = MOST_JSON) -> str:
    """Returns the content of a regular file in UTF-8; see `read_regular`. Text that is none is a `ValueError`."""
    return read_regular(path, most).decode("utf-8")


def parse_json(content: bytes | str) -> Any:
    """Returns the value of a JSON text.

    Raises:
        ValueError: also when it is nested deeper than Python can read.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: str | Path, most: int = MOST_JSON) -> Any:
    """Returns the value in a JSON file; see `read_regular` and `parse_json`."""
    return parse_json(read_regular(path, most))


MOST_NUMBER = 1e300  # larger ones are no floats, or no figures


def misfit(value: Any, shape: Any, name: str = "it") -> str | None:
    """Returns what in a value of JSON is not as a shape says, in words; None where nothing is.

    Args:
        value: as `parse_json` returns it.
        shape: a type, where `float` is any number; None; several of these in a tuple; a list with the shape of all entries; or an object:
            key -> shape, where a key that ends with `?` may be absent, and `...` stands for each key that is not named.
        name: what the value is called.

    Example:
        >>> shape = {"n": int, "loss?": (float, None), "labels": [str]}
        >>> misfit({"n": 1, "labels": ["a", 2]}, shape)
        'it.labels.1 is 2; expected str'
        >>> misfit({"n": 1, "labels": []}, shape)
    """
    if isinstance(shape, tuple):
        problems = [misfit(value, choice, name) for choice in shape]
        return None if None in problems else problems[0]
    if isinstance(shape, list) and isinstance(value, list):
        return next(filter(None, (misfit(entry, shape[0], f"{name}.{index}") for index, entry in enumerate(value))), None)
    if isinstance(shape, Mapping) and isinstance(value, Mapping):
        known = {key.removesuffix("?"): key for key in shape if key is not ...}
        missing = next((key for key in known.values() if key not in value and not key.endswith("?")), None)
        shapes = {key: shape[known[key]] if key in known else shape.get(..., object) for key in value}
        problems = [misfit(inner, shapes[key], f"{name}.{shown(key, 40)[1:-1]}") for key, inner in value.items()]
        return f"{name} has no {missing!r}" if missing else next(filter(None, problems), None)
    fits = shape is object or value is shape or type(value) is shape
    if shape in (int, float):
        fits = type(value) in (int, shape) and not abs(value) > MOST_NUMBER
    kinds: dict[Any, str] = {dict: "object", list: "list"}
    expected = kinds.get(type(shape), getattr(shape, "__name__", "null"))
    return None if fits else f"{name} is {shown(value)}; expected {expected}"


def check_format(path: str | Path, content: Mapping[str, Any], error: type[Exception], known: int = 1) -> None:
    """Raises `error` for a file of a later tlkeras: its `format`, or `version` in three kinds, is above `known`. The oldest files state none."""
    number = content.get("format", content.get("version", known))
    if not isinstance(number, int) or number > known:
        raise error(f"{str(path)!r} has format {shown(number)}, and this tlkeras reads formats up to {known}; update tlkeras")


LARGE, TIMES = 256 * 1024**2, 200  # an archive that unpacks to more bytes than this, and to so many times its size, is a bomb


def check_archive(archive: zipfile.ZipFile) -> None:
    """Rejects a ZIP archive that unpacks to far more than it takes up.

    Raises:
        ValueError: with both sizes.
    """
    packed, unpacked = (sum(getattr(info, name) for info in archive.infolist()) for name in ("compress_size", "file_size"))
    largest = max((info.file_size / max(1, info.compress_size) for info in archive.infolist() if info.file_size > LARGE), default=0)
    held = archive.fp.seek(0, os.SEEK_END) if archive.fp is not None else packed
    if unpacked > LARGE and (unpacked > TIMES * held or largest > TIMES):
        raise ValueError(f"{held:,} bytes that unpack to {unpacked:,}, more than {TIMES} times as many; save it without compression")


def read_npz(source: str | Path | BinaryIO) -> dict[str, np.ndarray]:
    """Reads the arrays of an `.npz` file by name; objects, which are code, are refused.

    Raises:
        OSError: when it cannot be opened.
        ValueError: when it is damaged, encrypted, or holds something else.
    """
    with open_regular(source) if isinstance(source, str | Path) else nullcontext(source) as file:
        if not zipfile.is_zipfile(file):
            alone = file.seek(0) == 0 and file.read(len(NPY)) == NPY
            raise ValueError(
                "it holds one array without a name; expected those of numpy.savez" if alone else "it is not a complete .npz file"
            )
        return _guarded(lambda: _arrays(file))


def read_npy(source: str | Path | BinaryIO) -> np.ndarray:
    """Reads the array of an `.npy` file; see `read_npz`."""
    if not isinstance(source, str | Path):
        return _guarded(lambda: _array(source, len(source.read()) if source.seek(0) == 0 else 0))
    with open_regular(source) as file:
        if file.read(4) == b"PK\x03\x04":
            raise ValueError("it holds arrays with names; expected the one of numpy.save")
        return _guarded(lambda: _array(file, os.fstat(file.fileno()).st_size))


NPY = b"\x93NUMPY"  # how .npy files begin


def _guarded(read: Callable[[], Any]) -> Any:
    try:
        return read()
    # What comes of files that are cut short, damaged, encrypted or compressed in another way.
    except (EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error, SyntaxError, TypeError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split()) or "it is damaged") from error
    except MemoryError:
        raise ValueError("it does not fit into memory") from None


def _arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        check_archive(archive)
        for info in archive.infolist():
            with archive.open(info) as member:
                arrays[info.filename.removesuffix(".npy")] = _array(member, info.file_size)
    return arrays


def _array(file: Any, size: int) -> np.ndarray:
    """Returns the array of an `.npy` file or member of so many bytes, once its header was seen to state no more than these."""
    from numpy.lib import format as npy

    file.seek(0)
    if file.read(len(NPY)) != NPY:
        raise ValueError("it is not a complete .npy array" if size else "it is empty")
    file.seek(0)
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):  # 3.0 is for names of fields in other scripts
        raise ValueError(f"an array of .npy version {'.'.join(map(str, version))}; expected 1.0 or 2.0")
    shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are code; expected numbers or texts")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > size - file.tell():
        raise ValueError(f"its header states an array of {shape}, {dtype}, which is more than the file holds; it is cut short")
    file.seek(0)
    return npy.read_array(file, allow_pickle=False)
