"""Texts to token ids, as in the training of a backbone, whose weights include the vocabulary."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tlkeras import files
from tlkeras.errors import DataError, reason, shown
from tlkeras.modalities.texts.tokenizers import TOKENIZERS, TokenizerKind
from tlkeras.startup import filtered_stderr

BATCH = 1024  # texts tokenised at a time
NAME = "tokens.json"
LONGEST = 2**20  # tokens of a text
FORMAT = 1  # of it, and of the files of the vocabulary beside it
BLANK = r"[\x00\pZ]"
FIELDS = ("start", "end", "pad", "length", "lowercase", "fixed")
Token = int | tuple[int, ...]  # one id, or as many as a token has
Encode = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Texts to token ids.

    Args:
        kind: row in `TOKENIZERS`.
        tokenizer: splits texts, in TensorFlow operations: string (n,) -> ragged int32 (n, tokens), or (n, tokens, characters)
            where a token is as many ids.
        start, end: the tokens put before and after a text, or None.
        pad: id that pads shorter texts; the model ignores positions with it.
        length: maximum number of tokens per text, including `start` and `end`; longer texts are cut.
        lowercase: whether texts are lowercased first: as BERT did it, not by KerasHub's case folding, which also turns
            "…" into "..." and would need one more operation of TensorFlow Text in the server.
        fixed: whether every text is padded to `length`, for models whose outputs depend on the padding.
    """

    kind: TokenizerKind
    tokenizer: Any
    start: Token | None
    end: Token | None
    pad: int
    length: int
    lowercase: bool = False
    fixed: bool = False

    def limited(self, length: int) -> Tokens:
        """Returns a copy with another length, which shares what was traced."""
        copy = replace(self, length=length)
        copy.__dict__["_traced"] = self._traced
        return copy

    def cut(self, ids: np.ndarray) -> np.ndarray | None:
        """Returns token ids of `limited` with a larger length as this one gives them; None where only the texts can tell."""
        if self.end is not None and self.end == self.pad:
            return None
        lengths = self.lengths(ids)
        short = ids[:, : self.length if self.fixed else min(self.length, int(lengths.max(initial=1)))].copy()
        if self.end is not None and short.shape[1] >= self.length:
            short[lengths > self.length, self.length - 1] = self.end
        return short

    @property
    def encode(self) -> Encode:
        """The function for graphs: string (n,) -> int32 (n, longest, …), with one position at least."""
        encode = self._encoder()
        return lambda texts: encode(texts, self.length)

    def _encoder(self) -> Callable[[tf.Tensor, int | tf.Tensor], tf.Tensor]:
        """Returns the same for any length: (texts, length) -> ids."""
        self.kind.renew(self.tokenizer)
        marks = (self.start is not None) + (self.end is not None)

        def encode(texts: tf.Tensor, length: int | tf.Tensor) -> tf.Tensor:
            # Every kind of space is one; NUL would end the text.
            plain = tf.strings.regex_replace(texts, BLANK, " ")
            if self.lowercase:
                plain = tf.strings.lower(plain, encoding="utf-8")
            ids = self.tokenizer(plain)[:, : length - marks]
            around = [None if one is None else _repeated(one, tf.shape(texts)[0]) for one in (self.start, self.end)]
            ids = tf.concat([part for part in (around[0], ids, around[1]) if part is not None], axis=1)
            dense = ids.to_tensor(default_value=self.pad)
            missing = tf.maximum(0, (length if self.fixed else 1) - tf.shape(dense)[1])
            filling = [[0, 0], [0, missing], *[[0, 0]] * (dense.shape.rank - 2)]
            return tf.ensure_shape(tf.pad(dense, filling, constant_values=self.pad), (None, None, *dense.shape[2:]))

        return encode

    @cached_property
    def _traced(self) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        signature = [tf.TensorSpec((None,), tf.string), tf.TensorSpec((), tf.int32)]
        return tf.function(self._encoder(), input_signature=signature, autograph=False)

    def _encoded(self, texts: tf.Tensor) -> tf.Tensor:
        length = tf.constant(self.length, tf.int32)
        try:
            return self._traced(texts, length)
        except tf.errors.NotFoundError:  # see TokenizerKind.renew
            del self.__dict__["_traced"]
            return self._traced(texts, length)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns token ids, int32 (n, longest, …); shorter texts are padded with `pad`."""
        parts = []
        with filtered_stderr():
            for start in range(0, max(1, len(texts)), BATCH):
                batch = [one.encode("utf-8", "replace") for one in texts[start : start + BATCH]]
                parts.append(self._encoded(tf.constant(batch, tf.string)).numpy())
        return padded(parts, self.pad)

    def lengths(self, ids: np.ndarray) -> np.ndarray:
        """Returns how many positions of each row are not padding, int (n,)."""
        has_token = (ids != self.pad).reshape(*ids.shape[:2], -1).any(axis=2)
        return np.maximum(1, np.where(has_token, np.arange(1, ids.shape[1] + 1), 0).max(axis=1, initial=1))

    @property
    def tracked(self) -> list[Any]:
        """The resources that a SavedModel with `encode` in it must keep."""
        return self.kind.tracked(self.tokenizer)

    # === Files ===

    def save(self, folder: str | Path) -> None:
        """Writes vocabulary, `tokens.json`, and, where its kind has one, `tokenizer.json` of Hugging Face's `tokenizers`."""
        with files.aside(folder) as path:
            path.mkdir()
            self.kind.save(self.tokenizer, path)
            fields = {"format": FORMAT, "kind": self.kind.name, **{name: getattr(self, name) for name in FIELDS}}
            files.write_json(path / NAME, {**fields, "settings": self.kind.settings(self.tokenizer)})
            fast = self.fast()
            if fast is not None:
                fast.save(os.fspath(path / "tokenizer.json"))

    def fast(self) -> Any:
        """Returns the same as a `tokenizers.Tokenizer`, for programs without TensorFlow; None where there is none."""
        if self.kind.fast is None:
            return None
        fast = self.kind.fast(self.tokenizer, self.start, self.end, self.lowercase)
        fast.enable_truncation(self.length)
        fast.enable_padding(pad_id=self.pad, length=self.length if self.fixed else None)
        return fast


