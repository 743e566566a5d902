"""Every image decoded once, into an array, or a memory-mapped file when large; bad files are skipped and reported."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import stat
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tlkeras.data.examples import Dataset, Example, Issue, losses, tallied
from tlkeras.data.store import Progress, Store
from tlkeras.errors import DataError, OutputError
from tlkeras.modalities.images import decode
from tlkeras.startup import KNOWN_NOISE, filtered_stderr

MEMORY_LIMIT = 2 * 1024**3  # bytes of decoded images kept in memory
THREADS = max(2, min(8, os.cpu_count() or 2))  # reading and decoding overlap; TensorFlow releases Python's lock
CPU = "/cpu:0"
LARGEST_FILE = 1024**3  # bytes of one image file
EVEN = 0.01  # of 765, between two cells that are equally bright
SMALL = 32  # pixels, below which an image has no perceptual hash
# What TensorFlow prints of an image that it cannot decode; the exception says the same, and becomes an issue.
# What TensorFlow logs of a damaged file, which is reported by its name anyway.
DECODE_NOISE = re.compile(
    r"Local rendezvous is aborting with status|^\s*\[\[\{\{(?:function_)?node|\b(?:png_io|jpeg_mem|jpeg_handle|gif_io)\.cc:|"
    + KNOWN_NOISE.pattern
)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What reading one example gave."""

    sha256: str = ""
    dhash: int = 0
    bad: Issue | None = None
    notes: tuple[Issue, ...] = ()


def materialise(
    dataset: Dataset,
    *,
    size: decode.Size,
    resize: str = "stretch",
    channels: int = 3,
    cache_dir: Path | None = None,
    memory_limit: int = MEMORY_LIMIT,
    strict: bool = False,
    progress: Progress | None = None,
) -> Store:
    """Reads and decodes every example once.

    Args:
        dataset: what a source gave.
        size: side of the images in pixels, or (height, width).
        resize: `stretch`, `crop` or `pad`.
        channels: of the result.
        cache_dir: where the memory map goes when the images exceed `memory_limit` bytes.
        strict: whether a file that cannot be read is an error.
        progress: called with (done, all).

    Raises:
        DataError: with `strict`, for bad files; or when a class has no image left.
        OutputError: when `cache_dir` has no room for the memory map.
    """
    count = len(dataset.examples)
    images = _allocate((count, *decode.sides(size), channels), cache_dir, memory_limit)
    decoder = Decoder(size, resize, channels)
    results = []
    with filtered_stderr(DECODE_NOISE), ThreadPoolExecutor(THREADS) as pool:
        for index, reading in enumerate(pool.map(lambda i: decoder.read(dataset.examples[i], images[i]), range(count))):
            results.append(reading)
            if progress and (index % 16 == 15 or index == count - 1):
                progress(index + 1, count)
    listed = [note for note in dataset.notes if note.action == "skipped"]  # rows of a table that could not be used
    skipped = (*listed, *(reading.bad for reading in results if reading.bad))
    count += len(listed)
    if strict and skipped:
        shown = "; ".join(f"{issue.path!r}: {issue.reason}" for issue in skipped[:3]) + (
            f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        )
        raise DataError(f"{len(skipped)} of {count} files cannot be used: {shown}; fix or remove them, or leave out --strict to skip them")
    return _store(dataset, images, results, skipped)


def _store(dataset: Dataset, images: np.ndarray, results: Sequence[Reading], skipped: tuple[Issue, ...]) -> Store:
    usable = [index for index, reading in enumerate(results) if not reading.bad]
    for row, index in enumerate(usable):  # closes the gaps that bad files left
        if row != index:
            images[row] = images[index]
    images = images[: len(usable)]
    examples = tuple(dataset.examples[index] for index in usable)
    totals: Counter[Any] = Counter(example.label for example in dataset.examples)
    lost = totals - Counter(example.label for example in examples)
    notes = [note for note in dataset.notes if note.action != "skipped"]
    store = Store(
        inputs=images,
        examples=examples,
        sha256=tuple(results[index].sha256 for index in usable),
        dhash=np.array([results[index].dhash for index in usable], "uint64"),
        target=dataset.target,
        skipped=skipped,
        notes=(
            *notes,
            *(note for reading in results for note in reading.notes),
            *losses(dataset.name, "files", totals, lost, dataset.target),
        ),
        noun="image",
    )
    _check_classes(dataset, store)
    return store


def _check_classes(dataset: Dataset, store: Store) -> None:
    before, after = (set(tallied(Counter(example.label for example in of.examples), dataset.target)) for of in (dataset, store))
    lost = sorted(before - after)
    if lost or not store.examples:
        what = f"image of {dataset.target.entry} {lost[0]!r}" if lost else "image"
        raise DataError(
            f"no {what} can be read ({len(store.skipped)} files skipped, the first {store.skipped[0].path!r}: "
            f"{store.skipped[0].reason}); fix them or remove the class"
        )


def _allocate(shape: tuple[int, ...], cache_dir: Path | None, memory_limit: int) -> np.ndarray:
    if math.prod(shape) <= memory_limit:
        return np.zeros(shape, "uint8")
    folder = Path(tempfile.mkdtemp(prefix="pictures-", dir=cache_dir))
    free, needed = shutil.disk_usage(folder).free, math.prod(shape)
    if free < needed:  # writing to a map on a full disk would end the process
        folder.rmdir()
        raise OutputError(
            f"the decoded images need {needed / 1e9:.1f} GB under {str(folder.parent)!r}, which has {free / 1e9:.1f} GB free; "
            "free some space or use --limit"
        )
    images = np.lib.format.open_memmap(folder / "pictures.npy", mode="w+", dtype="uint8", shape=shape)
    weakref.finalize(images, shutil.rmtree, folder, ignore_errors=True)
    return images


