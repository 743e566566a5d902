"""Labels as they come from cells and arrays: what counts as missing, how a value is written, lists of labels, and numbers."""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from tlkeras.errors import DataError, shown

# What pandas writes and reads as missing; other spellings ("none", "na") may be names of classes.
MISSING = frozenset({"", "nan", "NaN", "-nan", "-NaN", "None", "null", "NULL", "n/a", "N/A", "#N/A", "NA", "#NA", "<NA>", "NaT"})
MISSING_TYPES = ("NAType", "NaTType")  # of pandas, which is not imported here
SURROGATES = re.compile("[\ud800-\udfff]")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)  # among numbers, it is one of them, which nothing can learn
WHOLE = re.compile(r"([+-]?\d+)\.0*")
FEW_NUMBERS = 20  # distinct whole numbers that are classes even where each stands once
NEARLY_ALL = 0.9  # share of cells from which the others are thought to be mistakes
FEW_FRACTIONS, FEWEST_FRACTIONS = 10, 5  # distinct fractions that are classes; where most stand once
SEPARATORS = "|;,"  # between labels of one cell
BINARY = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
FOR_SETS, FOR_NUMBERS, FOR_SEVERAL = "--task multilabel", "--task regression", "--task several"  # what advice names
ADVICE = f"{FOR_SETS} predicts several labels for each example, {FOR_NUMBERS} numbers"
FEWEST_JOINED = 3  # labels that contain a separator, from which they may be lists
WRITTEN = "written like -1234.5, without thousands separators, decimal commas or units"
NUMPY_LIST = re.compile(r"(['\"])\s+(['\"])")  # "['a' 'b']": how NumPy writes a list, which Python reads as one text


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, pandas' NA, or a text for one of them."""
    if isinstance(value, str):
        return value.strip() in MISSING
    if value is None or type(value).__name__ in MISSING_TYPES:
        return True
    return isinstance(value, (float, np.floating)) and math.isnan(value)


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
    seen: dict[str, str | None] = {}  # a label stands in many cells, and is read once
    texts = []
    for value, row_id in zip(values, where, strict=True):
        if not isinstance(value, str):
            texts.append(_text(value, row_id, names))
            continue
        if value not in seen:
            seen[value] = _text(value, row_id, names)
        texts.append(seen[value])
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
        entries = shown(value if not isinstance(value, np.ndarray) else value.tolist())
        raise DataError(f"{where} has the label {entries}; expected one label for each example, a text or a number ({ADVICE})")
    if names is not None and not isinstance(value, (str, bytes)):
        index = number(value)
        if index == -1:
            return None
        if index is None or not index.is_integer() or not 0 <= index < len(names):
            raise DataError(f"{where} has the label {shown(value)}; expected 0 to {len(names) - 1}, the classes that the file names")
        return str(names[int(index)])
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return clean(str(value)).strip()


def clean(text: str) -> str:
    """Returns a text with U+FFFD for each lone surrogate, half a character that no encoding can write."""
    return text if text.isascii() else SURROGATES.sub("\ufffd", text)


def check_classes(name: str, labels: Collection[str | None], known: Sequence[str] | None = None) -> None:
    """Refuses lists of labels in one text, and numbers to be predicted, which would become as many classes.

    Args:
        name: the source or column, for the error.
        labels: of all examples.
        known: a label map that exists already; then nothing is refused here.

    Raises:
        DataError: for lists, or many distinct numbers, fractions or mostly unique.
    """
    texts = [label for label in labels if label is not None]
    if known is not None or not texts:
        return
    if (several := next(iter(_joined(list(dict.fromkeys(texts)))), None)) is not None:
        raise DataError(
            f"{name} has lists of labels, for example {shown(several)}; expected one label for each example; {FOR_SETS} predicts several"
        )
    if has_fractions(texts) or has_unique_numbers(texts):
        numbers = sorted(map(float, set(texts)))
        raise DataError(
            f"{name} has {len(numbers):,} distinct numbers in {len(texts):,} examples, from {numbers[0]:g} to {numbers[-1]:g}; expected classes, "
            f"one label for each example: {FOR_NUMBERS} predicts numbers (kind='numbers' for arrays); else choose another label column, "
            "or put the numbers into a few named ranges"
        )
    if (strange := _no_number(texts)) is not None:
        raise DataError(
            f"{name} has {len(set(texts)):,} distinct labels in {len(texts):,} examples, nearly all of digits and signs, and {strange[:40]!r} is "
            f"no number; expected classes, one label for each example, or numbers {WRITTEN}"
        )


# === Numbers ===


def number(value: Any) -> float | None:
    """Returns the number that a cell holds, None where it holds none; numbers that are texts count."""
    if isinstance(value, str) and not NUMBER.fullmatch(value.strip()):
        return None  # Python also reads "1_000" and "infinity"
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):  # a whole number beyond floats
        return None


def is_binary(value: Any) -> bool:
    """Whether a cell is 0 or 1, or true or false."""
    return str(value).strip().lower() in BINARY


