"""Every text as token ids, once; a length that fits the data; issues with texts."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from tlkeras.data.examples import Dataset, Issue
from tlkeras.data.store import Store

MOST = 0.95  # share of the texts that the chosen length leaves whole
ROUND = 8  # lengths are multiples of it
WORDS = re.compile(r"\W+")

Encode = Callable[[Sequence[str]], np.ndarray]  # texts -> token ids, int32 (n, longest, …)
Lengths = Callable[[np.ndarray], np.ndarray]


def fitting(lengths: np.ndarray, most: int) -> int:
    """Returns the length, in tokens, that leaves 95 % of the texts whole: a multiple of 8, at most `most`."""
    return int(min(most, -(-np.quantile(lengths, MOST) // ROUND) * ROUND)) if len(lengths) else most


def materialise(dataset: Dataset, *, encode: Encode, lengths: Lengths | None) -> Store:
    """Turns every text into token ids.

    Args:
        dataset: what a source gave; texts that are empty or not UTF-8 were left out there.
        encode: texts -> token ids.
        lengths: token ids -> how many of them are text; None for models that see the filling.
    """
    texts = [example.text or "" for example in dataset.examples]
    ids = encode(texts)
    skipped = tuple(note for note in dataset.notes if note.action == "skipped")
    return Store(
        inputs=ids,
        examples=dataset.examples,
        sha256=tuple(hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() for text in texts),
        dhash=np.zeros(len(texts), "uint64"),
        target=dataset.target,
        skipped=skipped,
        notes=tuple(note for note in dataset.notes if note.action != "skipped"),
        alike=tuple(_alike(text) for text in texts),
        lengths=None if lengths is None else np.asarray(lengths(ids)),
        noun="text",
    )


def _alike(text: str) -> str:
    """Returns what near-duplicates have in common: the words, without case, accents, punctuation and space."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(letter))
    return " ".join(WORDS.split(plain)).strip()


def length_note(lengths: np.ndarray, length: int) -> Issue:
    """Returns the table of lengths as a note.

    Args:
        lengths: tokens of each text, before anything is cut.
        length: tokens per text at most.
    """
    low, middle, high = (int(np.quantile(lengths, share)) for share in (0, 0.5, 0.95))
    cut = int((lengths > length).sum())
    reason = (
        f"shortest {low}, median {middle}, 95 % up to {high}, longest {int(lengths.max())}; {cut} of {len(lengths)} are cut at {length}"
    )
    return Issue(kind="length", path="tokens per text", reason=reason, action="kept")
