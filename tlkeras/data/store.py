"""Every example decoded once: an array, or a memory-mapped file when large; bad files are skipped and told."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tlkeras.data import decode
from tlkeras.data.examples import Dataset, Example, Issue
from tlkeras.errors import DataError

MEMORY_LIMIT = 2 * 1024**3  # bytes of decoded pictures kept in memory
THREADS = 4  # reading and decoding overlap; TensorFlow releases Python's lock
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ImageStore:
    """Decoded examples, in the order of the source.

    Args:
        images: uint8 (n, size, size, 3), RGB; an array or a memory map.
        y: int32 (n,), indices into `labels`.
        examples: those that could be read.
        sha256: of the content of each.
        dhash: uint64 (n,), perceptual hashes.
        labels: the label map.
        skipped: what could not be read.
        notes: what is odd, from listing and from reading.
    """

    images: np.ndarray
    y: np.ndarray
    examples: tuple[Example, ...]
    sha256: tuple[str, ...]
    dhash: np.ndarray
    labels: tuple[str, ...]
    skipped: tuple[Issue, ...]
    notes: tuple[Issue, ...]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Rows:
    """Some rows of an array that is too large to copy; reads from it only what is asked for."""

    whole: np.ndarray
    index: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.whole.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.whole.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        return np.asarray(self.whole[self.index[which]])


def rows(images: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Returns the pictures at `index`: a copy from memory, a view that reads on demand from a memory map."""
    return Rows(images, index) if isinstance(images, np.memmap) else images[index]  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What reading one example gave."""

    sha256: str = ""
    bad: Issue | None = None
    note: Issue | None = None


def materialise(
    dataset: Dataset,
    *,
    size: int,
    resize: str = "stretch",
    cache_dir: Path | None = None,
    memory_limit: int = MEMORY_LIMIT,
    strict: bool = False,
    progress: Progress | None = None,
) -> ImageStore:
    """Reads and decodes every example once.

    Args:
        dataset: what a source gave.
        size: side of the pictures in pixels.
        resize: `stretch`, `crop` or `pad`.
        cache_dir: where the memory map goes when the pictures exceed `memory_limit` bytes.
        strict: whether a file that cannot be read is an error.
        progress: called with (done, all).

    Raises:
        DataError: with `strict`, for bad files; or when fewer than two classes remain.
    """
    count = len(dataset.examples)
    images = _allocate(count, size, cache_dir, memory_limit)
    decoder = Decoder(size, resize)
    results = []
    with ThreadPoolExecutor(THREADS) as pool:
        for index, one in enumerate(pool.map(lambda i: decoder.read(dataset.examples[i], images[i]), range(count))):
            results.append(one)
            if progress and (index % 16 == 15 or index == count - 1):
                progress(index + 1, count)
    skipped = tuple(one.bad for one in results if one.bad)
    if strict and skipped:
        raise DataError(
            f"{len(skipped)} files cannot be used, the first is {skipped[0].path!r}: {skipped[0].reason}; mend them or leave --strict out"
        )
    kept = [index for index, one in enumerate(results) if not one.bad]
    return _store(dataset, images, kept, results, skipped)


def _store(dataset: Dataset, images: np.ndarray, kept: Sequence[int], results: Sequence[Reading], skipped: tuple[Issue, ...]) -> ImageStore:
    for place, index in enumerate(kept):  # closes the gaps that bad files left
        if place != index:
            images[place] = images[index]
    images = images[: len(kept)]
    examples = tuple(dataset.examples[index] for index in kept)
    ids = {label: index for index, label in enumerate(dataset.labels)}
    store = ImageStore(
        images=images,
        y=np.array([ids[example.label] for example in examples], "int32"),
        examples=examples,
        sha256=tuple(results[index].sha256 for index in kept),
        dhash=np.where([_tells(example) for example in examples], difference_hash(images), np.uint64(0)),
        labels=dataset.labels,
        skipped=skipped,
        notes=(*dataset.notes, *(one.note for one in results if one.note)),
    )
    _check_classes(dataset, store)
    return store


def _tells(example: Example) -> bool:
    """Whether a perceptual hash of 8 x 8 cells says anything: icons and 8 x 8 digits all look alike to it."""
    return example.array is None or min(example.array.shape[:2]) >= 32


def _check_classes(dataset: Dataset, store: ImageStore) -> None:
    before = {example.label for example in dataset.examples}
    lost = sorted(before - {example.label for example in store.examples})
    if lost:
        raise DataError(
            f"no picture of class {lost[0]!r} can be read ({len(store.skipped)} files skipped, the first {store.skipped[0].path!r}: "
            f"{store.skipped[0].reason}); mend them or remove the class"
        )


def _allocate(count: int, size: int, cache_dir: Path | None, memory_limit: int) -> np.ndarray:
    shape = (count, size, size, 3)
    if count * size * size * 3 <= memory_limit:
        return np.zeros(shape, "uint8")
    folder = Path(tempfile.mkdtemp(prefix="pictures-", dir=cache_dir))
    return np.lib.format.open_memmap(folder / "pictures.npy", mode="w+", dtype="uint8", shape=shape)


class Decoder:
    """Decodes examples into rows of an array, in several threads at once."""

    def __init__(self, size: int, resize: str):
        scalar = tf.TensorSpec((), tf.string)
        picture = tf.TensorSpec((None, None, 3), tf.uint8)
        self._from_bytes = tf.function(lambda data: decode.decode_and_resize(data, size, resize), input_signature=[scalar], autograph=False)
        self._from_array = tf.function(lambda image: decode.resize_image(image, size, resize), input_signature=[picture], autograph=False)

    def read(self, example: Example, into: np.ndarray) -> Reading:
        """Decodes one example; a file that cannot be read gives an issue, never an exception."""
        if example.array is not None:
            into[:] = self._from_array(decode.as_rgb(example.array)).numpy()
            return Reading(sha256=hashlib.sha256(np.ascontiguousarray(example.array).tobytes()).hexdigest())
        return self._read_file(example, into)

    def _read_file(self, example: Example, into: np.ndarray) -> Reading:
        path = example.path or Path(example.id)
        try:
            content = path.read_bytes()
            into[:] = self._from_bytes(decode.read_image_bytes(path)).numpy()
        except OSError as error:
            return Reading(bad=Issue(kind="unreadable", path=example.id, reason=error.strerror or str(error), action="skipped"))
        except DataError as error:
            return Reading(bad=Issue(kind=_kind(content), path=example.id, reason=str(error), action="skipped"))
        except tf.errors.OpError as error:
            return Reading(bad=Issue(kind="truncated", path=example.id, reason=f"cannot be decoded: {_short(error)}", action="skipped"))
        return Reading(sha256=hashlib.sha256(content).hexdigest(), note=_extension_note(example, path, content))


def _kind(content: bytes) -> str:
    if not content:
        return "empty-file"
    if content[4:8] == b"ftyp":
        return "unsupported"
    return "not-an-image" if decode.sniff(content) is None else "truncated"


def _short(error: tf.errors.OpError) -> str:
    """Returns the first clause of TensorFlow's message, without the names of its graph nodes."""
    lines = [
        line.strip() for line in str(error.message).splitlines() if line.strip() and not line.startswith(("Detected at", "Graph execution"))
    ]
    text = next((line for line in lines if "[[" not in line), "the picture is damaged")
    return text.split(" [Op")[0][:160]


