"""Occlusion: how much the answer loses when a part of the input is taken away.

Zeiler & Fergus 2013, https://arxiv.org/abs/1311.2901; of words: Li, Monroe & Jurafsky 2016, https://arxiv.org/abs/1612.08220.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlkeras.explain.array_networks import Network
from tlkeras.explain.explanation import Map, Sample


def occlusion(network: Network, samples: Sequence[Sample], columns: Sequence[int]) -> list[Map]:
    """Returns, for each part, the mean loss of the answer over the windows that contain it; see `Method.function`.

    An image loses squares, which take its mean colour; a sequence loses steps, which take the mean of the training examples; a text loses one word
    after the other.
    """
    maps = []
    for sample, column in zip(samples, columns, strict=True):
        windows = network.windows(sample)
        whole = network.numbers(sample.array, column)[0]
        losses = whole - numbers_without(network, sample, windows, column)
        total = np.tensordot(losses, windows.astype("float64"), axes=1)
        maps.append(Map(values=total / np.maximum(windows.sum(axis=0), 1), details={"windows": len(windows)}))
    return maps


def numbers_without(network: Network, sample: Sample, gone: np.ndarray, column: int) -> np.ndarray:
    """Returns the explained number of a sample without parts, float64 (k,), in batches.

    Args:
        network: that answers.
        sample: the whole input.
        gone: bool (k, *units); see `Network.without`.
        column: of the answer.
    """
    parts = [np.empty(0)]
    for start in range(0, len(gone), network.batch_size):
        parts.append(network.numbers(network.without(sample, gone[start : start + network.batch_size]), column))
    return np.concatenate(parts)
