"""The gradient of the answer: how fast it changes with each pixel, word or step.

Simonyan, Vedaldi & Zisserman 2013, https://arxiv.org/abs/1312.6034.
"""

from __future__ import annotations

from collections.abc import Sequence

from tlkeras.explain.array_networks import Network
from tlkeras.explain.explanation import Map, Sample


def gradient(network: Network, samples: Sequence[Sample], columns: Sequence[int]) -> list[Map]:
    """Returns the size of the gradient; see `Method.function`."""
    maps = []
    for sample, column in zip(samples, columns, strict=True):
        ((_, gradients),) = network.gradients(sample, network.point(sample), column)
        maps.append(Map(values=network.reduced(sample, gradients[0], signed=False)))
    return maps
