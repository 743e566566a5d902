"""Reads a file from start to end with the library that the command will use, and forgets what it read; see `reader_worker.py`.

What a library raises does not matter here: the command meets it, too, and says so. What matters is that this process may crash in its place.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# What a file may take: of processor time, and of memory beyond what the process has.
SECONDS, SECONDS_PER_BYTE = 1.0, 1e-7
BYTES, BYTES_PER_BYTE = 1024**3, 3
PIECE = 64 * 1024**2  # bytes of an array that are read at a time


def hdf5(path: Path, member: str) -> None:
    """Reads every array and attribute of an HDF5 file, or of one in a ZIP archive."""
    import h5py

    source: Any = path
    if member:
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read(member))

    def read(name: str, entry: Any) -> None:
        try:
            dict(entry.attrs)
            if isinstance(entry, h5py.Dataset) and not entry.external and not entry.is_virtual:  # those name other files
                for part in _pieces(entry):
                    entry[part]
        except (OSError, ValueError, LookupError, RuntimeError, TypeError):  # the others are read, too
            pass

    with h5py.File(source, "r") as file:
        read("/", file)
        file.visititems(read)  # follows no links to other places, and visits what is linked twice once


def _pieces(entry: Any) -> Iterator[Any]:
    """Yields indexes that cover an array, a piece at a time."""
    if not entry.shape:
        yield ()
        return
    step = max(1, PIECE * entry.shape[0] // max(1, entry.nbytes))
    yield from (slice(start, start + step) for start in range(0, entry.shape[0], step))


def parquet(path: Path, member: str) -> None:
    """Reads a Parquet file, some rows at a time, as far as they may be much: whoever reads it here says when they are too many."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        unpacked = 0
        for batch in file.iter_batches(batch_size=4096, use_threads=False):
            unpacked += batch.nbytes
            if unpacked > BYTES:
                return


READERS: dict[str, tuple[str, Callable[[Path, str], None]]] = {"hdf5": ("h5py", hdf5), "parquet": ("pyarrow.parquet", parquet)}


def answer(kind: str, content: bytes, allow: Callable[[float, float], None]) -> bytes:
    """Reads a file; returns nothing.

    Args:
        kind: in `READERS`.
        content: its path, and behind a zero character the name of its member, where it is an archive.
        allow: limits what is done from now on.
    """
    module, read = READERS[kind]
    __import__(module)  # what a library takes to load is not the file's
    name, _, member = content.partition(b"\0")
    path = Path(os.fsdecode(name))
    if not path.is_file():
        return b""
    size = path.stat().st_size
    allow(SECONDS + SECONDS_PER_BYTE * size, BYTES + BYTES_PER_BYTE * size)
    read(path, member.decode())
    return b""
