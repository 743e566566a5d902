"""The words that sources use for splits: folders, columns of tables, arrays, and names of files."""

from __future__ import annotations

import re

from tlkeras.errors import DataError, shown

TRAIN, VAL, TEST = "train", "val", "test"
# Split -> accepted words, in any case; "training set", "training-set" and "training_set" are the same.
WORDS: dict[str, tuple[str, ...]] = {
    TRAIN: ("train", "training", "train_set", "training_set", "train_data", "training_data"),
    VAL: ("val", "valid", "validation", "dev", "eval", "evaluation", "val_set", "valid_set", "validation_set", "dev_set", "eval_set"),
    TEST: ("test", "testing", "test_set", "testing_set", "test_data"),
}
_SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
_JOINERS = re.compile(r"[\s_-]+")


def split_of(name: str) -> str | None:
    """Returns `"train"`, `"val"` or `"test"` for an accepted word, None for any other.

    Example:
        >>> split_of("Training-Set"), split_of("dev"), split_of("plane")
        ('train', 'val', None)
    """
    return _SPLIT_OF.get(_JOINERS.sub("_", name.strip().lower()))


def parse_split(value: object, where: str) -> str | None:
    """Returns the split that a cell or an array names, or None where it is empty.

    Args:
        value: the cell.
        where: row or file, for the error.

    Raises:
        DataError: for any other word; the message lists the accepted ones.
    """
    text = "" if value is None or value != value else str(value).strip()
    if not text:
        return None
    split = split_of(text)
    if split is None:
        accepted = "; ".join(f"{name}: {', '.join(words)}" for name, words in WORDS.items())
        raise DataError(f"{where} has split {shown(text)}; expected one of the accepted words in any case ({accepted}), or an empty cell")
    return split
