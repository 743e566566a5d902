"""The built-in source: scikit-learn's 1,797 real handwritten digits, 8 x 8 pixels.

Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI repository, CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlkeras.data.examples import Dataset, from_arrays
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.sources.columns import Columns
from tlkeras.data.target import Target


def open_digits(
    spec: str,
    *,
    target: Target | None = None,
    data_dir: str | None = None,
    columns: Columns | None = None,
    kinds: Sequence[FileKind] = (),
) -> Dataset:
    """Returns the digits as grey images, ink bright on dark, with labels "0" to "9"."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype("uint8")  # 0-16 -> 0-255
    return from_arrays(grey, [str(label) for label in digits.target], name="digits", kind=(columns or Columns()).kind, target=target)
