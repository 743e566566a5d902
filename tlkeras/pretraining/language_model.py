"""Predicting words from both sides: the words of some texts, what stands beside each, and the layer that predicts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tlkeras import files
from tlkeras.backbones.row import Backbone
from tlkeras.config import PretrainConfig
from tlkeras.data.examples import Dataset
from tlkeras.errors import ConfigError
from tlkeras.modalities.texts import characters
from tlkeras.modalities.texts.inputs import Texts
from tlkeras.pretraining.network import Pretraining, untrained
from tlkeras.weights.layers import NextWord

UNKNOWN, NONE = 0, -1  # words beyond the vocabulary; places where there is nothing to predict
NAME = "words.txt"


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The most frequent words of some texts; the marks of start and end are words too.

    Args:
        words: int32 (n, characters), each different, most frequent first; the first word has the number 1, 0 is any other.
    """

    words: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, most: int) -> Vocabulary:
        """Counts words.

        Args:
            ids: int32 (texts, words, characters).
            most: size at most, the number for all other words included.
        """
        flat = ids.reshape(-1, ids.shape[-1])
        words, counts = np.unique(flat[flat.any(axis=1)], axis=0, return_counts=True)
        return cls(words=words[np.argsort(-counts, kind="stable")[: most - 1]])

    def __len__(self) -> int:
        return 1 + len(self.words)

    def numbers(self, ids: np.ndarray) -> np.ndarray:
        """Returns the number of each word, int32 (texts, words); -1 where there is none."""
        numbers = {word.tobytes(): number for number, word in enumerate(self.words.astype("int32"), 1)}
        rows = np.ascontiguousarray(ids, "int32").reshape(-1, ids.shape[-1])
        flat = [numbers.get(row.tobytes(), UNKNOWN) if row.any() else NONE for row in rows]
        return np.array(flat, "int32").reshape(ids.shape[:2])

    def neighbours(self, ids: np.ndarray) -> np.ndarray:
        """Returns the numbers of the word behind and the word before each, int32 (texts, words, 2); -1 where there is none."""
        numbers = self.numbers(ids)
        nothing = np.full_like(numbers[:, :1], NONE)
        behind, before = np.concatenate([numbers[:, 1:], nothing], 1), np.concatenate([nothing, numbers[:, :-1]], 1)
        before = np.where(numbers == NONE, NONE, before)  # behind the end of a text
        return np.stack([behind, before], axis=-1)

    def save(self, folder: str | Path) -> None:
        """Writes one word a line, in the order of their numbers."""
        lines = ["<UNK>", *(characters.spelling(word) for word in self.words)]
        files.write(Path(folder) / NAME, "\n".join(lines) + "\n")


def loss(target: Any, scores: Any) -> Any:
    """Mean cross-entropy over all words that have a neighbour, of both directions.

    Args:
        target: int (batch, words, 2), -1 where there is nothing to predict.
        scores: float (batch, words, 2, vocabulary), before the softmax.
    """
    counted = ops.cast(ops.greater_equal(target, 0), scores.dtype)
    each = keras.losses.sparse_categorical_crossentropy(ops.maximum(target, 0), scores, from_logits=True)
    return ops.sum(each * counted) / ops.maximum(ops.sum(counted), 1)


def build(row: Backbone, config: PretrainConfig, dataset: Dataset) -> Pretraining:
    """Returns a network of texts whose directions predict the word that each sees next.

    Peters et al. 2018, https://arxiv.org/abs/1802.05365, section 3.1.

    Raises:
        ConfigError: when the network has no tokens.
    """
    base, features = untrained(row, config)
    if base.tokens is None:
        raise ConfigError(f"{row.name} does not split texts into tokens, so it cannot be a language model")
    inputs, _ = Texts(tokens=base.tokens).fitted(dataset, None)
    ids = inputs.tokens([example.text or "" for example in dataset.examples])
    vocabulary = Vocabulary.of(ids, base.options["vocabulary"])
    above = layers.Identity(name="prediction")(NextWord(len(vocabulary), name="next_word")(base.model.output[-1]))
    # The mix of the layers is what a head will see; here it stands beside the prediction of every word.
    predicted = above + 0 * ops.sum(features)

    def assets(folder: Path) -> None:
        inputs.tokens.save(folder)
        vocabulary.save(folder)

    return Pretraining(
        model=keras.Model(base.model.input, predicted, name=row.name),
        inputs=inputs,
        target=vocabulary.neighbours,
        loss=loss,
        assets=assets,
    )
