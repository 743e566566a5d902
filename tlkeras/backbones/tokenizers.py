"""The kinds of tokenizers: how each is saved, loaded, and said to programs without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras.registry import Registry

# What KerasHub tokenizers are told besides their vocabulary.
SETTINGS = ("strip_accents", "add_prefix_space")


@dataclass(frozen=True, kw_only=True)
class TokenizerKind:
    """One way to split texts.

    Args:
        name: short name.
        hub: class in `keras_hub.tokenizers`, with the same files in all families.
        fast: (tokenizer, start, end, lowercase) -> `tokenizers.Tokenizer`, or None where that library cannot do the same.
    """

    name: str
    hub: str
    fast: Callable[[Any, int | None, int | None, bool], Any] | None = None

    def settings(self, tokenizer: Any) -> dict[str, Any]:
        """Returns what a tokenizer is told besides its vocabulary."""
        return {key: value for key, value in tokenizer.get_config().items() if key in SETTINGS and value is not None}

    def save(self, tokenizer: Any, folder: Path) -> None:
        """Writes the vocabulary."""
        tokenizer.save_assets(str(folder))

    def load(self, folder: Path, settings: Mapping[str, Any]) -> Any:
        """Returns a tokenizer with the vocabulary of a folder."""
        import keras_hub

        tokenizer = getattr(keras_hub.tokenizers, self.hub)(**{k: v for k, v in settings.items() if k in SETTINGS})
        tokenizer.load_assets(str(folder))
        return tokenizer


# === For programs without TensorFlow ===


# What `keras_hub.tokenizers.WordPieceTokenizer` splits at: dropped, and kept as words of their own.
SPACE = r"[ \t\n\r\f]|\p{Cc}|\p{Cf}"
ALONE = (
    r"[!-/]|[:-@]|[\[-`]|[{-~]|\p{P}|[\x{4E00}-\x{9FFF}]|[\x{3400}-\x{4DBF}]|[\x{20000}-\x{2A6DF}]|[\x{2A700}-\x{2B73F}]"
    r"|[\x{2B740}-\x{2B81F}]|[\x{2B820}-\x{2CEAF}]|[\x{F900}-\x{FAFF}]|[\x{2F800}-\x{2FA1F}]"
)


def _blanks() -> Any:
    from tokenizers import Regex, normalizers

    return normalizers.Replace(Regex(r"\x00|\p{Z}"), " ")


def _word_piece(tokenizer: Any, start: int | None, end: int | None, lowercase: bool) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {token: index for index, token in enumerate(tokenizer.get_vocabulary())}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    lower = [normalizers.Lowercase()] if lowercase else []
    strip = [normalizers.NFD(), normalizers.StripAccents()] if tokenizer.strip_accents else []
    made.normalizer = normalizers.Sequence([_blanks(), *lower, *strip])
    splits = [pre_tokenizers.Split(Regex(SPACE), "removed"), pre_tokenizers.Split(Regex(ALONE), "isolated")]
    made.pre_tokenizer = pre_tokenizers.Sequence(splits)
    return _around(made, start, end)


def _byte_pair(tokenizer: Any, start: int | None, end: int | None, lowercase: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    merges = [tuple(merge.split(" ")) for merge in tokenizer.merges]
    made = Tokenizer(models.BPE(dict(tokenizer.vocabulary), merges))
    made.normalizer = _blanks()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(tokenizer.add_prefix_space))
    made.decoder = decoders.ByteLevel()
    return _around(made, start, end)


def _around(made: Any, start: int | None, end: int | None) -> Any:
    """Adds the tokens before and behind."""
    from tokenizers import processors

    special = [(made.id_to_token(one), one) for one in (start, end) if one is not None]
    if special:
        template = " ".join([*([special[0][0]] if start is not None else []), "$A", *([special[-1][0]] if end is not None else [])])
        made.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    return made


TOKENIZERS: Registry[TokenizerKind] = Registry(
    "tokenizer",
    [
        TokenizerKind(name="word_piece", hub="WordPieceTokenizer", fast=_word_piece),
        TokenizerKind(name="byte_pair", hub="BytePairTokenizer", fast=_byte_pair),
        TokenizerKind(name="sentence_piece", hub="SentencePieceTokenizer"),
        TokenizerKind(name="xlm_sentence_piece", hub="XLMRobertaTokenizer"),
    ],
)
