"""Facts about inputs to slice an evaluation by, computed from the inputs themselves: one row each."""

from __future__ import annotations

import functools
import io
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tlkeras.data.examples import Example
from tlkeras.registry import Registry

BLOCK = 64  # images that are floats at a time
ROTATED = (5, 6, 7, 8)  # values of the EXIF orientation where width and height are exchanged
ORIENTATION = 0x0112
LETTERS = 1000  # of a text, by which its script is recognised


@dataclass(frozen=True, kw_only=True)
class Column:
    """A fact about inputs.

    Args:
        name: what users pass to `--slices`.
        modalities: whose inputs have it.
        compute: `"module:function"`: (examples, inputs as the model accepts them (n, …)) -> a number or a text for each.
        help: what it is, with the unit.
    """

    name: str
    modalities: tuple[str, ...]
    compute: str
    help: str


COLUMNS: Registry[Column] = Registry(
    "computed column",
    [
        Column(
            name="brightness",
            modalities=("image",),
            compute="tlkeras.evaluation.slice_columns:brightness",
            help="mean of all values, 0 to 255",
        ),
        Column(
            name="size", modalities=("image",), compute="tlkeras.evaluation.slice_columns:size", help="width x height of the file, pixels"
        ),
        Column(name="aspect", modalities=("image",), compute="tlkeras.evaluation.slice_columns:aspect", help="width / height of the file"),
        Column(
            name="blur",
            modalities=("image",),
            compute="tlkeras.evaluation.slice_columns:blur",
            help="0 (sharp edges) to 1 (none): 1 / (1 + standard deviation of the Laplacian)",
        ),
        Column(
            name="length",
            modalities=("text", "sequence"),
            compute="tlkeras.evaluation.slice_columns:length",
            help="words of a text, steps of a sequence",
        ),
        Column(
            name="script",
            modalities=("text",),
            compute="tlkeras.evaluation.slice_columns:script",
            help="most frequent script of the letters: latin, cyrillic, cjk, …",
        ),
    ],
)


def columns_of(modality: str) -> list[str]:
    """Returns the facts that inputs of a modality have."""
    return [row.name for row in COLUMNS if modality in row.modalities]


# === Images ===


def _luminance(inputs: np.ndarray) -> np.ndarray:
    """Returns the mean over the channels, float32 (n, height, width)."""
    return np.asarray(inputs, "float32").mean(axis=-1)


def brightness(examples: Sequence[Example], inputs: np.ndarray) -> list[float]:
    """Returns the mean of all values of each image."""
    blocks = (np.asarray(inputs[start : start + BLOCK], "float32") for start in range(0, len(inputs), BLOCK))
    return [float(value) for block in blocks for value in block.mean(axis=(1, 2, 3))]


def blur(examples: Sequence[Example], inputs: np.ndarray) -> list[float]:
    """Returns how little each image changes between neighbours (variance of the Laplacian: Pech-Pacheco et al. 2000, doi:10.1109/ICPR.2000.903548)."""
    values: list[float] = []
    for start in range(0, len(inputs), BLOCK):
        x = np.pad(_luminance(inputs[start : start + BLOCK]), ((0, 0), (1, 1), (1, 1)), mode="edge")
        laplacian = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:] - 4 * x[:, 1:-1, 1:-1]
        values += [float(1 / (1 + deviation)) for deviation in laplacian.std(axis=(1, 2))]
    return values


def size(examples: Sequence[Example], inputs: np.ndarray) -> list[float]:
    """Returns the pixels of each image before it was resized."""
    return [float(width * height) for width, height in map(_sides, examples)]


def aspect(examples: Sequence[Example], inputs: np.ndarray) -> list[float]:
    """Returns width / height of each image before it was resized."""
    return [width / height for width, height in map(_sides, examples)]


def _sides(example: Example) -> tuple[int, int]:
    """Returns width and height of an image; only the head of a file is read. It could be decoded before."""
    if example.array is not None:
        return int(example.array.shape[1]), int(example.array.shape[0])
    source: Any = io.BytesIO(example.content) if example.content is not None else example.path
    with Image.open(source) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(ORIENTATION) in ROTATED else (width, height)


# === Texts and sequences ===


def length(examples: Sequence[Example], inputs: np.ndarray) -> list[float]:
    """Returns the words of each text, or the steps of each sequence."""
    return [float(len(example.text.split()) if example.text is not None else len(example.array)) for example in examples]  # type: ignore[arg-type]


def script(examples: Sequence[Example], inputs: np.ndarray) -> list[str]:
    """Returns the script that most letters of each text belong to, as Unicode names it; `none` without letters."""
    return [_script(example.text or "") for example in examples]


def _script(text: str) -> str:
    counts = Counter(_script_of(letter) for letter in text[:LETTERS] if letter.isalpha())
    return counts.most_common(1)[0][0] if counts else "none"


@functools.cache
def _script_of(letter: str) -> str:
    """Returns the script of a letter: the first word of its name, such as LATIN SMALL LETTER A."""
    return unicodedata.name(letter, "UNKNOWN").split(" ")[0].lower()
