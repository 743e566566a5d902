"""The content of image files, and from it images of the model's size: many at a time in one graph, or one with the reason why it fails."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import tensorflow as tf

from tlkeras.data.examples import Example, Issue
from tlkeras.errors import DataError
from tlkeras.files import read_regular
from tlkeras.modalities.images import decode, headers
from tlkeras.modalities.images.fingerprint import CELLS, brightness, difference_hashes
from tlkeras.modalities.images.formats import LARGEST_FILE
from tlkeras.startup import KNOWN_NOISE

THREADS = max(2, min(8, os.cpu_count() or 2))  # reading and decoding overlap; TensorFlow releases Python's lock
CPU = "/cpu:0"
SMALL = 32  # pixels, below which an image has no perceptual hash
# What TensorFlow and libjpeg print of an image that they cannot decode; it is reported by its name anyway.
DECODE_NOISE = re.compile(
    r"Local rendezvous is aborting with status|^\s*\[\[\{\{(?:function_)?node|\b(?:png_io|jpeg_mem|jpeg_handle|gif_io)\.cc:|^Unsupported marker type|"
    + KNOWN_NOISE.pattern
)


@dataclass(frozen=True, kw_only=True)
class Content:
    """An encoded image.

    Args:
        data: bytes that `decode.decode_and_resize` accepts.
        sha256: of the file, which may be in another format.
        kind: format of the file.
        transparent: whether it declares a transparent colour that its decoder drops.
        alone: whether it is so large that it is decoded while no other is.
    """

    data: bytes
    sha256: str
    kind: str
    transparent: bool
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What reading one example gave."""

    sha256: str = ""
    dhash: int = 0
    bad: Issue | None = None
    notes: tuple[Issue, ...] = ()


