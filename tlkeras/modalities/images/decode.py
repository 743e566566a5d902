"""The one way from an encoded image to an upright one of the model's size, RGB or grey: in training, in `predict` and inside the SavedModel.

Everything in `decode_and_resize` is core TensorFlow, so that the exported graph runs in TF Serving unchanged.
Formats that TensorFlow cannot read (TIFF, AVIF, …) are turned into PNG of the same pixels by `read_image_bytes`.
Transparent images are composited on white, whatever colour is hidden below (GIF excepted: TensorFlow makes those parts
black); 16 bits are scaled to 8, not clipped; JPEG is decoded with the accurate DCT, so that
its pixels are those of Pillow (TensorFlow's default differs by up to 6 of 255).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

from tlkeras.modalities.images import orientation as exif
from tlkeras.modalities.images import resampling
from tlkeras.modalities.images.formats import NATIVE, decodable, has_gif_transparency, read_image_bytes, sniff
from tlkeras.modalities.images.resampling import Size, resize_image, rounded, sides, size_from_text, size_text

__all__ = [
    "NATIVE",
    "Size",
    "as_channels",
    "decodable",
    "decode_and_resize",
    "encode_png",
    "fits",
    "has_gif_transparency",
    "orientation",
    "read_image_bytes",
    "resize_image",
    "sides",
    "size_from_text",
    "size_text",
    "sniff",
]

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in JPEG and in Pillow's `convert("L")`


# === Decode ===


def decode_and_resize(data: tf.Tensor, size: Size, resize: str = "stretch", channels: int = 3) -> tf.Tensor:
    """Decodes one image.

    A JPEG that is at least four times as large as the result is decoded at a half, a quarter or an eighth of its size, as long as
    that is still twice as large as the result: its decoder does this in less time, and the resize that follows hides the difference.

    Args:
        data: scalar string: JPEG, PNG, GIF (first frame), WebP (not animated), BMP (no palette, or one of 8 bits).
        size: side of the result in pixels, or (height, width).
        resize: `stretch`, `crop` (centre) or `pad` (black).
        channels: 3, or 1 for grey: the luminance of RGB, whatever the format stores.

    Returns:
        uint8 (size, size, channels), or (height, width, channels), upright.
    """
    data = tf.convert_to_tensor(data)
    raw = exif.padded(data)
    turned = _orientation(data, raw)

    def reduction(whole: tf.Tensor) -> tf.Tensor:
        index = resampling.reduction(whole, sides(size), resize)
        return index if isinstance(size, int) else tf.where(turned > 1, 0, index)

    image, whole, ratio = _decode(data, raw, reduction)
    if isinstance(size, int):
        # Turned when small: the result is square, so that turning and resizing can be swapped.
        resized = exif.upright(resampling.resample(image, (size, size), resize, whole, ratio), turned)
    else:
        image = exif.upright(image, turned)
        resized = resampling.resample(image, size, resize, tf.where(turned > 1, tf.shape(image)[:2], whole), ratio)
    return rounded(tf.ensure_shape(_luminance(resized) if channels == 1 else resized, (*sides(size), 1 if channels == 1 else 3)))


def orientation(data: tf.Tensor) -> tf.Tensor:
    """Returns the Exif orientation, int32 1 to 8, of an encoded JPEG, PNG or WebP (scalar string); 1 where there is none."""
    return _orientation(data, exif.padded(data))


def _orientation(data: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
    nothing = tf.constant(-1)
    # To look for a word in all of a file takes less time than to walk along its segments, and most files have none of these.
    jpeg = lambda: tf.cond(_contains(data, b"Exif\x00\x00"), lambda: exif.in_jpeg(raw), lambda: nothing)  # noqa: E731
    png = lambda: tf.cond(_contains(data, b"eXIf"), lambda: exif.in_png(raw), lambda: nothing)  # noqa: E731
    start = tf.switch_case(_kind(raw), [lambda: nothing, jpeg, png, lambda: exif.in_webp(raw), lambda: nothing])
    return exif.orientation(raw, start)


def _contains(data: tf.Tensor, text: bytes) -> tf.Tensor:
    """Whether bytes (scalar string) contain others."""
    return tf.raw_ops.StringSplitV2(input=data[tf.newaxis], sep=tf.constant(text), maxsplit=1).shape[1] > 1


def _decode(
    data: tf.Tensor, raw: tf.Tensor, reduction: Callable[[tf.Tensor], tf.Tensor] = lambda whole: tf.constant(0)
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes an image as it is stored.

    Args:
        data: scalar string.
        raw: of `exif.padded`.
        reduction: height and width of a JPEG, int32 (2,) -> index in `REDUCTIONS`.

    Returns:
        uint8 (height, width, 3); the height and width of the image, int32 (2,), which is larger by a factor where it was decoded
        smaller; that factor, int32.
    """

    def other() -> tf.Tensor:
        return tf.io.decode_image(data, channels=3, expand_animations=False)

    def jpeg() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        whole = tf.image.extract_jpeg_shape(data)[:2]
        index = reduction(whole)
        return (
            tf.switch_case(index, [partial(_decode_jpeg, data, ratio) for ratio in resampling.REDUCTIONS]),
            whole,
            tf.gather(resampling.REDUCTIONS, index),
        )

    def png() -> tf.Tensor:
        # Asked for 4 channels without need, TensorFlow 2.21 gives images of 1, 2 and 4 bits a wrong alpha.
        return tf.cond(_png_has_alpha(data, raw), lambda: _on_white(tf.io.decode_png(data, channels=4)), other)

    def webp() -> tf.Tensor:
        # A still with alpha refuses to be asked for 3 channels; an animation must be asked for 3 and so be refused,
        # because decoding it corrupts the heap of TensorFlow 2.21 (`read_image_bytes` takes its first frame itself).
        animated = tf.logical_and(_begins(raw, b"VP8X", 12), tf.not_equal(tf.bitwise.bitwise_and(raw[20], 2), 0))
        return tf.cond(animated, other, lambda: _on_white(tf.io.decode_image(data, expand_animations=False)))

    def in_full(decode: Callable[[], tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image = decode()
        return image, tf.shape(image)[:2], tf.constant(1)

    full = [partial(in_full, decode) for decode in (other, png, webp, lambda: _palette_bmp(data, raw))]
    image, whole, ratio = tf.switch_case(_kind(raw), [full[0], jpeg, *full[1:]])
    return tf.ensure_shape(image, (None, None, 3)), whole, ratio


def _decode_jpeg(data: tf.Tensor, ratio: int) -> tf.Tensor:
    return tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def _kind(raw: tf.Tensor) -> tf.Tensor:
    """Returns int32: 1 JPEG, 2 PNG, 3 WebP, 4 BMP with a palette of 8 bits, 0 anything else."""
    webp = tf.logical_and(_begins(raw, b"RIFF", 0), _begins(raw, b"WEBP", 8))
    bmp = tf.logical_and(_begins(raw, b"BM", 0), _begins(raw, b"\x08\x00", 28))
    kinds = [_begins(raw, b"\xff\xd8\xff", 0), _begins(raw, b"\x89PNG", 0), webp, bmp]
    return tf.reduce_sum(tf.cast(tf.stack(kinds), tf.int32) * tf.constant([1, 2, 3, 4]))


def _begins(raw: tf.Tensor, text: bytes, at: int) -> tf.Tensor:
    """Whether `text` stands at a place among the first 32 bytes, which `padded` makes sure of."""
    return tf.reduce_all(tf.equal(raw[at : at + len(text)], tf.constant(list(text), tf.uint8)))


def _png_has_alpha(data: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
    """Whether a PNG has an alpha channel (bit 2 of the colour type, byte 25), or a chunk that makes colours transparent."""
    channel = tf.not_equal(tf.bitwise.bitwise_and(raw[25], 4), 0)
    chunk = lambda: exif.chunk_in_png(raw, b"tRNS", until=b"IDAT") >= 0  # noqa: E731
    return tf.logical_or(channel, tf.cond(_contains(data, b"tRNS"), chunk, lambda: tf.constant(False)))


def _on_white(image: tf.Tensor) -> tf.Tensor:
    """Composites uint8 (height, width, 3 or 4) on white, in whole numbers so that every runtime gives the same pixels."""

    eight = tf.constant(8, tf.uint16)

    def composited() -> tf.Tensor:
        whole = tf.cast(image, tf.uint16)
        colour, alpha = whole[..., :3], whole[..., 3:]
        mixed = colour * alpha + 255 * (255 - alpha) + 128  # at most 255 * 255 + 128
        return tf.cast(tf.bitwise.right_shift(mixed + tf.bitwise.right_shift(mixed, eight), eight), tf.uint8)  # divided by 255, rounded

    return tf.cond(tf.equal(tf.shape(image)[-1], 4), composited, lambda: image[..., :3])


def _palette_bmp(data: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
    """Looks the colours up, which TensorFlow does not: it takes the indices for grey."""
    index = tf.io.decode_image(data, channels=3, expand_animations=False)[..., 0]  # (height, width), repeated in 3 channels
    begin = 14 + tf.cast(raw[14], tf.int32) + 256 * tf.cast(raw[15], tf.int32)  # behind the header, which says its length
    table = tf.slice(raw, [tf.minimum(begin, tf.size(raw))], [tf.minimum(1024, tf.size(raw) - tf.minimum(begin, tf.size(raw)))])
    table = tf.reshape(tf.pad(table, [[0, 1024 - tf.size(table)]]), (256, 4))  # blue, green, red, nothing
    return tf.gather(tf.reverse(table[:, :3], [1]), tf.cast(index, tf.int32))


def _luminance(image: tf.Tensor) -> tf.Tensor:
    """Returns float32 (size, size, 1) of float32 RGB; equal channels stay what they are."""
    return tf.reduce_sum(image * tf.constant(LUMINANCE), axis=-1, keepdims=True)


# === Arrays ===


def encode_png(array: np.ndarray) -> bytes:
    """Returns an image (height, width) or (height, width, channels), uint8 or uint16, as PNG."""
    array = array if array.ndim == 3 else array[..., None]
    return bytes(tf.io.encode_png(array).numpy())


def on_white(array: np.ndarray) -> np.ndarray:
    """Returns uint8 (height, width, 3) of RGB or RGBA, with the pixels that `decode_and_resize` gives its PNG."""
    if array.shape[-1] != 4:
        return array
    colour, alpha = array[..., :3].astype("int32"), array[..., 3:].astype("int32")
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype("uint8")


def fits(array: np.ndarray, channels: int) -> bool:
    """Whether an array can be an image of so many channels: 1 and 3 stand for each other and for RGBA; others are as they are."""
    return (array.shape[-1] if array.ndim == 3 else 1) in ((1, 3, 4) if channels in (1, 3) else (channels,))


def as_channels(array: np.ndarray, channels: int) -> np.ndarray:
    """Returns uint8 (height, width, channels) of an image.

    Args:
        array: uint8 (height, width) or (height, width, channels); see `fits`.
        channels: 3: grey is repeated, RGBA composited on white; 1: the luminance; others: as many as the array has.
    """
    array = array if array.ndim == 3 else array[..., None]
    if channels == 3:
        return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else on_white(array)
    if channels == 1 and array.shape[-1] > 1:
        return np.rint(on_white(array) @ np.array(LUMINANCE))[..., None].astype("uint8")
    return array