class Decoder:
    """Decodes examples into rows of an array, in several threads at once, on the CPU: its operations are too small for a GPU."""

    def __init__(self, size: decode.Size, resize: str, channels: int = 3):
        self._channels = channels
        scalar = tf.TensorSpec((), tf.string)
        picture = tf.TensorSpec((None, None, channels), tf.uint8)
        # Traced here and once: threads that meet a function without a trace all make one of their own.
        self._from_bytes = _on_cpu(lambda data: decode.decode_and_resize(data, size, resize, channels), scalar)
        self._from_array = _on_cpu(lambda image: decode.resize_image(image, size, resize), picture)

    def read(self, example: Example, into: np.ndarray, content: bytes | None = None) -> Reading:
        """Decodes one example; a file that cannot be read gives an issue, never an exception.

        Args:
            example: a file or an array.
            into: uint8 (size, size, channels), filled with the image.
            content: of the file, where that is here already.
        """
        if example.array is not None:
            return self._read_array(example.array, into)
        if content is not None:
            return self._read_bytes(example, content, into)
        if example.content is not None:
            return self._read_bytes(example, example.content, into)
        path = example.path or Path(example.id)
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # a pipe or a device: reading it could wait for ever
                return Reading(bad=Issue(kind="unreadable", path=example.id, reason="not a regular file", action="skipped"))
            if status.st_size > LARGEST_FILE:
                reason = f"{status.st_size:,} bytes; expected at most {LARGEST_FILE:,}"
                return Reading(bad=Issue(kind="unreadable", path=example.id, reason=reason, action="skipped"))
            content = path.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a name with a zero character
            reason = getattr(error, "strerror", None) or str(error)
            return Reading(bad=Issue(kind="unreadable", path=example.id, reason=reason, action="skipped"))
        return self._read_bytes(example, content, into)

    def _read_array(self, array: np.ndarray, into: np.ndarray) -> Reading:
        with tf.device(CPU):
            into[:] = self._from_array(tf.constant(decode.as_channels(array, self._channels))).numpy()
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        # A hash of 8 x 8 cells says nothing about icons: 8 x 8 digits all look alike to it.
        return Reading(sha256=digest, dhash=difference_hash(into) if min(array.shape[:2]) >= SMALL else 0)

    def _read_bytes(self, example: Example, content: bytes, into: np.ndarray) -> Reading:
        try:
            with tf.device(CPU):
                into[:] = self._from_bytes(tf.constant(decode.decodable(content))).numpy()
        except DataError as error:
            return Reading(bad=Issue(kind=_kind(content), path=example.id, reason=str(error), action="skipped"))
        except tf.errors.OpError as error:
            reason = f"the {(decode.sniff(content) or '').upper()} image cannot be decoded: {_short(error)}"
            return Reading(bad=Issue(kind="truncated", path=example.id, reason=reason, action="skipped"))
        notes = (_extension_note(example, example.path, content) if example.path else None, _transparency_note(example, content))
        return Reading(sha256=hashlib.sha256(content).hexdigest(), dhash=difference_hash(into), notes=tuple(filter(None, notes)))


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


def _extension_note(example: Example, path: Path, content: bytes) -> Issue | None:
    kind = decode.sniff(content) or ""
    if path.suffix.lower() in ENDINGS.get(kind, {path.suffix.lower()}):
        return None
    return Issue(kind="wrong-extension", path=example.id, reason=f"the content is {kind.upper()}", action="kept")


def _transparency_note(example: Example, content: bytes) -> Issue | None:
    """Says of a GIF what its decoder does: unlike PNG and WebP, it cannot be asked which pixels are transparent."""
    if not decode.has_gif_transparency(content):
        return None
    return Issue(kind="transparency-dropped", path=example.id, reason="transparent parts of a GIF become black", action="kept")


def difference_hash(image: np.ndarray) -> int:
    """Returns the 64-bit difference hash of an image (Krawetz 2013, "Kind of Like That"): whether each of 8 x 9 cells is
    brighter than its left neighbour.

    Args:
        image: uint8 (size, size, channels).
    """
    rows, columns = _cells(image.shape[0], 8), _cells(image.shape[1], 9)
    # Rows first: adding up three channels of a whole image would take longer than decoding it.
    bands = rows @ image.reshape(image.shape[0], -1).astype("float64")  # (8, size * channels)
    cells = bands.reshape(8, image.shape[1], -1).sum(axis=-1) @ columns.T  # (8, 9), mean grey times channels
    # What differs by a rounding only counts as equal, so that an even ground gives zeros and not noise.
    return int.from_bytes(np.packbits(cells[:, 1:] > cells[:, :-1] + EVEN).tobytes(), "big")


@lru_cache
def _cells(size: int, count: int) -> np.ndarray:
    """Returns float64 (count, size): the share that each pixel has in the mean of each of `count` cells of equal width."""
    edges = np.linspace(0, size, count + 1)
    pixels = np.arange(size)
    return np.clip(np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels), 0, 1) * (count / size)
