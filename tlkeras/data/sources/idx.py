"""A folder of idx files, the format of MNIST and its successors: `train-images-idx3-ubyte[.gz]` and so on.

The format (http://yann.lecun.com/exdb/mnist/): two zero bytes, one byte for the type (8: unsigned), one for the number of dimensions, each
dimension as a big-endian 32-bit number, then the values, the last dimension running fastest.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from tlkeras.data.examples import Dataset, Example, make_dataset
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.sources.columns import Columns
from tlkeras.data.sources.listing import readable
from tlkeras.data.split_names import TEST, parse_split, split_of
from tlkeras.data.target import Target
from tlkeras.data.values import read_names
from tlkeras.errors import DataError
from tlkeras.files import open_regular, read_regular

# Some copies have a dot before "idx", some say "t10k" and some "test".
IMAGES = re.compile(r"(?P<part>[\w-]+?)[-_.]images[-_.]idx3[-_.]ubyte(\.gz)?")
T10K = "t10k"  # what MNIST calls its 10,000 test images
UBYTE = 8
LARGEST = 1 << 32  # bytes of one file, unpacked: a few kilobytes of gzip can claim any size
DEFLATE = 200  # how many times as large an unpacked file may be; MNIST's are 5 times as large, and a bomb 1,000 times
MOST_NAMES = 1 << 20  # bytes of labels.txt: 256 names at most are used


def is_idx(spec: str) -> bool:
    """Whether a `--data` value is a folder with images in idx files."""
    try:
        return readable(spec, "is_dir") and any(IMAGES.fullmatch(name) for name in os.listdir(Path(spec).expanduser()))
    except OSError:  # it may not be read, which is reported when it is opened
        return False


def open_idx(
    spec: str,
    *,
    target: Target | None = None,
    data_dir: str | None = None,
    columns: Columns | None = None,
    kinds: Sequence[FileKind] = (),
) -> Dataset:
    """Returns the grey images of a folder of idx files; the names of the files state which are held out.

    The labels are the numbers, or the lines of a `labels.txt` beside the files, the first of which names 0.

    Raises:
        DataError: when a file is damaged, its labels are missing, or they do not fit.
    """
    root = Path(spec).expanduser()
    names = _names(root)
    parts: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        if match := IMAGES.fullmatch(path.name):
            parts.setdefault(match["part"], path)  # a file beside its own .gz is the same one
    examples: list[Example] = []
    read = read_names(names or [str(number) for number in range(256)], (columns or Columns()).request(target), title="label")
    values = read.values
    for part, path in parts.items():
        split = _split(part, path.name) if len(parts) > 1 else None
        images, numbers = read_idx(path, 3), read_idx(_labels_of(path), 1)
        if len(images) != len(numbers):
            raise DataError(f"{path.name!r} has {len(images)} images and {len(numbers)} labels; expected the same number")
        if names and len(numbers) and numbers.max() >= len(names):
            raise DataError(
                f"{path.name!r} has the label {numbers.max()} and labels.txt {len(names)} lines; expected one line for each label"
            )
        examples += [
            Example(id=f"{part}/{index}", label=values[number], array=image, split=split)
            for index, (image, number) in enumerate(zip(images, numbers, strict=True))
        ]
    return make_dataset(f"idx folder {spec!r}", examples, target=target, draft=read.draft)


def _split(part: str, where: str) -> str | None:
    """The last word before "images": `emnist-letters-train` is a training part."""
    word = re.split("[-_]", part)[-1]
    return TEST if word.lower() == T10K else parse_split(word if split_of(part) is None else part, where)


def _names(root: Path) -> list[str]:
    path = root / "labels.txt"
    if not path.is_file():
        return []
    try:
        return [line.strip() for line in read_regular(path, MOST_NAMES).decode("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}; expected one label per line"
        ) from error


def _labels_of(images: Path) -> Path:
    stem = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    for path in (images.with_name(stem), images.with_name(f"{stem}.gz")):
        if path.is_file():
            return path
    raise DataError(f"{images.name!r} has no file of labels in the same folder; expected {stem} or {stem}.gz")


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Returns the array of an idx file, uint8.

    Raises:
        DataError: when it is another kind of file, truncated, or longer than its header states.
    """
    try:
        with open_regular(path) as packed, gzip.open(packed) if path.suffix == ".gz" else nullcontext(packed) as file:
            head = file.read(4 + 4 * dimensions)
            if len(head) < 4 + 4 * dimensions or head[:4] != bytes([0, 0, UBYTE, dimensions]):
                raise DataError(f"{path.name!r} is not an idx file of {dimensions} dimensions and unsigned bytes; download it again")
            shape = struct.unpack(f">{dimensions}I", head[4:])
            size = math.prod(shape)
            most = min(LARGEST, path.stat().st_size * (DEFLATE if path.suffix == ".gz" else 1))
            if size > most:
                raise DataError(f"{path.name!r} states that it contains {size} values; expected {most} or fewer in such a file")
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name!r} cannot be read: {getattr(error, 'strerror', None) or error}; download it again") from error
    except MemoryError:
        raise DataError(f"{path.name!r} does not fit into memory") from None
    if len(content) != size:
        raise DataError(
            f"{path.name!r} contains {'more' if len(content) > size else 'fewer'} than the {size} values that it states; download it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
