"""Texts as a model accepts them: token ids."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset, Example, Issue
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.row_cache import RowCache
from tlkeras.data.store import Progress, Store
from tlkeras.errors import DataError
from tlkeras.modalities.inputs import check_modality
from tlkeras.modalities.sources import modality_of
from tlkeras.modalities.texts.files import FILES
from tlkeras.modalities.texts.materialise import fitting, length_note, materialise
from tlkeras.modalities.texts.tokens import Tokens, padded
from tlkeras.modalities.texts.tokens import load as load_tokens

SHOWN = 320  # characters of a text on a page
TOKENIZER = "tokenizer"  # folder of the vocabulary, in a run and beside artifacts
SENTENCES = ("a short text", "the film was better than I had expected", "no", "two words", "what a day!", "é, ß and 蜂", "1 2 3", "end")


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts as token ids.

    Args:
        tokens: texts to token ids.
        fitted_to: the examples that the length was fitted to, and their ids.
    """

    tokens: Tokens
    modality: str = "text"
    noun: str = "text"
    files: FileKind = FILES
    fitted_to: tuple[Sequence[Example], np.ndarray] | None = field(default=None, repr=False, compare=False)

    def materialise(
        self,
        dataset: Dataset,
        *,
        cache_dir: Path | None = None,
        strict: bool = False,
        progress: Progress | None = None,
        cache: RowCache | None = None,
    ) -> Store:
        check_modality(dataset, self.modality)
        bad = [note for note in dataset.notes if note.action == "skipped"]
        if strict and bad:
            raise DataError(f"{len(bad)} texts cannot be used, the first is {bad[0].path}: {bad[0].reason}; fix it, or leave out --strict")
        lengths = None if self.tokens.fixed else self.tokens.lengths
        store = materialise(dataset, encode=lambda texts: self._ids(dataset, texts), lengths=lengths)
        if progress:
            progress(len(store), len(store))
        return store

    def fitted(self, dataset: Dataset, asked: int | None) -> tuple[Texts, Any]:
        """Returns the same with a length that fits the data (or the one asked for), and the table of lengths as a note."""
        ids = self.tokens([example.text or "" for example in dataset.examples])
        lengths = self.tokens.lengths(ids)
        length = min(asked or fitting(lengths, self.tokens.length), self.tokens.length)
        tokens = self.tokens.limited(length)
        cut = tokens.cut(ids)
        return Texts(tokens=tokens, fitted_to=None if cut is None else (dataset.examples, cut)), length_note(lengths, length)

    def _ids(self, dataset: Dataset, texts: Sequence[str]) -> np.ndarray:
        """Returns the ids of the texts of a source, those that the length was fitted to without tokenising them again."""
        if self.fitted_to is not None and self.fitted_to[0] is dataset.examples:
            return self.fitted_to[1]
        return self.tokens(texts)

    def is_batch(self, array: np.ndarray) -> bool:
        return array.ndim > 0

    def read(self, value: Any, name: str | None = None) -> np.ndarray:
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if not isinstance(value, str):
            raise DataError(f"{name or 'the input'} is {type(value).__name__}; expected a text")
        return self.tokens([value])

    def stack(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        return padded(inputs, self.tokens.pad)

    def encoded(self, example: Example) -> bytes:
        return (example.text or "").encode("utf-8", "replace")

    def thumbnail(self, example: Example, array: np.ndarray) -> str:
        text = " ".join((example.text or "").split())
        return f"<p class=text>{html.escape(text if len(text) <= SHOWN else text[: SHOWN - 1] + '…')}</p>"

    def metadata(self) -> dict[str, str]:
        return {"modality": "text", "max_length": str(self.tokens.length), "pad": str(self.tokens.pad)}

    def settings(self) -> dict[str, Any]:
        return {"max_length": self.tokens.length}

    def save(self, folder: Path) -> None:
        self.tokens.save(folder / TOKENIZER)

    def serving(self) -> dict[str, Any]:
        return {
            "tokenise": self.tokens.encode,
            "tracked": self.tokens.tracked,
            "vocabulary": bert_vocabulary(self.tokens),
            "assets": self.tokens.save,
        }

    def synthetic(self, count: int, label: str) -> list[Example]:
        return [Example(id=f"synthetic/{i}", label=label, text=SENTENCES[i % len(SENTENCES)]) for i in range(count)]


def bert_vocabulary(tokens: Tokens) -> tuple[str, ...] | None:
    """Returns the word pieces by id, where the tokens are of BERT's kind."""
    if not tokens.kind.of_bert or tokens.pad != 0:
        return None
    return tuple(tokens.tokenizer.get_vocabulary())


def texts_of(folder: Path) -> Texts:
    """Opens the vocabulary beside a model.

    Raises:
        DataError: when it is missing or damaged.
    """
    return Texts(tokens=load_tokens(folder / TOKENIZER))


def of_task(model: Any, tokens: Tokens, config: RunConfig, dataset: Dataset) -> tuple[Texts, list[Issue]]:
    """See `Modality.of_task`."""
    inputs = Texts(tokens=tokens)
    if modality_of(dataset).name != inputs.modality:
        return inputs, []
    fitted, note = inputs.fitted(dataset, config.model.max_length)
    return fitted, [note]


def of_model(model: Any, config: RunConfig, folder: Path) -> Texts:
    """See `Modality.of_model`."""
    return texts_of(folder)


def of_metadata(metadata: Mapping[str, str], folder: Path) -> Texts:
    """See `Modality.of_metadata`."""
    return texts_of(folder)