ENDINGS = {
    "jpeg": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "png": {".png"},
    "gif": {".gif"},
    "webp": {".webp"},
    "bmp": {".bmp", ".dib"},
    "tiff": {".tif", ".tiff"},
}


def _extension_note(example: Example, path: Path, content: bytes) -> Issue | None:
    kind = decode.sniff(content) or ""
    if path.suffix.lower() in ENDINGS.get(kind, {path.suffix.lower()}):
        return None
    return Issue(kind="wrong-extension", path=example.id, reason=f"the content is {kind.upper()}", action="kept")


def difference_hash(images: np.ndarray) -> np.ndarray:
    """Returns uint64 (n,): the 64-bit difference hash of each picture (Krawetz 2013, "Kind of Like That").

    Args:
        images: uint8 (n, size, size, 3).
    """
    hashes = np.zeros(len(images), "uint64")
    rows, columns = (np.linspace(0, images.shape[1], cells + 1).astype(int) for cells in (8, 9))
    area = np.diff(rows)[:, None] * np.diff(columns)
    for index, image in enumerate(images):
        sums = np.add.reduceat(image, rows[:-1], axis=0, dtype=np.uint32).sum(-1, dtype=np.uint32)  # (8, size)
        cells = np.add.reduceat(sums, columns[:-1], axis=1) / area  # (8, 9)
        hashes[index] = np.packbits(cells[:, 1:] > cells[:, :-1]).view(">u8")[0]
    return hashes
