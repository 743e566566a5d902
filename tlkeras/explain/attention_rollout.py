"""Attention rollout: what each token has taken from each input token, through all blocks of a transformer.

Abnar & Zuidema 2020, https://arxiv.org/abs/2005.00928: half of each block is its attention, the mean over the heads, and half is its residual connection. It
tells where a network looks, and not what for: the map is the same for every label.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.errors import ConfigError
from tlkeras.explain.array_networks import Network
from tlkeras.explain.explanation import Map, Sample
from tlkeras.explain.positions import patch_size, token_grid
from tlkeras.explain.text_network import by_word

COMPUTE = "_compute_attention"  # method of Keras' attention layer that its subclasses share


def refusal(network: Network) -> str | None:
    """Returns why a network has no such map, or None."""
    if not _layers(network.model):
        return f"{network.model.name} has no attention layer that gives its scores"
    if network.model.inputs[0].ndim == 4 and patch_size(network.model) is None:
        return f"{network.model.name} does not attend to patches of the image"
    return None


def attention_rollout(network: Network, samples: Sequence[Sample], columns: Sequence[int]) -> list[Map]:
    """Returns the attention to each word or patch; see `Method.function`."""
    read = _tokens_read(network.model)
    maps = []
    for sample, column in zip(samples, columns, strict=True):
        weights, attention = _attention(network, sample, column, read)
        tokens = weights @ rolled(attention)
        maps.append(Map(values=_seen(network, sample, tokens), details={"blocks": len(attention)}))
    return maps


def rolled(attention: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the attention of the last tokens to the first ones, through all blocks.

    Args:
        attention: float (heads, tokens, tokens) of each block; rows add up to 1.

    Returns:
        Float (tokens, tokens); rows add up to 1.
    """
    total = np.eye(attention[0].shape[-1])
    for scores in attention:
        mean = scores.mean(axis=0, dtype="float64") / 2 + np.eye(scores.shape[-1]) / 2
        total = (mean / mean.sum(axis=-1, keepdims=True)) @ total
    return total


def _layers(model: keras.Model) -> list[keras.layers.MultiHeadAttention]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.MultiHeadAttention)]


def _tokens_read(model: keras.Model) -> Any:
    """Returns the last tensor with one vector for each token: what is pooled."""
    for depth in sorted(model._nodes_by_depth):
        for node in model._nodes_by_depth[depth]:
            tensor = node.output_tensors[0]
            if tensor.ndim == 3 and "float" in str(tensor.dtype) and isinstance(node.operation, keras.layers.Layer):
                return tensor
    raise ConfigError(f"{model.name} has no vectors of tokens; choose another --method")


def _attention(network: Network, sample: Sample, column: int, read: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns how much the answer reads of each last token, (tokens,), adding up to 1, and the attention of each block."""
    model = keras.Model(network.model.inputs[0], [read, network.output])
    inputs = tf.constant(np.asarray(sample.array, network.kind))
    with _recorded(_layers(network.model)) as scores:
        tokens, _ = model(inputs, training=False)
    attention = [np.asarray(block, "float32")[0] for block in scores]
    upper = keras.Model([*network.model.inputs, read], network.output)
    with tf.GradientTape() as tape:
        tape.watch(tokens)
        number = network.number(upper([inputs, tokens], training=False), [column])
    sizes = np.linalg.norm(np.asarray(tape.gradient(number, tokens), "float64")[0], axis=-1)
    if network.model.inputs[0].ndim == 2:
        sizes = sizes * (np.arange(len(sizes)) < network.inputs.tokens.lengths(sample.array)[0])
    return sizes / max(sizes.sum(), 1e-12), attention


@contextmanager
def _recorded(layers: Sequence[Any]) -> Iterator[list[Any]]:
    """Records the attention scores of layers, in the order in which they are computed: they leave them out unless they are asked."""
    scores: list[Any] = []

    def recording(original: Any) -> Any:
        signature = inspect.signature(original)

        def compute(*arguments: Any, **options: Any) -> Any:
            bound = signature.bind(*arguments, **options)
            bound.arguments["return_attention_scores"] = True
            output, attention = original(*bound.args, **bound.kwargs)
            scores.append(attention)
            return output, attention

        return compute

    try:
        for layer in layers:
            setattr(layer, COMPUTE, recording(getattr(layer, COMPUTE)))
        yield scores
    finally:
        for layer in layers:
            layer.__dict__.pop(COMPUTE, None)


def _seen(network: Network, sample: Sample, tokens: np.ndarray) -> np.ndarray:
    """Returns the values of tokens as those of words, or of the grid of patches."""
    shape = network.model.inputs[0].shape
    if len(shape) == 2:
        return by_word(sample, tokens, signed=True)
    patch = patch_size(network.model) or 1
    grid = token_grid(len(tokens), shape[1] // patch, shape[2] // patch)
    if grid is None:
        raise ConfigError(f"the tokens of {network.model.name} are no grid; choose another --method")
    height, width, before = grid
    return tokens[before : before + height * width].reshape(height, width)
