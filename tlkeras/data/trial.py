"""Files of strangers are read once in another process before a library reads them here: should it crash, it crashes there."""

from __future__ import annotations

import os
from pathlib import Path

from tlkeras.data import trial_reader
from tlkeras.data.reader_process import Reader, ReaderEnded, ReaderError

READER = Reader(Path(trial_reader.__file__), memory=0, seconds=600, name="its reader")  # on the clock: large files may come over a network


def read_apart(kind: str, path: str | Path, member: str = "") -> None:
    """Reads a file in a process of its own, with bounded time and memory.

    Args:
        kind: `hdf5` or `parquet`.
        path: of the file.
        member: name of the file inside it, where it is a ZIP archive.

    Raises:
        ReaderEnded: when the library crashed, or took more time or memory than a file of this size needs; errors that it raises are
            left to whoever reads the file here.
    """
    try:
        READER.read(kind, os.fsencode(path) + b"\0" + member.encode())
    except ReaderEnded:
        raise
    except ReaderError:
        pass
