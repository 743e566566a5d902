"""One random operation of a fixed list for each image, and random erasing; kernels that are deterministic on a GPU only."""

from __future__ import annotations

import math

import tensorflow as tf

# Müller & Hutter 2021, TrivialAugment, https://arxiv.org/abs/2103.10158, table 5 (wide). Its 14th, equalize, is left out: a histogram of
# each image costs more than all others together.
OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "colour",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
)
SHEAR = 0.99
TRANSLATE = 32 / 224  # of the side; the paper's 32 pixels are of images of about that side
ROTATE = 135 * math.pi / 180
BLEND = 0.99  # largest change of the factor of brightness, colour, contrast and sharpness around 1
BITS = 6  # of 8, that posterize drops at most
# Zhong et al. 2020, Random Erasing Data Augmentation, https://arxiv.org/abs/1708.04896, section 4
ERASED = (0.02, 0.4)  # smallest and largest area, of the image
ASPECT = 3.3  # largest ratio of the sides


def operate(images: tf.Tensor, choice: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Applies one operation to each image.

    Args:
        images: float32 (n, side, side, channels), 0 to 255.
        choice: float32 (n,), in [-1, 1): which operation.
        strength: float32 (n,), in [-1, 1): how strong, and in which direction.

    Returns:
        float32 (n, side, side, channels), 0 to 255.
    """
    index = tf.minimum(tf.cast((choice + 1) / 2 * len(OPERATIONS), tf.int32), len(OPERATIONS) - 1)  # rounding to float32 may reach 1

    def chosen(name: str) -> tf.Tensor:
        return tf.equal(index, OPERATIONS.index(name))

    def amount(name: str, largest: float) -> tf.Tensor:
        return tf.where(chosen(name), strength * largest, 0.0)

    side = tf.cast(tf.shape(images)[1], tf.float32)
    # In float64: the last digit of a cosine depends on its place in the batch.
    angle = tf.cast(amount("rotate", ROTATE), tf.float64)
    cos, sin = tf.cast(tf.cos(angle), tf.float32), tf.cast(tf.sin(angle), tf.float32)
    images = transformed(
        images,
        cos,
        amount("shear_x", SHEAR) - sin,
        amount("shear_y", SHEAR) + sin,
        cos,
        amount("translate_x", TRANSLATE) * side,
        amount("translate_y", TRANSLATE) * side,
    )
    images = _blended(images, {name: amount(name, BLEND) for name in ("brightness", "colour", "contrast", "sharpness")})
    bits = tf.round(tf.abs(amount("posterize", BITS)))[:, None, None, None]
    step = tf.pow(2.0, bits)
    images = tf.where(bits > 0, tf.floor(images / step) * step, images)
    threshold = 255 * (1 - tf.abs(strength))[:, None, None, None]
    images = tf.where(chosen("solarize")[:, None, None, None] & (images >= threshold), 255 - images, images)
    low, high = tf.reduce_min(images, axis=(1, 2), keepdims=True), tf.reduce_max(images, axis=(1, 2), keepdims=True)
    stretched = chosen("autocontrast")[:, None, None, None] & (high > low)
    return tf.where(stretched, (images - low) * (255 / tf.maximum(high - low, 1.0)), images)


def _blended(images: tf.Tensor, amounts: dict[str, tf.Tensor]) -> tf.Tensor:
    """Moves each image away from black, its grey image, its mean, or its blurred self, or towards it; one amount of an image is not 0."""
    grey = tf.reduce_mean(images, axis=-1, keepdims=True)
    smooth = (9 * tf.nn.avg_pool2d(images, 3, 1, "SAME") + 4 * images) / 13  # Pillow's kernel: 1 around, 5 in the middle
    ends = {
        "brightness": tf.zeros_like(images),
        "colour": grey,
        "contrast": tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True),
        "sharpness": smooth,
    }
    change = tf.add_n([(images - ends[name]) * factor[:, None, None, None] for name, factor in amounts.items()])
    return tf.clip_by_value(images + change, 0.0, 255.0)


def transformed(
    images: tf.Tensor, a0: tf.Tensor, a1: tf.Tensor, b0: tf.Tensor, b1: tf.Tensor, right: tf.Tensor, down: tf.Tensor
) -> tf.Tensor:
    """Returns images under an affine transform around their centre, reflected at the borders.

    Args:
        images: float32 (n, side, side, channels).
        a0, a1, b0, b1: float32 (n,), the matrix from places in the result to places in the image.
        right, down: float32 (n,), added to these places, in pixels.
    """
    centre = (tf.cast(tf.shape(images)[1], tf.float32) - 1) / 2
    zero = tf.zeros_like(a0)
    offsets = (centre * (1 - a0 - a1) + right, centre * (1 - b0 - b1) + down)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a0, a1, offsets[0], b0, b1, offsets[1], zero, zero], axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


def erased(images: tf.Tensor, numbers: tf.Tensor, probability: float) -> tf.Tensor:
    """Replaces a rectangle of some images by their mean colour.

    Args:
        images: float32 (n, side, side, channels).
        numbers: float32 (n, 5), in [-1, 1): whether, area, aspect, and the two coordinates of the centre.
        probability: that an image loses a rectangle.
    """
    whether, area, aspect, x, y = tf.unstack((numbers + 1) / 2, axis=1)
    share = tf.where(whether < probability, ERASED[0] + area * (ERASED[1] - ERASED[0]), 0.0)
    ratio = tf.exp((2 * aspect - 1) * math.log(ASPECT))
    side = tf.shape(images)[1]
    places = (tf.range(tf.cast(side, tf.float32)) + 0.5) / tf.cast(side, tf.float32)
    rows = tf.abs(places - y[:, None]) * 2 < tf.sqrt(share * ratio)[:, None]  # (n, side)
    columns = tf.abs(places - x[:, None]) * 2 < tf.sqrt(share / ratio)[:, None]
    inside = (rows[:, :, None] & columns[:, None, :])[..., None]
    return tf.where(inside, tf.reduce_mean(images, axis=(1, 2), keepdims=True), images)
