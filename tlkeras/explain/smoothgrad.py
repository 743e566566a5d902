"""SmoothGrad: the mean gradient of copies with noise, in which what is only local wiggling averages out.

Smilkov et al. 2017, https://arxiv.org/abs/1706.03825.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlkeras.explain.array_networks import Network
from tlkeras.explain.explanation import Map, Sample

COPIES = 32  # more than 50 change little: section 3.1
NOISE = 0.15  # standard deviation, as a share of the range of the input: 10 % to 20 %, same section


def smoothgrad(network: Network, samples: Sequence[Sample], columns: Sequence[int], seed: int = 0) -> list[Map]:
    """Returns the size of the mean gradient; see `Method.function`.

    Args:
        network, samples, columns: see `Method.function`.
        seed: of the noise, which is the same for every sample.
    """
    maps = []
    for sample, column in zip(samples, columns, strict=True):
        point, rng = network.point(sample), np.random.default_rng(seed)
        deviation, total = NOISE * network.spread(sample), np.zeros(point.shape[1:], "float64")
        for start in range(0, COPIES, network.batch_size):
            count = min(network.batch_size, COPIES - start)
            noisy = point + rng.normal(scale=deviation, size=(count, *point.shape[1:])).astype("float32")
            total += sum(gradients.sum(axis=0, dtype="float64") for _, gradients in network.gradients(sample, noisy, column))
        details = {"copies": COPIES, "noise": NOISE}
        maps.append(Map(values=network.reduced(sample, total / COPIES, signed=False), details=details))
    return maps
