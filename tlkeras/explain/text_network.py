"""Texts as methods see them: what is differentiated are the embeddings of the tokens, what can be taken away are words."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.errors import ConfigError
from tlkeras.explain.array_networks import Network
from tlkeras.explain.explanation import Sample
from tlkeras.explain.words import without


class Texts(Network):
    """Token ids, int32 (n, tokens, …). In an empty text every token between the special ones is padding, which the model still attends to.

    So the values of words add up to what the words make of the text, and the special tokens have none.
    """

    @cached_property
    def _embeddings(self) -> Any:
        """The tensor of the embeddings: what the one layer that reads token ids gives, float (batch, tokens, …, width)."""
        ids = self.model.inputs[0]
        candidates = []
        for depth in sorted(self.model._nodes_by_depth, reverse=True):
            for node in self.model._nodes_by_depth[depth]:
                output = node.output_tensors[0]
                reads_ids = node.input_tensors and all("int" in str(tensor.dtype) for tensor in node.input_tensors)
                is_wider = output.ndim == ids.ndim + 1 and "float" in str(output.dtype)
                if reads_ids and is_wider and isinstance(node.operation, keras.layers.Layer):
                    candidates.append(output)
        # Embeddings of segments and of places are made of the ids too, and are the same for every text.
        shape = (1, *(side or 2 for side in ids.shape[1:]))
        for tensor in candidates:
            lower = keras.Model(ids, tensor)
            first, second = (np.asarray(lower(fill(shape, "int32"), training=False)) for fill in (np.zeros, np.ones))
            if not np.array_equal(first, second):
                return tensor
        raise ConfigError(f"no layer of {self.model.name} turns token ids into vectors, so it has no gradient; use --method occlusion")

    @cached_property
    def _lower(self) -> keras.Model:
        return keras.Model(self.model.inputs[0], self._embeddings)

    @cached_property
    def upper(self) -> Any:
        embeddings = self._embeddings
        answer = keras.Model([*self.model.inputs, embeddings], self.output)
        return lambda point, array: answer([array, tf.cast(point, embeddings.dtype)], training=False)

    @property
    def _point_shape(self) -> tuple[int | None, ...]:
        return tuple(self._embeddings.shape[1:])

    def point(self, sample: Sample) -> np.ndarray:
        return np.asarray(self._lower(sample.array, training=False), "float32")

    def baseline(self, sample: Sample) -> np.ndarray:
        seen = [word for word in sample.words if word.seen]
        empty = np.array(sample.array)
        if seen:
            empty[:, seen[0].first : seen[-1].last] = self.inputs.tokens.pad
        return np.asarray(self._lower(empty, training=False), "float32")

    def reduced(self, sample: Sample, values: np.ndarray, *, signed: bool) -> np.ndarray:
        inner = tuple(range(1, values.ndim))
        tokens = values.sum(axis=inner) if signed else np.sqrt(np.square(values).sum(axis=inner))
        return by_word(sample, tokens, signed=signed)

    def units(self, sample: Sample) -> tuple[int, ...]:
        return (len(sample.words),)

    def windows(self, sample: Sample) -> np.ndarray:
        return np.eye(len(sample.words), dtype=bool)

    def without(self, sample: Sample, gone: np.ndarray) -> np.ndarray:
        return self.inputs.tokens([without(sample.text, sample.words, mask) for mask in gone])


def by_word(sample: Sample, tokens: np.ndarray, *, signed: bool) -> np.ndarray:
    """Returns the values of words from those of their tokens: the sum of contributions, the largest of sizes; 0 for words that were cut.

    Args:
        sample: the text.
        tokens: float (tokens,), special ones included.
        signed: whether they are contributions.
    """
    join = np.sum if signed else np.max
    return np.array([join(tokens[word.first : word.last]) if word.seen else 0.0 for word in sample.words], "float64")