class Decoder:
    """Decodes examples into rows of an array, in several threads at once, on the CPU: its operations are too small for a GPU."""

    def __init__(self, size: decode.Size, resize: str, channels: int = 3):
        self._size, self._resize, self._channels = size, resize, channels

    # === One example ===

    def read(self, example: Example, into: np.ndarray, content: bytes | None = None) -> Reading:
        """Decodes one example; a file that cannot be read gives an issue, never an exception.

        Args:
            example: a file or an array.
            into: uint8 (size, size, channels), filled with the image.
            content: of the file, where that is here already.
        """
        if example.array is not None:
            return self._read_array(example.array, into)
        loaded = load(example, content)
        return self.read_content(example, loaded, into) if isinstance(loaded, Content) else Reading(bad=loaded)

    def read_content(self, example: Example, content: Content, into: np.ndarray) -> Reading:
        """Decodes the content of one example."""
        try:
            with tf.device(CPU):
                image, cells = self._from_bytes(tf.constant(content.data))
        except tf.errors.OpError as error:
            reason = f"the {content.kind.upper()} image cannot be decoded: {_short(error)}"
            return Reading(bad=Issue(kind="truncated", path=example.id, reason=reason, action="skipped"))
        into[:] = image.numpy()
        dhash = int(difference_hashes(cells.numpy()))
        return Reading(sha256=content.sha256, dhash=dhash, notes=notes(example, content.kind, content.transparent))

    def _read_array(self, array: np.ndarray, into: np.ndarray) -> Reading:
        with tf.device(CPU):
            image, cells = self._from_array(tf.constant(decode.as_channels(array, self._channels)))
        into[:] = image.numpy()
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        # A hash of 8 x 8 cells says nothing about icons: 8 x 8 digits all look alike to it.
        return Reading(sha256=digest, dhash=int(difference_hashes(cells.numpy())) if min(array.shape[:2]) >= SMALL else 0)

    # Each is traced when it is needed first, and once.

    @cached_property
    def _from_bytes(self) -> tf.types.experimental.ConcreteFunction:
        return _on_cpu(lambda data: _with_brightness(self._decoded(data)), tf.TensorSpec((), tf.string))

    @cached_property
    def _from_array(self) -> tf.types.experimental.ConcreteFunction:
        picture = tf.TensorSpec((None, None, self._channels), tf.uint8)
        return _on_cpu(lambda image: _with_brightness(decode.resize_image(image, self._size, self._resize)), picture)

    def _decoded(self, data: tf.Tensor) -> tf.Tensor:
        return decode.decode_and_resize(data, self._size, self._resize, self._channels)

    # === Many ===

    def decode(self, contents: Sequence[Content]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decodes many images at a time, without Python between them.

        Returns:
            Int (m,): the indices of those that can be decoded; their images, uint8 (m, size, size, channels); uint64 (m,), hashes.
        """
        with tf.device(CPU):
            index, images, cells = self._from_many(tf.constant([content.data for content in contents], tf.string))
        return index.numpy()[:-1], images.numpy()[:-1], difference_hashes(cells.numpy()[:-1])

    @cached_property
    def _from_many(self) -> tf.types.experimental.ConcreteFunction:
        return _on_cpu(self._decoded_all, tf.TensorSpec((None,), tf.string))

    def _decoded_all(self, contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """A graph has no `try`; what it has is a data set that leaves out the elements whose work fails."""
        count = tf.size(contents, out_type=tf.int64)

        def decoded(index: tf.Tensor, data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return index, *_with_brightness(self._decoded(data))

        images = tf.data.Dataset.from_tensor_slices(contents).enumerate().map(decoded, num_parallel_calls=THREADS)
        options = tf.data.Options()
        options.threading.max_intra_op_parallelism = 1  # images are shared out among the cores, not the rows of one
        # A last element of zeros: nothing to read is no special case then.
        shape = (*decode.sides(self._size), self._channels)
        last = tf.data.Dataset.from_tensors((count, tf.zeros(shape, tf.uint8), tf.zeros(CELLS)))
        images = images.ignore_errors(log_warning=False).concatenate(last).batch(count + 1).with_options(options)
        values: tuple[tf.Tensor, tf.Tensor, tf.Tensor] = images.get_single_element()
        return values


@lru_cache(maxsize=16)
def decoder(size: decode.Size, resize: str, channels: int = 3) -> Decoder:
    """Returns the decoder of images of that size: to trace its graphs takes seconds, which a process spends once for all data that it reads."""
    return Decoder(size, resize, channels)


def _with_brightness(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return image, brightness(image)


def load(example: Example, content: bytes | None = None) -> Content | Issue:
    """Reads the file of an example and looks at its first bytes.

    Args:
        example: a file.
        content: of the file, where that is here already.
    """
    known = example.content if content is None else content
    encoded = _file(example) if known is None else known
    if isinstance(encoded, Issue):
        return encoded
    try:
        data = decode.decodable(encoded)
        pixels = headers.check(data, decode.sniff(data) or "")
    except DataError as error:
        return Issue(kind=_kind(encoded), path=example.id, reason=str(error), action="skipped")
    return Content(
        data=data,
        sha256=hashlib.sha256(encoded).hexdigest(),
        kind=decode.sniff(encoded) or "",
        transparent=decode.has_gif_transparency(encoded),
        alone=pixels > headers.ALONE,
    )


def _file(example: Example) -> bytes | Issue:
    try:
        return read_regular(example.path or Path(example.id), LARGEST_FILE)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero character
        reason = getattr(error, "strerror", None) or str(error)
        return Issue(kind="unreadable", path=example.id, reason=reason, action="skipped")


def _on_cpu(function: Callable[[tf.Tensor], tf.Tensor], signature: tf.TensorSpec) -> tf.types.experimental.ConcreteFunction:
    """Returns a function traced once, all of whose operations are placed on the CPU."""

    def placed(value: tf.Tensor) -> tf.Tensor:
        with tf.device(CPU):  # a device around the call would not hold inside the function
            return function(value)

    return tf.function(placed, autograph=False).get_concrete_function(signature)


def _kind(content: bytes) -> str:
    if not content:
        return "empty-file"
    kind = decode.sniff(content)
    return "not-an-image" if kind is None else "unsupported" if kind == "heic" else "truncated"


def _short(error: tf.errors.OpError) -> str:
    """Returns the first clause of TensorFlow's message, without the names of its graph nodes."""
    lines = [
        line.strip() for line in str(error.message).splitlines() if line.strip() and not line.startswith(("Detected at", "Graph execution"))
    ]
    text = next((line for line in lines if "[[" not in line), "the image is damaged")
    return re.sub(r"\{\{function_node [^}]*\}\} ?", "", text).split(" [Op")[0][:160]


ENDINGS = {
    "jpeg": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "png": {".png"},
    "gif": {".gif"},
    "webp": {".webp"},
    "bmp": {".bmp", ".dib"},
    "tiff": {".tif", ".tiff"},
    "avif": {".avif"},
    "jpeg2000": {".jp2", ".j2k", ".jpx"},
    "ppm": {".ppm", ".pgm", ".pnm"},
    "ico": {".ico"},
}


def notes(example: Example, kind: str, transparent: bool) -> tuple[Issue, ...]:
    """Returns the notes on an image of which a file has this format, and a transparent colour."""
    issues = []
    ending = example.path.suffix.lower() if example.path else None
    if ending is not None and ending not in ENDINGS.get(kind, {ending}):
        issues.append(Issue(kind="wrong-extension", path=example.id, reason=f"the content is {kind.upper()}", action="kept"))
    if transparent:  # unlike PNG and WebP, the decoder of GIF cannot be asked which pixels are transparent
        reason = "transparent parts of a GIF become black"
        issues.append(Issue(kind="transparency-dropped", path=example.id, reason=reason, action="kept"))
    return tuple(issues)
