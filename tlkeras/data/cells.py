"""Labels as they come from cells and arrays: what counts as missing, how a value is written, and what is no single label."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from tlkeras.errors import DataError

# What pandas writes and reads as missing; other spellings ("none", "na") may be names of classes.
MISSING = frozenset({"", "nan", "NaN", "-nan", "-NaN", "None", "null", "NULL", "n/a", "N/A", "#N/A", "NA", "#NA", "<NA>", "NaT"})
MISSING_TYPES = ("NAType", "NaTType")  # of pandas, which is not imported here
SURROGATES = re.compile("[\ud800-\udfff]")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
WHOLE = re.compile(r"([+-]?\d+)\.0*")
FEW_NUMBERS = 20  # distinct whole numbers that are classes even where each stands once
FEW_FRACTIONS, FEWEST_FRACTIONS = 10, 5  # distinct fractions that are classes; where most stand once
SEPARATORS = "|;,"  # between labels of one cell
ADVICE = "multi-label targets and regression are not supported yet"


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, pandas' NA, or a text for one of them."""
    if value is None or type(value).__name__ in MISSING_TYPES:
        return True
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    return isinstance(value, str) and value.strip() in MISSING


def label_texts(
    values: Iterable[Any], *, where: Sequence[str], names: Sequence[str] | None = None, known: Collection[str] = ()
) -> list[str | None]:
    """Returns the label of each value as a text, None where it is missing.

    Args:
        values: cells or entries of an array.
        where: what to call each of them in an error.
        names: the classes by number, where the source stores numbers for them; -1 is none of them.
        known: a label map that exists already; its spelling of numbers wins.

    Raises:
        DataError: for a value that is no single label.
    """
    texts = [_text(value, row_id, names) for value, row_id in zip(values, where, strict=True)]
    whole = {text: WHOLE.fullmatch(text) for text in set(texts) if text is not None}
    numbers = all(match or NUMBER.fullmatch(text) and "." not in text for text, match in whole.items())
    if numbers:  # 0.0 and 1.0: ints that became floats where others are missing
        short = {text: match[1] for text, match in whole.items() if match and text not in known}
        texts = [short.get(text, text) if text is not None else None for text in texts]
    return texts


def _text(value: Any, where: str, names: Sequence[str] | None) -> str | None:
    if is_missing(value):
        return None
    if isinstance(value, (list, tuple, dict, set)) or isinstance(value, np.ndarray) and value.ndim:
        shown = repr(value if not isinstance(value, np.ndarray) else value.tolist())
        raise DataError(f"{where} has the label {shown[:80]}; expected one label for each example, a text or a number ({ADVICE})")
    if names is not None and not isinstance(value, str):
        if int(value) == -1:
            return None
        if int(value) != value or not 0 <= value < len(names):
            raise DataError(f"{where} has the label {value}; expected 0 to {len(names) - 1}, the classes that the file names")
        return str(names[int(value)])
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return clean(str(value)).strip()


def clean(text: str) -> str:
    """Returns a text with U+FFFD for each lone surrogate, half a character that no encoding can write."""
    return SURROGATES.sub("\ufffd", text)


def check_classes(name: str, labels: Collection[str | None], known: Sequence[str] | None = None) -> None:
    """Refuses lists of labels in one text, and numbers to be predicted, which would become as many classes.

    Args:
        name: the source or column, for the error.
        labels: of all examples.
        known: a label map that exists already; then nothing is refused here.

    Raises:
        DataError: for lists, or many distinct numbers, fractions or mostly unique.
    """
    counts = Counter(label for label in labels if label is not None)
    if known is not None or not counts:
        return
    if (several := _list_among(counts)) is not None:
        raise DataError(f"{name} has lists of labels, for example {several!r}; expected one label for each example ({ADVICE})")
    if not all(NUMBER.fullmatch(label) for label in counts):
        return
    total, distinct = sum(counts.values()), len(counts)
    fractions = any(float(label) % 1 for label in counts)
    unique = distinct > total / 2
    if (fractions and distinct > FEW_FRACTIONS) or (unique and distinct > (FEWEST_FRACTIONS if fractions else FEW_NUMBERS)):
        numbers = sorted(map(float, counts))
        raise DataError(
            f"{name} has {distinct:,} distinct numbers in {total:,} examples, from {numbers[0]:g} to {numbers[-1]:g}; expected classes, "
            f"one label for each example ({ADVICE}): choose another label column, or put the numbers into a few named ranges"
        )


def _list_among(labels: Collection[str]) -> str | None:
    """Returns a label that is a list of others: "a|b" beside "a" and "b", or all of them as Python or JSON write lists."""
    if all(label.startswith("[") and label.endswith("]") for label in labels):
        return next(iter(labels))
    for separator in SEPARATORS:
        joined = [label for label in labels if separator in label]
        if joined and all(part.strip() in labels for label in joined for part in label.split(separator)):
            return joined[0]
    return None
