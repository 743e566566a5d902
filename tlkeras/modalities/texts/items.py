"""The texts that a user passes to a model: the texts themselves, or files of texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlkeras.data.sources.columns import TEXTS, Columns, listed
from tlkeras.data.sources.folder import listed_files
from tlkeras.data.sources.listing import readable
from tlkeras.data.sources.registry import TABLES
from tlkeras.data.sources.table import read_table
from tlkeras.errors import DataError
from tlkeras.files import read_regular
from tlkeras.modalities.inputs import Inputs
from tlkeras.modalities.items import SHOWN, Item, Tell, lines
from tlkeras.modalities.texts.files import FILES
from tlkeras.modalities.texts.reading import LARGEST

MOST_LINES = 512 * 1024**2  # bytes of a file of lines
LINES = (".txt", "")  # endings of files that hold one text per line


def items(source: Any, index: int, inputs: Inputs, tell: Tell) -> Iterator[Item]:
    """Yields a text, or the texts of the file that a `Path` names."""
    if isinstance(source, Path):
        yield from _text_file(source.expanduser(), tell)
        return
    if isinstance(source, str) and _is_file(source):
        tell(f"note: {source!r} is a file, and was read as a text; pass --file {source} (in Python, a Path) to read the texts in it")
    yield Item(name=source if isinstance(source, str) else f"input {index}", value=source)


def _is_file(text: str) -> bool:
    try:
        return len(text) < 256 and Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, an unknown user
        return False


def _text_file(path: Path, tell: Tell) -> Iterator[Item]:
    """Yields the texts of a file: the lines of a .txt, the text column of a table; and, of a folder, each .txt file as one text."""
    if readable(str(path), "is_dir"):
        yield from _folder(path, tell)
        return
    try:
        table = path.suffix.lower() in set(TABLES) - set(LINES)
        values = _column(path) if table else lines(read_regular(path, MOST_LINES), str(path))
    except (OSError, ValueError) as error:
        yield Item(name=str(path), error=_reason(error) if isinstance(error, DataError) else f"{path}: {_reason(error)}")
        return
    if not values:
        yield Item(name=str(path), error=f"{path}: this file contains no text")
    yield from (Item(name=text, value=text) for text in values)


def _folder(folder: Path, tell: Tell) -> Iterator[Item]:
    """Yields each text file of a folder, and of the folders inside, as one text."""
    try:
        files, notes = listed_files(folder, FILES)
    except DataError as error:
        yield Item(name=str(folder), error=str(error))
        return
    for note in notes[:SHOWN]:
        tell(f"skipped {folder / note.path}: {note.reason}")
    if not files:
        yield Item(name=str(folder), error=f"{folder}: this folder contains no .txt files")
    yield from (_whole(file) for file in files)


def _whole(file: Path) -> Item:
    try:
        return Item(name=str(file), value=read_regular(file, LARGEST).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        return Item(name=str(file), error=f"{file}: {_reason(error)}")


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())[:200]


def _column(path: Path) -> list[str]:
    """Returns the texts of a table: its text column, or its only column."""
    table = read_table(path, str(path), Columns())
    usual = [name for name in table.names if name.lower().strip() in TEXTS] or (list(table.names) if len(table.names) == 1 else [])
    if not usual:
        raise DataError(f"{path} has the columns {listed(table.names)}; expected one named text")
    return [str(text) for (text,) in table.rows(usual[:1]) if text not in (None, "")]


def standard_input(content: bytes, inputs: Inputs) -> list[Any]:
    """Returns one text per line.

    Raises:
        DataError: when there is none, or they are not UTF-8.
    """
    if not content.strip():
        raise DataError("standard input is empty; expected one text per line")
    return list(lines(content, "standard input"))