def has_fractions(texts: Collection[str], *, certain: bool = True) -> bool:
    """Whether texts are numbers with fractions among them; `certain`: and so many distinct ones that they are no classes beyond doubt."""
    distinct = set(texts)
    if not _are_numbers(distinct) or not any(float(text) % 1 for text in distinct):
        return False
    return not certain or len(distinct) > FEW_FRACTIONS or (len(distinct) > len(texts) / 2 and len(distinct) > FEWEST_FRACTIONS)


def has_unique_numbers(texts: Collection[str]) -> bool:
    """Whether texts are whole numbers of which most stand once: amounts or ids, but hardly classes."""
    distinct = set(texts)
    return len(distinct) > len(texts) / 2 and len(distinct) > FEW_NUMBERS and _are_numbers(distinct)


def _no_number(texts: Sequence[str]) -> str | None:
    """Returns a text that is no number, where most stand once and nearly all have digits and no letters: other notations, or dates."""
    distinct = set(texts)
    signs = sum(any(map(str.isdigit, text)) and not any(map(str.isalpha, text)) for text in distinct)
    if len(distinct) <= max(FEW_NUMBERS, len(texts) / 2) or signs < NEARLY_ALL * len(distinct):
        return None
    return next((text for text in texts if number(text) is None), None)


def _are_numbers(texts: Collection[str]) -> bool:
    return bool(texts) and all(NUMBER.fullmatch(text) or INFINITE.fullmatch(text) for text in texts)


# === Lists of labels ===


def as_list(value: Any) -> list[Any] | None:
    """Returns the entries of a cell that is a list, a set or an array, None for any other."""
    if isinstance(value, np.ndarray) and value.ndim:
        return list(value.tolist())
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return list(value) if isinstance(value, (list, tuple)) else None


LONGEST_LITERAL = 100_000  # characters of a list as Python writes it


def parsed_list(text: str) -> list[Any] | None:
    """Returns the entries of a list that is written as JSON, Python or NumPy write it; None where it is none.

    Example:
        >>> parsed_list('["a", "b"]'), parsed_list("['a' 'b']"), parsed_list("[]"), parsed_list("[a]")
        (['a', 'b'], ['a', 'b'], [], None)
    """
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    # Python's own reader takes 3 s and 400 MB for a million characters.
    for read in (json.loads, ast.literal_eval) if len(text) <= LONGEST_LITERAL else (json.loads,):
        try:
            entries = read(text if read is json.loads else NUMPY_LIST.sub(r"\1, \2", text))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return entries if isinstance(entries, list) and not any(isinstance(entry, (list, dict)) for entry in entries) else None
    words = text[1:-1].split()
    return words if _are_numbers(words) else None


def separator_of(texts: Collection[str], *, known: Collection[str] = (), certain: bool = True) -> str | None:
    """Returns what separates labels in one text, None where nothing does.

    Args:
        texts: the labels of all examples.
        known: labels of a trained model.
        certain: only where it is beyond doubt: each label of a list also stands alone, or all of some list are known. Else the most
            frequent one.

    Example:
        >>> separator_of(["a|b", "a", "b"]), separator_of(["ham, cheese", "egg"]), separator_of(["a;b", "c;d"], certain=False)
        ('|', None, ';')
    """
    for separator in SEPARATORS:
        lists = [parts_of(text, separator) for text in set(texts) - set(known)]
        joined = [parts for parts in lists if len(parts) > 1]
        labels = set(known or (part for parts in lists if len(parts) == 1 for part in parts))  # one of them may end in a separator
        enough = any if known else all  # a list with a label that a model does not know is an error later, and not another label
        if joined and enough(parts <= labels for parts in joined):
            return separator
    counts = Counter(separator for text in texts for separator in SEPARATORS if separator in text)
    return None if certain or not counts else max(SEPARATORS, key=lambda separator: counts[separator])


def parts_of(text: str, separator: str) -> set[str]:
    """Returns the labels in one text."""
    return {part.strip() for part in text.split(separator)} - {""}


def seem_joined(texts: Collection[str]) -> str | None:
    """Returns what to tell about labels that contain a separator, where their parts come again in others; None where none does.

    Example:
        >>> seem_joined(["a,b", "b,c", "a,c", "a,b,c"])
        "4 labels such as 'a,b' contain ',' and consist of 3 parts; --label-separator ',' makes each part a label"
    """
    for separator in SEPARATORS:
        joined = sorted(text for text in set(texts) if len(parts_of(text, separator)) > 1)
        parts = {part for text in joined for part in parts_of(text, separator)}
        if len(joined) >= FEWEST_JOINED and len(parts) < len(joined):
            return (
                f"{len(joined)} labels such as {shown(joined[0])} contain {separator!r} and consist of {len(parts)} parts; "
                f"--label-separator {separator!r} makes each part a label"
            )
    return None


def _joined(texts: Sequence[str]) -> list[str]:
    """Returns the texts that are lists of labels."""
    if all(text.startswith("[") and text.endswith("]") for text in texts):
        return list(texts)
    separator = separator_of(texts)
    return [text for text in texts if separator is not None and separator in text]
