"""The one way from an encoded picture to an upright RGB square: in training, in `predict` and inside the SavedModel.

Everything in `decode_and_resize` is core TensorFlow, so that the exported graph runs in TF Serving as it stands.
Formats that TensorFlow cannot read (TIFF, palette BMP, …) are turned into PNG, without loss, by `read_image_bytes`.
Transparency is dropped, as Pillow's `convert("RGB")` does; 16-bit grey is scaled to 8 bits, not clipped.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from tlkeras.errors import DataError

CROP = 224 / 256  # side of the centre crop relative to the short side; the evaluation of ImageNet networks since AlexNet
_JPEG, _PNG, _WEBP = 1, 2, 3
_ORIENTATION = 0x0112  # Exif 2.32, tag "Orientation"


# === Decode ===


def decode_and_resize(data: tf.Tensor, size: int, resize: str = "stretch") -> tf.Tensor:
    """Decodes one picture.

    Args:
        data: scalar string: JPEG, PNG, WebP, BMP or GIF (first frame).
        size: side of the result in pixels.
        resize: `stretch`, `crop` (centre) or `pad` (black).

    Returns:
        uint8 (size, size, 3), RGB, upright.
    """
    image = tf.ensure_shape(tf.io.decode_image(data, channels=3, expand_animations=False), (None, None, 3))
    # Turned when small: the result is square, so that turning and resizing can be swapped.
    return _rounded(_upright(_square(image, size, resize), orientation(data)), size)


def resize_image(image: tf.Tensor, size: int, resize: str = "stretch") -> tf.Tensor:
    """Resizes uint8 (height, width, 3) to uint8 (size, size, 3): bilinear, with antialiasing."""
    return _rounded(_square(image, size, resize), size)


def _rounded(image: tf.Tensor, size: int) -> tf.Tensor:
    return tf.ensure_shape(tf.saturate_cast(tf.round(image), tf.uint8), (size, size, 3))


def _square(image: tf.Tensor, size: int, resize: str) -> tf.Tensor:
    """Returns float32 (size, size, 3)."""
    shape = tf.shape(image)
    if resize == "crop":
        side = tf.maximum(1, tf.cast(tf.round(CROP * tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)), tf.int32))
        image = tf.slice(image, tf.stack([(shape[0] - side) // 2, (shape[1] - side) // 2, 0]), tf.stack([side, side, 3]))
    if resize == "pad":
        return tf.image.resize_with_pad(image, size, size, antialias=True)
    return tf.image.resize(image, (size, size), antialias=True)


# === Orientation ===


def orientation(data: tf.Tensor) -> tf.Tensor:
    """Returns the Exif orientation of an encoded JPEG, PNG or WebP, 1 to 8; 1 where there is none.

    Args:
        data: scalar string.
    """
    raw = tf.io.decode_raw(data, tf.uint8)
    head = tf.strings.join([tf.strings.substr(data, 0, 12), b"." * 12])  # substr refuses to start beyond the end
    kind = tf.case(
        [
            (tf.equal(tf.strings.substr(head, 0, 2), b"\xff\xd8"), lambda: tf.constant(_JPEG)),
            (tf.equal(tf.strings.substr(head, 1, 3), b"PNG"), lambda: tf.constant(_PNG)),
            (tf.equal(tf.strings.substr(head, 8, 4), b"WEBP"), lambda: tf.constant(_WEBP)),
        ],
        default=lambda: tf.constant(0),
    )
    nothing = tf.constant(-1)
    found = tf.switch_case(
        kind,
        [
            lambda: nothing,
            lambda: _walk(raw, data, 2, _jpeg_segment),
            lambda: _walk(raw, data, 8, _png_chunk),
            lambda: _walk(raw, data, 12, _webp_chunk),
        ],
    )
    return tf.cond(found >= 0, lambda: _tag(raw, found), lambda: tf.constant(1))


def _u8(raw: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """One byte as int32; 0 beyond the end."""
    inside = tf.logical_and(at >= 0, at < tf.size(raw))
    return tf.where(inside, tf.cast(raw[tf.clip_by_value(at, 0, tf.size(raw) - 1)], tf.int32), 0)


def _number(raw: tf.Tensor, at: tf.Tensor, size: int, big: bool | tf.Tensor) -> tf.Tensor:
    """An unsigned number of `size` bytes as int32; absurdly large ones become the largest int32."""
    parts = [_u8(raw, at + i) for i in range(size)]
    up = sum(tf.cast(part, tf.int64) * 256**i for i, part in enumerate(reversed(parts)))
    down = sum(tf.cast(part, tf.int64) * 256**i for i, part in enumerate(parts))
    return tf.cast(tf.minimum(tf.where(big, up, down), 2**31 - 2), tf.int32)


def _walk(raw: tf.Tensor, data: tf.Tensor, start: int, step: object) -> tf.Tensor:
    """Goes from chunk to chunk of a container; returns where the Exif block begins, or -1."""

    def body(at: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        length, exif = step(raw, data, at)  # type: ignore[operator]
        return at + tf.maximum(length, 1), exif

    def going(at: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        # The distance to the end is compared, because a forged length could make `at` overflow.
        return tf.logical_and(found < 0, tf.logical_and(at >= 0, at < tf.size(raw) - 8))

    return tf.while_loop(going, body, (tf.constant(start), tf.constant(-1)))[1]


def _jpeg_segment(raw: tf.Tensor, data: tf.Tensor, at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    marker = _u8(raw, at + 1)
    is_exif = tf.logical_and(tf.equal(marker, 0xE1), _reads(data, at + 4, b"Exif"))
    # At the start of the scan (0xDA), or where no marker stands, there is nothing more to find.
    over = tf.logical_or(tf.not_equal(_u8(raw, at), 0xFF), tf.equal(marker, 0xDA))
    length = tf.where(over, tf.size(raw), 2 + _number(raw, at + 2, 2, True))
    return length, tf.where(is_exif, at + 10, -1)


def _png_chunk(raw: tf.Tensor, data: tf.Tensor, at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    length = tf.minimum(_number(raw, at, 4, True), tf.size(raw)) + 12
    return length, tf.where(_reads(data, at + 4, b"eXIf"), at + 8, -1)


def _webp_chunk(raw: tf.Tensor, data: tf.Tensor, at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    length = tf.minimum(_number(raw, at + 4, 4, False), tf.size(raw))
    prefix = tf.where(_reads(data, at + 8, b"Exif"), 6, 0)  # some writers keep JPEG's prefix
    return 8 + length + length % 2, tf.where(_reads(data, at, b"EXIF"), at + 8 + prefix, -1)


def _reads(data: tf.Tensor, at: tf.Tensor, text: bytes) -> tf.Tensor:
    inside = at + len(text) <= tf.strings.length(data)
    place = tf.where(inside, at, 0)
    return tf.logical_and(inside, tf.equal(tf.strings.substr(data, place, tf.where(inside, len(text), 0)), text))


def _tag(raw: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Reads the orientation from the first directory of a TIFF block."""
    big = tf.equal(_u8(raw, start), ord("M"))
    directory = start + tf.minimum(_number(raw, start + 4, 4, big), tf.size(raw))
    count = tf.minimum(_number(raw, directory, 2, big), 512)

    def body(index: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        entry = directory + 2 + 12 * index
        here = tf.equal(_number(raw, entry, 2, big), _ORIENTATION)
        return index + 1, tf.where(here, _number(raw, entry + 8, 2, big), value)

    value = tf.while_loop(lambda index, value: index < count, body, (tf.constant(0), tf.constant(1)))[1]
    return tf.where(tf.logical_and(value >= 1, value <= 8), value, 1)


def _upright(image: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
    """Undoes an Exif orientation; the eight cases are those of Exif 2.32."""
    return tf.switch_case(
        turned - 1,
        [
            lambda: image,
            lambda: tf.reverse(image, [1]),
            lambda: tf.reverse(image, [0, 1]),
            lambda: tf.reverse(image, [0]),
            lambda: tf.transpose(image, (1, 0, 2)),
            lambda: tf.reverse(tf.transpose(image, (1, 0, 2)), [1]),
            lambda: tf.reverse(tf.transpose(image, (1, 0, 2)), [0, 1]),
            lambda: tf.reverse(tf.transpose(image, (1, 0, 2)), [0]),
        ],
    )


# === Files and arrays ===


def read_image_bytes(path: str | Path) -> bytes:
    """Returns a picture file as bytes that `decode_and_resize` takes.

    JPEG, PNG, GIF and still WebP come as they are; other formats that Pillow reads come as upright PNG.

    Raises:
        DataError: when the file is empty, is no picture, or is cut short.
    """
    data = Path(path).read_bytes()
    kind = sniff(data)
    if kind is None:
        raise DataError(_not_a_picture(data))
    return data if kind in NATIVE and not _is_animated_webp(data) else _as_png(data)


NATIVE = ("jpeg", "png", "gif", "webp")


def _is_animated_webp(data: bytes) -> bool:
    """TensorFlow decodes animated WebP to four channels only (flag bit 1 of the VP8X header, WebP container spec)."""
    return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & 0x02)


def sniff(data: bytes) -> str | None:
    """Returns the format that the first bytes tell, or None."""
    heads = {
        b"\xff\xd8\xff": "jpeg",
        b"\x89PNG\r\n\x1a\n": "png",
        b"GIF8": "gif",
        b"BM": "bmp",
        b"II*\x00": "tiff",
        b"MM\x00*": "tiff",
        b"P5": "ppm",
        b"P6": "ppm",
    }
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((kind for head, kind in heads.items() if data.startswith(head)), None)


def _not_a_picture(data: bytes) -> str:
    if not data:
        return "the file is empty (0 bytes)"
    if data[4:8] == b"ftyp":
        return "HEIC/AVIF pictures are not supported; convert it to JPEG"
    return "the content is no picture (JPEG, PNG, WebP, BMP, TIFF or GIF)"


def _as_png(data: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises for broken files
        raise DataError(f"cannot be read: {error}") from error
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N"):  # 16-bit grey: PNG keeps it
        return encode_png(np.asarray(image).astype("uint16")[..., None])
    return encode_png(np.asarray(image.convert("RGB")))


def encode_png(array: np.ndarray) -> bytes:
    """Returns a picture (height, width) or (height, width, channels), uint8 or uint16, as PNG."""
    array = array if array.ndim == 3 else array[..., None]
    return bytes(tf.io.encode_png(array).numpy())


def as_rgb(array: np.ndarray) -> np.ndarray:
    """Returns uint8 (height, width, 3) of a grey, RGB or RGBA picture."""
    array = array if array.ndim == 3 else array[..., None]
    return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]
