"""The words of a text and the tokens of each: people read words, models read pieces of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# A word, with the apostrophes and hyphens inside; a run of punctuation; or one character of a script that is written without spaces.
ALONE = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
PATTERN = re.compile(rf"[{ALONE}]|(?:(?![{ALONE}])\w)+(?:['’-](?:(?![{ALONE}])\w)+)*|[^\w\s]+")


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word of a text.

    Args:
        text: the word, as it is written.
        start, end: its characters in the text.
        first, last: its tokens, from `first` up to but without `last`, counted from the first of the row; equal where the model does not see it.
    """

    text: str
    start: int
    end: int
    first: int
    last: int

    @property
    def seen(self) -> bool:
        """Whether the model sees it: a text that is too long is cut."""
        return self.last > self.first


def words_of(text: str, tokens: Any) -> tuple[Word, ...]:
    """Returns the words of a text with their tokens.

    The tokens of a word are those that are added where the text goes on to the end of that word. Words are joined where a tokeniser gives them one token, or
    splits the beginning of a text otherwise than the whole.

    Args:
        text: the text.
        tokens: texts -> token ids, int32 (n, longest, …), with `start`, `end`, `length` and `lengths`; see `Tokens`.
    """
    spans = [match.span() for match in PATTERN.finditer(text)]
    if not spans:
        return ()
    whole, *prefixes = _contents([text, *(text[:end] for _, end in spans)], tokens)
    head = int(tokens.start is not None)
    is_cut = len(whole) >= tokens.length - head - int(tokens.end is not None)
    words: list[Word] = []
    begin: int | None = None
    first = 0
    for (start, end), prefix in zip(spans, prefixes, strict=True):
        begin = start if begin is None else begin
        last = len(prefix)
        if not _begins(whole, prefix) or (last <= first and not is_cut):
            continue
        words.append(Word(text=text[begin:end], start=begin, end=end, first=head + first, last=head + max(first, last)))
        begin, first = None, max(first, last)
    return _completed(text, spans, words, head, head + len(whole))


def _completed(text: str, spans: list[tuple[int, int]], words: list[Word], head: int, last: int) -> tuple[Word, ...]:
    """Returns the words with what is left at the end of a text: characters and tokens without a word of their own belong to the last one."""
    if not words:
        return (Word(text=text[spans[0][0] : spans[-1][1]], start=spans[0][0], end=spans[-1][1], first=head, last=last),)
    *others, word = words
    if word.end == spans[-1][1] and word.last == last:
        return tuple(words)
    end = spans[-1][1]
    return (*others, replace(word, text=text[word.start : end], end=end, last=last))


def _begins(whole: np.ndarray, prefix: np.ndarray) -> bool:
    return len(prefix) <= len(whole) and bool(np.array_equal(whole[: len(prefix)], prefix))


def _contents(texts: list[str], tokens: Any) -> list[np.ndarray]:
    """Returns the token ids of each text without those that are put before and after it, and without padding."""
    ids = tokens(texts)
    before, after = int(tokens.start is not None), int(tokens.end is not None)
    lengths = tokens.lengths(ids)
    return [row[before : max(before, int(length) - after)] for row, length in zip(ids, lengths, strict=True)]


def without(text: str, words: tuple[Word, ...], gone: np.ndarray) -> str:
    """Returns a text without some of its words, its spaces joined.

    Args:
        text: the text.
        words: of the text.
        gone: bool (words,).
    """
    parts, end = [], 0
    for word, is_gone in zip(words, gone, strict=True):
        parts.append(text[end : word.start] + ("" if is_gone else text[word.start : word.end]))
        end = word.end
    return " ".join("".join([*parts, text[end:]]).split())
