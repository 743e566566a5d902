"""The inputs that a user passes to a model, one after the other: files, folders, patterns, arrays, texts."""

from __future__ import annotations

import glob
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.data.sources.columns import TEXTS, Columns
from tlkeras.data.sources.folder import absent, listed_files
from tlkeras.data.sources.registry import TABLES
from tlkeras.data.sources.table import read_table
from tlkeras.errors import DataError
from tlkeras.files import read_npy
from tlkeras.modalities.images.formats import sniff
from tlkeras.modalities.inputs import Inputs

Tell = Callable[[str], None]
SHOWN = 5  # skipped files that are named; the others are counted
LINES = (".txt", "")  # endings of files that hold one text per line
NPY = b"\x93NUMPY"  # how .npy files begin


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item, or the reason why there is none.

    Args:
        name: of the item, in messages: a path, the text itself, or `input N`.
        value: what `Inputs.read` accepts.
        error: what is wrong with it, where it cannot be listed.
    """

    name: str
    value: Any = None
    error: str | None = None


def items(source: Any, inputs: Inputs, tell: Tell) -> Iterator[Item]:
    """Yields every item.

    Args:
        source: one source or several, in any iterable: paths, folders, patterns, encoded images, arrays, PIL images, or texts.
        inputs: the inputs that the model accepts.
        tell: called with a message about each skipped file.
    """
    for index, part in enumerate(_several(source, inputs)):
        yield from [part] if isinstance(part, Item) else KINDS[inputs.modality](part, index, inputs, tell)


def _several(source: Any, inputs: Inputs) -> Iterator[Any]:
    """Yields the parts of a list, or of an array that is a batch."""
    if isinstance(source, str | bytes | bytearray | Path | Item) or _is_image(source):
        yield source
    elif hasattr(source, "read"):  # an open file, whose lines are no inputs
        yield source.read()
    elif hasattr(source, "__array__"):
        array = np.asarray(source)
        batch = array.dtype.kind in "OUS" or inputs.is_batch(array)
        yield from array.tolist() if batch and array.dtype.kind in "OUS" else array if batch else [array]
    elif isinstance(source, Iterable):
        for part in source:
            yield from _several(part, inputs)
    else:
        yield source


def _is_image(value: Any) -> bool:
    from PIL import Image

    return isinstance(value, Image.Image)


# === Images and sequences: files ===


def _files(source: Any, index: int, inputs: Inputs, tell: Tell) -> Iterator[Item]:
    if not isinstance(source, str | Path):
        yield Item(name=f"input {index}", value=bytes(source) if isinstance(source, bytearray) else source)
        return
    error = absent(source)
    path = Path(source).expanduser()
    if error is not None:
        yield Item(name=str(source), error=error)
    elif path.is_dir():
        yield from _folder(path, inputs, tell)
    elif not path.exists():
        for match in sorted(glob.glob(str(path), recursive=True)):
            yield from _folder(Path(match), inputs, tell) if Path(match).is_dir() else [Item(name=match, value=Path(match))]
    else:
        yield Item(name=str(source), value=path)


def _folder(folder: Path, inputs: Inputs, tell: Tell) -> Iterator[Item]:
    """Yields every file of a folder that the model may accept, including subfolders, in order."""
    try:
        paths, notes = listed_files(folder, inputs.endings)
    except DataError as error:
        yield Item(name=str(folder), error=str(error))
        return
    for note in notes[:SHOWN]:
        tell(f"skipped {folder / note.path}: {note.reason}")
    if len(notes) > SHOWN:
        tell(f"skipped {len(notes) - SHOWN} more files in {folder}")
    if not paths:
        yield Item(name=str(folder), error=f"{folder}: this folder contains no {inputs.noun} files; expected {', '.join(inputs.examples)}")
    yield from (Item(name=str(path), value=path) for path in paths)


# === Texts ===


def _texts(source: Any, index: int, inputs: Inputs, tell: Tell) -> Iterator[Item]:
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
    if path.is_dir():
        files = sorted(path.rglob("*.txt"))
        if not files:
            yield Item(name=str(path), error=f"{path}: this folder contains no .txt files")
        yield from (_whole(file) for file in files)
        return
    try:
        values = _column(path) if path.suffix.lower() in set(TABLES) - set(LINES) else _lines(path.read_bytes(), str(path))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())[:200]
        yield Item(name=str(path), error=str(error) if isinstance(error, DataError) else f"{path}: {reason}")
        return
    if not values:
        yield Item(name=str(path), error=f"{path}: this file contains no text")
    yield from (Item(name=text, value=text) for text in values)


def _whole(file: Path) -> Item:
    try:
        return Item(name=str(file), value=file.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        return Item(name=str(file), error=f"{file}: {error}")


def _lines(content: bytes, name: str) -> list[str]:
    """Returns the lines that hold a text; blank lines hold none."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{name}: line {line} is not UTF-8; save the file as UTF-8") from error
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]


def _column(path: Path) -> list[str]:
    """Returns the texts of a table: its text column, or its only column."""
    table = read_table(path, str(path), Columns())
    usual = [name for name in table.names if name.lower().strip() in TEXTS] or (list(table.names) if len(table.names) == 1 else [])
    if not usual:
        raise DataError(f"{path} has the columns {', '.join(map(str, table.names))}; expected one named text")
    return [str(text) for (text,) in table.rows(usual[:1]) if text not in (None, "")]


KINDS: dict[str, Callable[[Any, int, Inputs, Tell], Iterator[Item]]] = {"image": _files, "sequence": _files, "text": _texts}


# === Standard input ===


def standard_input(content: bytes, inputs: Inputs) -> list[Any]:
    """Returns what standard input holds: one text per line; or one path per line, an encoded image, the bytes of an .npy file.

    Raises:
        DataError: when it is empty, or is neither.
    """
    if not content.strip():
        expected = "one text per line" if inputs.modality == "text" else f"one path per line, or the bytes of one {inputs.noun} file"
        raise DataError(f"standard input is empty; expected {expected}")
    if inputs.modality != "text" and content.startswith(NPY):
        try:
            return [Item(name="-", value=read_npy(io.BytesIO(content)))]
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the array on standard input: {' '.join(str(error).split())[:160]}") from error
    if inputs.modality != "text" and sniff(content):
        return [Item(name="-", value=content)]
    try:
        return list(_lines(content, "standard input"))
    except DataError:
        if inputs.modality == "text":
            raise
        return [Item(name="-", value=content)]  # damaged, and named so when it is read
