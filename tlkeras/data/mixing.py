"""Mixtures of two training examples and their targets (mixup, cutmix), and smoothed targets; fixed by (seed, epoch, example)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

NUMBERS = 5  # that travel with each example: share of the partner outside the box, and the box: top, bottom, left, right


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """Targets as probabilities, and what is mixed.

    Zhang et al. 2018, mixup, https://arxiv.org/abs/1710.09412; Yun et al. 2019, CutMix, https://arxiv.org/abs/1905.04899. Where both are
    set, each example is mixed in one of the two ways, by chance.

    Args:
        width: columns of the targets; class ids become one-hot rows.
        mixup: alpha of the Beta distribution of the shares; 0 for none. Of features, this is manifold mixup
            (Verma et al. 2019, https://arxiv.org/abs/1806.05236).
        cutmix: alpha of the Beta distribution of the areas of the boxes; 0 for none.
        smoothing: share of the uniform answer in every target.
    """

    width: int
    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.0

    @property
    def mixes(self) -> bool:
        """Whether examples have partners."""
        return bool(self.mixup or self.cutmix)

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Returns float32 (n, width): of class ids (n,), or of sets of labels (n, width)."""
        if y.ndim == 1:
            rows, uniform = np.zeros((len(y), self.width), "float32"), 1 / self.width
            rows[np.arange(len(y)), y] = 1
        else:
            rows, uniform = y.astype("float32"), 0.5
        return (rows * (1 - self.smoothing) + self.smoothing * uniform).astype("float32")

    def partners(self, count: int, seed: int, epoch: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns what each example is mixed with in an epoch.

        Args:
            count: examples.
            seed, epoch: of the pass.
            shape: of an example; its first two sides are those of an image where boxes are cut.

        Returns:
            int (count,), the partners; float32 (count,), their shares of the targets; float32 (count, 5), see `NUMBERS`.
        """
        rng = np.random.default_rng((seed, epoch, 1))  # 1: not the numbers of order and augmentation
        partners = rng.permutation(count)
        cut = rng.random(count) < (1.0 if not self.mixup else 0.5 if self.cutmix else 0.0)
        alpha = np.where(cut, self.cutmix or 1.0, self.mixup or 1.0)
        shares = rng.beta(alpha, alpha)
        numbers = np.zeros((count, NUMBERS), "float32")
        numbers[:, 0] = np.where(cut, 0.0, shares)
        if self.cutmix:
            edges = []
            for side in shape[:2]:
                centre, half = rng.random(count) * side, np.sqrt(shares) * side / 2
                edges += [np.clip(np.rint(centre - half), 0, side), np.clip(np.rint(centre + half), 0, side)]
            numbers[:, 1:] = np.where(cut[:, None], np.stack(edges, axis=1), 0.0)
            areas = (edges[1] - edges[0]) * (edges[3] - edges[2]) / (shape[0] * shape[1])
            shares = np.where(cut, areas, shares)
        return partners, shares.astype("float32"), numbers

    def __call__(self, inputs: tf.Tensor, others: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Returns inputs (n, …) mixed with those of their partners, float32."""
        inputs, others = tf.cast(inputs, tf.float32), tf.cast(others, tf.float32)
        share = tf.reshape(numbers[:, 0], [-1] + [1] * (len(inputs.shape) - 1))
        if self.cutmix:
            top, bottom, left, right = (numbers[:, column, None] for column in range(1, NUMBERS))
            rows = tf.range(tf.cast(tf.shape(inputs)[1], tf.float32))
            columns = tf.range(tf.cast(tf.shape(inputs)[2], tf.float32))
            inside = ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None, :]
            share = tf.where(inside[..., None], 1.0, share)
        return inputs + (others - inputs) * share
