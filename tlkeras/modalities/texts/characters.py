"""Texts to the bytes of their words, as ELMo was trained on them: no vocabulary, in core TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tlkeras import files
from tlkeras.errors import shown

WIDTH = 50  # characters per word, the marks of its start and end included
# Ids as `allennlp/data/token_indexers/elmo_indexer.py` counts them, one added to each: 0 is where no word is.
SENTENCE_START, SENTENCE_END, WORD_START, WORD_END, FILLING = 257, 258, 259, 260, 261
KINDS = 262
NAME = "characters.json"
WIDEST = 10_000  # ids of a word

# What else stands alone, in the syntax of RE2 and of Python's `re` alike: clitics as the Penn treebank has them ("do n't",
# "it 's"), punctuation, and Chinese characters, between which no space is.
WORDS = (
    r"[nN]'[tT]\b|'(?:[sSmMdD]|[rR][eE]|[vV][eE]|[lL][lL])\b"
    "|[!-/:-@\\[-`{-~\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf\u2010-\u2027\u2030-\u205e\u3001-\u3003\u3008-\u3011\u3014-\u301f"
    "\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]"
)


def mark(kind: int, width: int = WIDTH) -> tuple[int, ...]:
    """Returns the ids of the word that is the start or the end of a sentence."""
    return (WORD_START, kind, WORD_END, *(width - 3) * (FILLING,))


def spelling(word: np.ndarray) -> str:
    """Returns the word that ids (width,) spell; the marks of a sentence's start and end are `<S>` and `</S>`."""
    marks = {SENTENCE_START: "<S>", SENTENCE_END: "</S>"}
    codes = [int(one) for one in word]
    return "".join(marks.get(one, "") for one in codes) or bytes(one - 1 for one in codes if 0 < one <= 256).decode("utf-8", "replace")


@dataclass(frozen=True, kw_only=True)
class Words:
    """Splits texts at spaces and punctuation, and spells words: string (n,) -> ragged int32 (n, words, width).

    Args:
        width: ids per word; of longer words the first bytes are seen.
        split: what stands alone though no space is around it.
    """

    width: int = WIDTH
    split: str = WORDS

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        words = tf.strings.split(tf.strings.regex_replace(texts, f"({self.split})", r" \1 "))
        room = self.width - 2
        codes = tf.cast(tf.io.decode_raw(words.flat_values, tf.uint8, fixed_length=room), tf.int32) + 1  # (all words, room)
        count = tf.minimum(tf.strings.length(words.flat_values), room)[:, tf.newaxis]
        position = tf.range(room + 1)[tf.newaxis]
        codes = tf.pad(codes, [[0, 0], [0, 1]])
        spelled = tf.where(position < count, codes, tf.where(position == count, WORD_END, FILLING))
        return words.with_flat_values(tf.pad(spelled, [[0, 0], [1, 0]], constant_values=WORD_START))


def save(words: Words, folder: Path) -> None:
    """Writes the settings that a program without TensorFlow needs."""
    settings = {
        "width": words.width,
        "split": words.split,
        "word_start": WORD_START,
        "word_end": WORD_END,
        "filling": FILLING,
    }
    files.write_json(folder / NAME, settings)


def read(folder: Path) -> dict[str, Any]:
    """Returns the arguments of `Words` from the file of `save`."""
    settings = files.read_json(folder / NAME)
    width = int(settings["width"])
    if not 3 <= width <= WIDEST:  # the first and the last id are marks
        raise ValueError(f"a word of {shown(settings['width'])} ids; expected 3 to {WIDEST:,}")
    return {"width": width, "split": str(settings["split"])}
