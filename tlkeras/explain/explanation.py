"""What is explained and what comes of it: samples, maps, explanations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlkeras.explain.words import Word

DIGITS = 5  # significant digits of the values in JSON


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One input of a model.

    Args:
        name: a path, the text itself, `input N`, or the id of an example of the run.
        array: as the model accepts it, (1, …).
        text: of a text.
        words: of a text, with their tokens.
    """

    name: str
    array: np.ndarray
    text: str = ""
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Map:
    """What a method returns for one sample.

    Args:
        values: float (rows, columns) over an image, of its size or coarser; (words,) of a text; (time,) or (time, features) of a sequence.
        details: what the method reports besides: steps, completeness, layer; values as in JSON.
    """

    values: np.ndarray
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Which part of an input speaks for an answer.

    Args:
        file: the input: a path, the text itself, `input N`, or the id of an example of the run.
        modality: of the input.
        method: name in `METHODS`.
        signed: whether values below 0 speak against the answer; otherwise values are sizes.
        output: which of several targets; empty where there is one.
        label: whose number is explained: a label, or the name of a number.
        score: what the model answers for it: a probability, or the number in its unit.
        number: what is explained, see `scale`.
        scale: `log-odds` of the label, which do not saturate as probabilities do; or `value`, the number itself.
        values: see `Map.values`.
        words: of a text, in the order of `values`.
        details: see `Map.details`.
    """

    file: str
    modality: str
    method: str
    signed: bool
    output: str
    label: str
    score: float
    number: float
    scale: str
    values: np.ndarray
    words: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The explanation in one line."""
        of = f"{self.output}: " if self.output else ""
        return f"{of}{self.label} {self.score:.3g} · {self.method} · {self.scale} {self.number:+.2f}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the explanation as JSON holds it; values have 5 significant digits."""
        words = {"words": list(self.words)} if self.words else {}
        output = {"output": self.output} if self.output else {}
        return {
            "file": self.file,
            "modality": self.modality,
            "method": self.method,
            "signed": self.signed,
            **output,
            "label": self.label,
            "score": self.score,
            "number": self.number,
            "scale": self.scale,
            **dict(self.details),
            **words,
            "shape": list(self.values.shape),
            "values": rounded(self.values),
        }


def rounded(values: np.ndarray) -> Any:
    """Returns an array as nested lists, each value with 5 significant digits."""
    return [rounded(row) for row in values] if values.ndim else float(f"{float(values):.{DIGITS}g}")


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns a map in another size, by bilinear interpolation; float32 (height, width)."""
    from PIL import Image

    if values.shape == (height, width):
        return np.asarray(values, "float32")
    image = Image.fromarray(np.asarray(values, "float32"), mode="F")
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), "float32")
