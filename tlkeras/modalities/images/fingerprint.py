"""Perceptual hashes: images that look alike have hashes that differ in few bits."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tlkeras.modalities.images import resampling

CELLS = (8, 9)
EVEN = 0.01  # of 765, between two cells that are equally bright


def brightness(image: tf.Tensor) -> tf.Tensor:
    """Returns float32 (8, 9), the brightness of the cells of an image (height, width, channels), times its channels."""
    return tf.reduce_sum(resampling.antialiased(image, tf.constant(CELLS), tf.shape(image)[:2], tf.zeros(2)), axis=-1)


def difference_hashes(cells: np.ndarray) -> np.ndarray:
    """Returns 64-bit difference hashes (Krawetz 2013, "Kind of Like That"): whether each of 8 x 9 cells is brighter than its left neighbour.

    Args:
        cells: float32 (..., 8, 9), of `brightness`.

    Returns:
        uint64 (...).
    """
    # What differs by a rounding only counts as equal, so that an even ground gives zeros and not noise.
    bits = cells[..., 1:] > cells[..., :-1] + EVEN
    return np.packbits(bits.reshape(*bits.shape[:-2], 64), axis=-1).view(">u8")[..., 0].astype("uint64")
