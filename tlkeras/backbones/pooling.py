"""Pooling: how the output of a backbone for each position becomes one vector. One row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from tlkeras.registry import Registry
from tlkeras.weights.layers import ScalarMix

FEATURES = "features"  # name of the layer whose output are the pooled features


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """One pooling.

    Args:
        name: how rows refer to it.
        apply: (backbone output, bool mask (batch, tokens) or None) -> (batch, features), by a last layer named `features`.
        help: one line of help text.
    """

    name: str
    apply: Callable[[Any, Any], Any]
    help: str


def _named(x: Any) -> Any:
    return keras.layers.Identity(name=FEATURES)(x)


def _average(x: Any, mask: Any) -> Any:
    return keras.layers.GlobalAveragePooling2D(name=FEATURES)(x)  # (batch, h, w, features) -> (batch, features)


def _average_tokens(x: Any, mask: Any) -> Any:
    return keras.layers.GlobalAveragePooling1D(name=FEATURES)(x)  # (batch, places, features) -> (batch, features)


def _first(x: Any, mask: Any) -> Any:
    return _named(x[:, 0])


def _masked_mean(x: Any, mask: Any) -> Any:
    return _named(_mean(x, mask))


def _mean(x: Any, mask: Any) -> Any:
    weights = ops.expand_dims(ops.cast(mask, x.dtype), -1)
    # A text of nothing has no token: its mean is zero, not NaN.
    return ops.sum(x * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1)


def _mixed_mean(x: Any, mask: Any) -> Any:
    # The mean of the mix is the mix of the means: this way round, what a frozen network gives is one vector for each layer.
    means = ops.stack([_mean(one, mask) for one in x], axis=1)  # (batch, layers, features)
    return _named(ScalarMix(name="scalar_mix")(means))


def _last(x: Any, mask: Any) -> Any:
    count = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)
    position = ops.expand_dims(ops.maximum(count - 1, 0), -1)
    return _named(ops.squeeze(ops.take_along_axis(x, position, axis=1), 1))


def _last_step(x: Any, mask: Any) -> Any:
    return _named(x[:, -1])


def _vector(x: Any, mask: Any) -> Any:
    return _named(x)


POOLINGS: Registry[Pooling] = Registry(
    "pooling",
    [
        Pooling(name="average", apply=_average, help="mean over all positions of an image"),
        Pooling(name="average_tokens", apply=_average_tokens, help="mean over all positions of an image, given as one sequence of tokens"),
        Pooling(name="first", apply=_first, help="the first token, as BERT's [CLS]"),
        Pooling(name="masked_mean", apply=_masked_mean, help="mean over the tokens of the text"),
        Pooling(name="mixed_mean", apply=_mixed_mean, help="learned mix of the layers' means over the words of the text"),
        Pooling(name="last", apply=_last, help="the last token of the text, the only one that attends to all others in GPT"),
        Pooling(name="last_step", apply=_last_step, help="the last step of a sequence, which is padded at its start"),
        Pooling(name="vector", apply=_vector, help="unchanged: the backbone returns one vector"),
    ],
)
