"""Random changes of training images, fixed by (seed, epoch, example) and by nothing else."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tlkeras.data import row_cache
from tlkeras.modalities.images.augmentations import AUGMENTS, Augment

DRAWS = 8  # random numbers for each image and epoch


def draws(count: int, seed: int, epoch: int) -> np.ndarray:
    """Returns float32 (count, 8), uniform in [-1, 1): row i belongs to example i, whatever batch it comes in."""
    return np.random.default_rng((seed, epoch)).uniform(-1, 1, (count, DRAWS)).astype("float32")


def augment(images: tf.Tensor, numbers: tf.Tensor, name: str) -> tf.Tensor:
    """Changes a batch of images.

    Args:
        images: float32 (n, size, size, 3), 0 to 255.
        numbers: float32 (n, 8), in [-1, 1).
        name: name in `AUGMENTS`.

    Returns:
        float32 (n, size, size, 3), 0 to 255.
    """
    row = AUGMENTS.get(name)
    if row.flip or row.zoom or row.shift or row.rotate:
        images = _warp(images, numbers, row)
    if row.brightness or row.contrast or row.saturation:
        images = _colour(images, numbers, row)
    return images


def _warp(images: tf.Tensor, numbers: tf.Tensor, row: Augment) -> tf.Tensor:
    """Applies flip, turn, zoom and shift as one projective transform, reflecting at the borders."""
    side = tf.cast(tf.shape(images)[1], tf.float32)
    angle = numbers[:, 0] * (row.rotate * math.pi / 180)
    scale = 1.0 + numbers[:, 1] * row.zoom
    mirror = tf.where(numbers[:, 2] < 0, -1.0, 1.0) if row.flip else tf.ones_like(angle)
    cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
    a0, a1, b0, b1 = cos * mirror, -sin, sin * mirror, cos
    centre = (side - 1) / 2
    a2 = centre * (1 - a0 - a1) + numbers[:, 3] * row.shift * side
    b2 = centre * (1 - b0 - b1) + numbers[:, 4] * row.shift * side
    zero = tf.zeros_like(a0)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


def _colour(images: tf.Tensor, numbers: tf.Tensor, row: Augment) -> tf.Tensor:
    def factor(column: int, amount: float) -> tf.Tensor:
        return 1.0 + numbers[:, column, None, None, None] * amount

    images = images + numbers[:, 5, None, None, None] * (255 * row.brightness)
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    images = mean + (images - mean) * factor(6, row.contrast)
    grey = tf.reduce_mean(images, axis=-1, keepdims=True)
    images = grey + (images - grey) * factor(7, row.saturation)
    return tf.clip_by_value(images, 0.0, 255.0)


@dataclass(frozen=True, kw_only=True)
class ImageAugmentation:
    """A row of `AUGMENTS` as `tlkeras.data.pipeline` applies it.

    Args:
        name: name in `AUGMENTS`.
    """

    name: str
    width: int = DRAWS

    def draws(self, count: int, seed: int, epoch: int) -> np.ndarray:
        return draws(count, seed, epoch)

    def __call__(self, images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        return augment(tf.cast(images, tf.float32), numbers, self.name)


def augmentation(name: str) -> ImageAugmentation | None:
    """Returns the augmentation of a name in `AUGMENTS`, or None for the row that changes nothing."""
    return ImageAugmentation(name=name) if AUGMENTS.get(name).changes else None


@dataclass(frozen=True, kw_only=True)
class AugmentedView:
    """Images as one epoch would see them, made batch by batch when sliced."""

    images: np.ndarray
    name: str
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice) -> np.ndarray:
        numbers = draws(len(self.images), self.seed, self.epoch)[index]
        return augment(tf.cast(self.images[index], tf.float32), tf.constant(numbers), self.name).numpy()

    def keys(self, digests: Sequence[str]) -> list[str]:
        """Returns what identifies each image of this view.

        Args:
            digests: sha256 of each image.
        """
        code = f"{AUGMENTS.get(self.name)} {row_cache.source_digest(sys.modules[__name__])}"
        numbers = draws(len(self.images), self.seed, self.epoch)
        return [
            hashlib.sha256(f"{digest} {code} ".encode() + row.tobytes()).hexdigest() for digest, row in zip(digests, numbers, strict=True)
        ]