def _repeated(token: Token, count: tf.Tensor) -> tf.RaggedTensor:
    """Returns a token for each of `count` texts, ragged (count, 1, …)."""
    point = tf.constant(token, tf.int32)
    return tf.RaggedTensor.from_tensor(tf.broadcast_to(point, tf.concat([[count, 1], tf.shape(point)], axis=0)))


def padded(parts: Sequence[np.ndarray], pad: int) -> np.ndarray:
    """Returns token ids (n, tokens, …) of several lengths as one array, the shorter ones filled up with `pad`."""
    width = max(part.shape[1] for part in parts)
    filling = [((0, 0), (0, width - part.shape[1]), *[(0, 0)] * (part.ndim - 2)) for part in parts]
    return np.concatenate([np.pad(part, sides, constant_values=pad) for part, sides in zip(parts, filling, strict=True)])


def load(folder: str | Path) -> Tokens:
    """Reads what `Tokens.save` wrote.

    Raises:
        DataError: when it is missing, damaged, or of a later tlkeras.
    """
    path = Path(folder)
    try:
        record = files.read_json(path / NAME)
        if isinstance(record, dict):
            files.check_format(path / NAME, record, DataError, FORMAT)
        kind = TOKENIZERS.get(record["kind"])
        fields: dict[str, Any] = {key: tuple(record[key]) if isinstance(record[key], list) else record[key] for key in FIELDS}
        _check(fields)
        return Tokens(kind=kind, tokenizer=kind.load(path, record["settings"]), **fields)
    except DataError:
        raise
    # What else KerasHub, TensorFlow and SentencePiece raise for vocabularies that are none.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, OverflowError, tf.errors.OpError) as error:
        raise DataError(f"cannot read the tokenizer in {str(folder)!r}: {reason(error)}") from error


def _check(fields: Mapping[str, Any]) -> None:
    """Raises ValueError for fields that `Tokens.save` does not write."""
    for key in ("start", "end", "pad"):
        ids = fields[key] if isinstance(fields[key], tuple) else (fields[key],)
        if not all(type(one) is int and 0 <= one < 2**31 or one is None and key != "pad" for one in ids):
            raise ValueError(f"{key} is {shown(fields[key])}; expected an id")
    if type(fields["length"]) is not int or not 1 <= fields["length"] <= LONGEST:
        raise ValueError(f"length is {shown(fields['length'])}; expected 1 to {LONGEST:,} tokens")
