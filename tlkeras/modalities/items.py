"""The inputs that a user passes to a model, one after the other: files, folders, patterns, arrays, texts."""

from __future__ import annotations

import glob
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.data.sources.folder import listed_files
from tlkeras.data.sources.listing import absent
from tlkeras.errors import DataError
from tlkeras.files import read_npy
from tlkeras.modalities.images.formats import sniff
from tlkeras.modalities.inputs import Inputs
from tlkeras.modalities.registry import MODALITIES
from tlkeras.registry import load_function

Tell = Callable[[str], None]
SHOWN = 5  # skipped files that are named; the others are counted
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
    listed = load_function(MODALITIES.get(inputs.modality).items)
    for index, part in enumerate(_several(source, inputs)):
        yield from [part] if isinstance(part, Item) else listed(part, index, inputs, tell)


def _several(source: Any, inputs: Inputs) -> Iterator[Any]:
    """Yields the parts of a list, or of an array that is a batch."""
    if isinstance(source, str | bytes | bytearray | Path | Item):
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


def standard_input(content: bytes, inputs: Inputs) -> list[Any]:
    """Returns what standard input holds: one text per line; or one path per line, an encoded image, the bytes of an .npy file.

    Raises:
        DataError: when it is empty, or is neither.
    """
    return load_function(MODALITIES.get(inputs.modality).standard_input)(content, inputs)


# === Modalities whose inputs are files ===


def files(source: Any, index: int, inputs: Inputs, tell: Tell) -> Iterator[Item]:
    """Yields the files that a path, a folder or a pattern names; anything else is an input itself."""
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
        paths, notes = listed_files(folder, inputs.files)
    except DataError as error:
        yield Item(name=str(folder), error=str(error))
        return
    for note in notes[:SHOWN]:
        tell(f"skipped {folder / note.path}: {note.reason}")
    if len(notes) > SHOWN:
        tell(f"skipped {len(notes) - SHOWN} more files in {folder}")
    if not paths:
        expected = ", ".join(inputs.files.examples)
        yield Item(name=str(folder), error=f"{folder}: this folder contains no {inputs.noun} files; expected {expected}")
    yield from (Item(name=str(path), value=path) for path in paths)


def files_on_standard_input(content: bytes, inputs: Inputs) -> list[Any]:
    """Returns one path per line, an encoded image, or an array of an .npy file."""
    if not content.strip():
        raise DataError(f"standard input is empty; expected one path per line, or the bytes of one {inputs.noun} file")
    if content.startswith(NPY):
        try:
            return [Item(name="-", value=read_npy(io.BytesIO(content)))]
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the array on standard input: {' '.join(str(error).split())[:160]}") from error
    if sniff(content):
        return [Item(name="-", value=content)]
    try:
        return list(lines(content, "standard input"))
    except DataError:
        return [Item(name="-", value=content)]  # damaged, and named so when it is read


def lines(content: bytes, name: str) -> list[str]:
    """Returns the lines that hold something.

    Raises:
        DataError: when they are not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise DataError(f"{name}: line {number} is not UTF-8; save the file as UTF-8") from error
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]
