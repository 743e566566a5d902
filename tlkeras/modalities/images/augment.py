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
from tlkeras.modalities.images.operations import erased, operate, transformed

DRAWS = 8  # random numbers for each image and epoch that every augmentation has


def width(row: Augment) -> int:
    """Returns how many random numbers an image needs in an epoch: further ones for random operations and erasing."""
    return DRAWS + 2 * row.operations + (5 if row.erase else 0)


def draws(count: int, seed: int, epoch: int, width: int = DRAWS) -> np.ndarray:
    """Returns float32 (count, width), uniform in [-1, 1): row i belongs to example i, whatever batch it comes in."""
    return np.random.default_rng((seed, epoch)).uniform(-1, 1, (count, width)).astype("float32")


def augment(images: tf.Tensor, numbers: tf.Tensor, name: str) -> tf.Tensor:
    """Changes a batch of images.

    Args:
        images: float32 (n, size, size, 3), 0 to 255.
        numbers: float32 (n, `width`), in [-1, 1).
        name: name in `AUGMENTS`.

    Returns:
        float32 (n, size, size, 3), 0 to 255.
    """
    row = AUGMENTS.get(name)
    if row.flip or row.zoom or row.shift or row.rotate:
        images = _warp(images, numbers, row)
    if row.brightness or row.contrast or row.saturation:
        images = _colour(images, numbers, row)
    for index in range(row.operations):
        choice, strength = numbers[:, DRAWS + 2 * index], numbers[:, DRAWS + 2 * index + 1]
        images = operate(images, choice, tf.sign(strength) * row.strength if row.strength else strength)
    return erased(images, numbers[:, -5:], row.erase) if row.erase else images


def _warp(images: tf.Tensor, numbers: tf.Tensor, row: Augment) -> tf.Tensor:
    """Applies flip, turn, zoom and shift as one projective transform, reflecting at the borders."""
    side = tf.cast(tf.shape(images)[1], tf.float32)
    angle = numbers[:, 0] * (row.rotate * math.pi / 180)
    scale = 1.0 + numbers[:, 1] * row.zoom
    mirror = tf.where(numbers[:, 2] < 0, -1.0, 1.0) if row.flip else tf.ones_like(angle)
    cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
    shift = row.shift * side
    return transformed(images, cos * mirror, -sin, sin * mirror, cos, numbers[:, 3] * shift, numbers[:, 4] * shift)


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

    @property
    def width(self) -> int:
        return width(AUGMENTS.get(self.name))

    def draws(self, count: int, seed: int, epoch: int) -> np.ndarray:
        return draws(count, seed, epoch, self.width)

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
        numbers = draws(len(self.images), self.seed, self.epoch, width(AUGMENTS.get(self.name)))[index]
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
