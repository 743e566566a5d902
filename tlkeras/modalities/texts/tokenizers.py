"""The kinds of tokenizers: how each is saved, loaded, and described to programs without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras.errors import MissingPackage
from tlkeras.files import MOST_JSON, read_json, read_regular
from tlkeras.modalities.texts import characters
from tlkeras.registry import Registry

TEXT = "pip install tensorflow-text of the version of your TensorFlow"
# Arguments of KerasHub tokenizers besides their vocabulary.
SETTINGS = ("strip_accents", "add_prefix_space")


@dataclass(frozen=True, kw_only=True)
class TokenizerKind:
    """One way to split texts, by a class of KerasHub.

    Args:
        name: short name.
        hub: class in `keras_hub.tokenizers`, with the same files in all families.
        read: folder with the vocabulary -> arguments of the class.
        resources: attributes of the tokenizer that a SavedModel must keep: tables, a SentencePiece model.
        fast: (tokenizer, start, end, lowercase) -> `tokenizers.Tokenizer`, or None where that library cannot do the same.
        of_bert: whether its vocabulary is one of word pieces, as programs for BERT read it.
    """

    name: str
    hub: str
    read: Callable[[Path], dict[str, Any]]
    resources: tuple[str, ...] = ()
    fast: Callable[[Any, Any, Any, bool], Any] | None = None
    of_bert: bool = False

    def settings(self, tokenizer: Any) -> dict[str, Any]:
        """Returns the arguments of a tokenizer besides its vocabulary."""
        return {key: value for key, value in tokenizer.get_config().items() if key in SETTINGS and value is not None}

    def save(self, tokenizer: Any, folder: Path) -> None:
        """Writes the vocabulary."""
        tokenizer.save_assets(str(folder))

    def load(self, folder: Path, settings: Mapping[str, Any]) -> Any:
        """Returns a tokenizer with the vocabulary of a folder.

        Raises:
            MissingPackage: without TensorFlow Text, whose operations split the texts.
        """
        try:
            import tensorflow_text  # noqa: F401 - KerasHub goes on without it, and fails later
        except ImportError as error:
            raise MissingPackage(f"{self.name} tokenises texts with TensorFlow Text, which cannot be imported ({error}); {TEXT}") from error
        import keras_hub

        arguments = {key: value for key, value in settings.items() if key in SETTINGS}
        tokenizer = getattr(keras_hub.tokenizers, self.hub)(**self.read(folder), **arguments)
        # Tables and models made while a function is traced would end with the tracing.
        tokenizer._maybe_initialized_tf()
        if hasattr(tokenizer, "cache"):
            tokenizer.cache = _Forgetful()
        return tokenizer

    def renew(self, tokenizer: Any) -> None:
        """Makes a SentencePiece model again: TensorFlow drops it whenever a seed is set, with its cache of eager kernels."""
        if hasattr(tokenizer, "_set_proto_tf"):
            tokenizer._set_proto_tf(tokenizer.proto)

    def tracked(self, tokenizer: Any) -> list[Any]:
        """Returns the resources that a SavedModel must keep."""
        return [getattr(tokenizer, name) for name in self.resources]


@dataclass(frozen=True, kw_only=True)
class CharacterKind(TokenizerKind):
    """Words as their characters, without KerasHub and without a vocabulary: `characters.Words`."""

    hub: str = ""
    read: Callable[[Path], dict[str, Any]] = characters.read

    def settings(self, tokenizer: characters.Words) -> dict[str, Any]:
        return {}

    def save(self, tokenizer: characters.Words, folder: Path) -> None:
        characters.save(tokenizer, folder)

    def load(self, folder: Path, settings: Mapping[str, Any]) -> characters.Words:
        return characters.Words(**self.read(folder))


class _Forgetful:
    """What `BytePairTokenizer` uses in place of its cache of words.

    The cache is a table that grows with every new word: in a server, for ever, with the words of all users. The
    tokenizer asks it, inserts what it lacks, and asks again; so it is enough to hand back what was just inserted.
    """

    def __init__(self) -> None:
        self._inserted: Any = None

    def lookup(self, keys: Any) -> Any:
        import tensorflow as tf

        inserted, self._inserted = self._inserted, None
        return tf.zeros_like(keys) if inserted is None else inserted

    def insert(self, keys: Any, values: Any) -> None:
        self._inserted = values


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
    fast = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    lower = [normalizers.Lowercase()] if lowercase else []
    strip = [normalizers.NFD(), normalizers.StripAccents()] if tokenizer.strip_accents else []
    fast.normalizer = normalizers.Sequence([_blanks(), *lower, *strip])
    splits = [pre_tokenizers.Split(Regex(SPACE), "removed"), pre_tokenizers.Split(Regex(ALONE), "isolated")]
    fast.pre_tokenizer = pre_tokenizers.Sequence(splits)
    return _around(fast, start, end)


def _byte_pair(tokenizer: Any, start: int | None, end: int | None, lowercase: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    merges = [tuple(merge.split(" ")) for merge in tokenizer.merges]
    fast = Tokenizer(models.BPE(dict(tokenizer.vocabulary), merges))
    fast.normalizer = _blanks()
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(tokenizer.add_prefix_space))
    fast.decoder = decoders.ByteLevel()
    return _around(fast, start, end)


def _around(fast: Any, start: int | None, end: int | None) -> Any:
    """Adds the tokens before and behind."""
    from tokenizers import processors

    special = [(fast.id_to_token(token), token) for token in (start, end) if token is not None]
    if special:
        template = " ".join([*([special[0][0]] if start is not None else []), "$A", *([special[-1][0]] if end is not None else [])])
        fast.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    return fast


# === Files, as KerasHub's `save_assets` writes them ===


def _lines(path: Path) -> list[str]:
    return read_regular(path, MOST_JSON).decode("utf-8").split("\n")[:-1]


def _read_word_piece(folder: Path) -> dict[str, Any]:
    return {"vocabulary": _lines(folder / "vocabulary.txt")}


def _read_byte_pair(folder: Path) -> dict[str, Any]:
    return {"vocabulary": read_json(folder / "vocabulary.json"), "merges": _lines(folder / "merges.txt")}


def _read_sentence_piece(folder: Path) -> dict[str, Any]:
    return {"proto": read_regular(folder / "vocabulary.spm", MOST_JSON)}


TOKENIZERS: Registry[TokenizerKind] = Registry(
    "tokenizer",
    [
        TokenizerKind(name="word_piece", hub="WordPieceTokenizer", read=_read_word_piece, fast=_word_piece, of_bert=True),
        TokenizerKind(
            name="byte_pair",
            hub="BytePairTokenizer",
            read=_read_byte_pair,
            resources=("byte2unicode", "token_to_id_map", "merge_ranks"),
            fast=_byte_pair,
        ),
        TokenizerKind(name="sentence_piece", hub="SentencePieceTokenizer", read=_read_sentence_piece, resources=("_sentence_piece",)),
        TokenizerKind(name="xlm_sentence_piece", hub="XLMRobertaTokenizer", read=_read_sentence_piece, resources=("_sentence_piece",)),
        CharacterKind(name="characters"),
    ],
)
