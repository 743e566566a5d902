"""Whether float16, with its 11 bits, holds features well enough: rounding is relative to a feature, what a head learns is in its variation."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

LARGEST = float(np.finfo("float16").max)
CHECKED = 512  # examples whose rounding is looked at; all of them are looked at for their size
# Of the standard deviation of a feature, that rounding may reach (root mean square). Noise in a feature shrinks its weight by the square of this.
COARSEST = 0.01
STILL = 1e-6  # of the mean deviation of all features: a feature that varies less is as good as constant, see `tlkeras.training.exact`


class TooCoarse(ValueError):
    """Features that float16 does not hold."""


class HalfPrecision:
    """Looks at features as they are stored; safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: list[list[np.ndarray]] = []

    def check(self, values: Sequence[np.ndarray]) -> None:
        """Looks at a batch of features.

        Args:
            values: float32 (n, …), one array for each cut tensor; arrays of other types are passed over.

        Raises:
            TooCoarse: where they are too large, or rounding hides what they tell apart.
        """
        floats = [value for value in values if value.dtype.kind == "f"]
        for value in floats:
            largest = float(np.abs(value).max(initial=0.0))
            if not largest <= LARGEST:
                raise TooCoarse(f"they reach {largest:g}, and float16 {LARGEST:g}")
        with self._lock:
            if sum(len(batch[0]) for batch in self._seen if batch) >= CHECKED:
                return
            self._seen.append(floats)
            for parts in zip(*self._seen, strict=True):
                share = rounding(np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts]))
                if share > COARSEST:
                    raise TooCoarse(f"rounding to float16 reaches {share:.1%} of what a feature varies by, more than {COARSEST:.0%}")


def rounding(features: np.ndarray) -> float:
    """Returns the largest rounding error of a feature in float16, as a share of its standard deviation; 0 for fewer than two rows.

    Args:
        features: float32 (n, width), within the range of float16.
    """
    if len(features) < 2:
        return 0.0
    deviation = features.std(0, dtype="float64")
    varies = deviation > STILL * deviation.mean()
    error = np.sqrt(np.square(features - features.astype("float16").astype("float32"), dtype="float64").mean(0))
    return float((error[varies] / deviation[varies]).max(initial=0.0))
