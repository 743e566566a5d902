"""The Exif orientation of an encoded image, read and undone inside the graph, with core operations only."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_ORIENTATION = 0x0112  # Exif 2.32, table 4
_LONG = 4  # Exif 2.32, 4.6.2: type of a field of 4 bytes
_EXIF = list(b"Exif\x00\x00")  # no tensor: importing this must not start TensorFlow, which fixes its devices then
_PAD = 32  # zeros behind the data, so that reading a header at its end stays inside
_FIELDS = 512  # entries of a directory that are looked at
Step = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def padded(data: tf.Tensor) -> tf.Tensor:
    """Returns the bytes of a scalar string as uint8 (length + 32,)."""
    return tf.pad(tf.io.decode_raw(data, tf.uint8), [[0, _PAD]])


def in_jpeg(raw: tf.Tensor) -> tf.Tensor:
    """Returns where the TIFF block of the Exif segment begins, as int32, or -1.

    Args:
        raw: of `padded`.
    """

    def step(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = _bytes(raw, at, 10)
        marker = head[1]
        length = 2 + 256 * head[2] + head[3]
        length = tf.where(tf.equal(marker, 0xFF), 1, length)  # a fill byte
        # At the start of the scan (0xDA), or where no marker stands, there is nothing more to find.
        over = tf.logical_or(tf.not_equal(head[0], 0xFF), tf.equal(marker, 0xDA))
        exif = tf.logical_and(tf.equal(marker, 0xE1), tf.reduce_all(tf.equal(head[4:], _EXIF)))
        return tf.where(over, tf.size(raw), length), tf.where(exif, at + 10, -1)

    return _walk(raw, 2, step)


def in_png(raw: tf.Tensor) -> tf.Tensor:
    """As `in_jpeg`, for the chunk `eXIf` of a PNG."""
    return chunk_in_png(raw, b"eXIf")


def chunk_in_png(raw: tf.Tensor, name: bytes, until: bytes = b"IEND") -> tf.Tensor:
    """Returns where the content of a chunk of a PNG begins, as int32, or -1 where another comes first."""

    def step(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = _bytes(raw, at, 8)
        length = tf.where(_is(head[4:], until), tf.size(raw), 12 + _number(head[:4], True, raw))
        return length, tf.where(_is(head[4:], name), at + 8, -1)

    return _walk(raw, 8, step)


def in_webp(raw: tf.Tensor) -> tf.Tensor:
    """As `in_jpeg`, for the chunk `EXIF` of a WebP; some writers keep JPEG's prefix in it."""

    def step(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = _bytes(raw, at, 14)
        length = _number(head[4:8], False, raw)
        prefix = tf.where(tf.reduce_all(tf.equal(head[8:], _EXIF)), 6, 0)
        return 8 + length + length % 2, tf.where(_is(head[:4], b"EXIF"), at + 8 + prefix, -1)

    return _walk(raw, 12, step)


def orientation(raw: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Returns the orientation, int32 1 to 8, from the first directory of the TIFF block at `start`; 1 without one."""
    return tf.cond(start >= 0, lambda: _tag(raw, start), lambda: tf.constant(1))


def upright(image: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
    """Undoes an orientation; the eight cases are those of Exif 2.32, 4.6.4.

    Args:
        image: (height, width, 3).
        turned: int32 scalar, 1 to 8.
    """
    return tf.cond(turned > 1, lambda: _turned_back(image, turned), lambda: image)


def _turned_back(image: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
    image = tf.cond(turned > 4, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    sideways = tf.reduce_any(tf.equal(turned, [2, 3, 6, 7]))
    upside_down = tf.reduce_any(tf.equal(turned, [3, 4, 7, 8]))
    image = tf.cond(sideways, lambda: tf.reverse(image, [1]), lambda: image)
    return tf.cond(upside_down, lambda: tf.reverse(image, [0]), lambda: image)


def _walk(raw: tf.Tensor, start: int, step: Step) -> tf.Tensor:
    """Goes from chunk to chunk of a container; a chunk that claims to be longer than the file ends the walk."""

    def body(at: tf.Tensor, offset: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        length, exif = step(at)
        return at + tf.clip_by_value(length, 1, tf.size(raw)), exif

    def going(at: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
        return tf.logical_and(offset < 0, at < tf.size(raw) - _PAD)

    return tf.while_loop(going, body, (tf.constant(start), tf.constant(-1)))[1]


def _bytes(raw: tf.Tensor, at: tf.Tensor, count: int) -> tf.Tensor:
    """Returns int32 (count,), beginning at `at`, or at the end of the data where that comes first."""
    return tf.cast(tf.slice(raw, [tf.clip_by_value(at, 0, tf.size(raw) - count)], [count]), tf.int32)


def _number(parts: tf.Tensor, big: bool | tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
    """Joins int32 (..., 2 or 4) to an unsigned number, at most the size of the data, so that nothing overflows."""
    width = parts.shape[-1]
    up = tf.constant([256 ** (width - 1 - i) for i in range(width)], tf.int64)
    wide = tf.cast(parts, tf.int64)
    value = tf.reduce_sum(wide * tf.where(big, up, tf.reverse(up, [0])), axis=-1)
    return tf.cast(tf.minimum(value, tf.cast(tf.size(raw) + 65536, tf.int64)), tf.int32)


def _is(parts: tf.Tensor, text: bytes) -> tf.Tensor:
    return tf.reduce_all(tf.equal(parts, tf.constant(list(text), tf.int32)))


def _tag(raw: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    big = tf.equal(_bytes(raw, start, 1)[0], ord("M"))
    directory = start + _number(_bytes(raw, start + 4, 4), big, raw)
    there = tf.maximum(0, (tf.size(raw) - directory - 2) // 12)
    count = tf.minimum(tf.minimum(_number(_bytes(raw, directory, 2), big, raw), there), _FIELDS)
    begin = tf.minimum(directory + 2, tf.size(raw))
    fields = tf.reshape(tf.cast(tf.slice(raw, [begin], [12 * count]), tf.int32), (-1, 12))
    # A LONG stands in four bytes, of which the lower two are the last ones in the order "M".
    long = tf.logical_and(big, tf.equal(_number(fields[:, 2:4], big, raw), _LONG))
    values = tf.where(long, _number(fields[:, 10:12], big, raw), _number(fields[:, 8:10], big, raw))
    mine = tf.boolean_mask(values, tf.equal(_number(fields[:, 0:2], big, raw), _ORIENTATION))
    value = tf.reduce_max(tf.concat([mine, [1]], axis=0))
    return tf.where(value <= 8, value, 1)
