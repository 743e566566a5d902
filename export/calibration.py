"""Calibration: the real examples that define the activation ranges of full-integer formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlkeras.errors import ConfigError, ExportError

FEWEST = 8  # below this the ranges are those of single images: agreement 0.12-0.40 was seen with one
DEFAULT = 100  # the usual advice of TFLite is 100-500; on EfficientNet-Lite0 more than 100 changed nothing


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Real inputs of the model, as in training, without augmentation.

    Args:
        inputs: input name -> array; the same number of examples, 8 or more, for each.
        chosen: how they were chosen (count, seed, stratified); stored with the artifact.
    """

    inputs: Mapping[str, np.ndarray]
    chosen: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {len(array) for array in self.inputs.values()}
        if len(counts) != 1:
            raise ConfigError(f"calibration inputs have {sorted(counts)} examples; expected the same number for each input")
        if min(counts) < FEWEST:
            raise ConfigError(
                f"{min(counts)} calibration examples are too few for the ranges of activations; pass {FEWEST} or more, preferably 100"
            )

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def feeds(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields one example at a time, each as a batch of one."""
        for index in range(len(self)):
            yield {name: array[index : index + 1] for name, array in self.inputs.items()}

    def check(self, samples: Mapping[str, np.ndarray]) -> None:
        """Raises when calibration inputs are of another range than what the model is verified on.

        A folder of images scaled to 0-1 calibrates a model that expects 0-255 without any warning, and the file is useless.
        """
        for name, array in self.inputs.items():
            if name not in samples or np.issubdtype(samples[name].dtype, np.integer) and not np.issubdtype(array.dtype, np.number):
                continue
            span, expected = _spread(array), _spread(samples[name])
            if not 1 / 4 <= (span + 1e-12) / (expected + 1e-12) <= 4:
                raise ExportError(
                    f"the calibration examples of {name!r} span {array.min():.4g} to {array.max():.4g}, "
                    f"the examples to verify on {samples[name].min():.4g} to {samples[name].max():.4g}; "
                    "calibrate on raw inputs, in the range that the model will receive"
                )

    def to_dict(self) -> dict[str, Any]:
        """Returns the record for the manifest."""
        return {"examples": len(self), **self.chosen}


def _spread(array: np.ndarray) -> float:
    return float(np.abs(np.asarray(array, "float32")).max(initial=0.0))


def stratified(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Returns indices of at most `count` examples, as evenly over the classes as they allow, sorted.

    Args:
        y: class of each example, int (n,).
        count: how many.
        seed: of the choice within a class.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    rank = np.empty(len(y), int)
    for label in np.unique(y):
        members = order[y[order] == label]
        rank[members] = np.arange(len(members))
    # First of every class, then the second of every class, and so on.
    return np.sort(order[np.argsort(rank[order], kind="stable")][:count])
