"""Every image decoded once, into an array, or a memory-mapped file when large; bad files are skipped and reported."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.data.examples import Dataset, Example, Issue, losses, tallied
from tlkeras.data.row_cache import RowCache
from tlkeras.data.store import Progress, Store
from tlkeras.errors import DataError, OutputError
from tlkeras.modalities.images import decode
from tlkeras.modalities.images.decoded_rows import DecodedRows, Known, decoded_rows
from tlkeras.modalities.images.file_decoder import DECODE_NOISE, THREADS, Content, Decoder, Reading, decoder, load, notes
from tlkeras.startup import filtered_stderr

MEMORY_LIMIT = 2 * 1024**3  # bytes of decoded images kept in memory
GROUP, GROUP_BYTES = 64, 64 * 1024**2  # examples that are decoded at a time, and bytes of their files
Loaded = Content | Known | Issue | None  # None: an array


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
    cache: RowCache | None = None,
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
        cache: where decoded images are kept between runs.

    Raises:
        DataError: with `strict`, for bad files; or when a class has no image left.
        OutputError: when `cache_dir` has no room for the memory map.
    """
    count = len(dataset.examples)
    images = _allocate((count, *decode.sides(size), channels), cache_dir, memory_limit)
    group_decoder = GroupDecoder(decoder=decoder(size, resize, channels), rows=decoded_rows(cache, size, resize, channels))
    results: list[Reading] = []
    with filtered_stderr(DECODE_NOISE), ThreadPoolExecutor(THREADS) as pool:
        for rows, loaded in _ahead(pool, dataset.examples, group_decoder.load):
            results += group_decoder.decode(dataset.examples, rows, loaded, images, pool)
            if progress:
                progress(len(results), count)
    if group_decoder.rows is not None:
        group_decoder.rows.keep(images)
    listed = [note for note in dataset.notes if note.action == "skipped"]  # rows of a table that could not be used
    skipped = (*listed, *(reading.bad for reading in results if reading.bad))
    count += len(listed)
    if strict and skipped:
        shown = "; ".join(f"{issue.path!r}: {issue.reason}" for issue in skipped[:3]) + (
            f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        )
        raise DataError(f"{len(skipped)} of {count} files cannot be used: {shown}; fix or remove them, or leave out --strict to skip them")
    return _store(dataset, images, results, skipped)


def _ahead(pool: Executor, examples: Sequence[Example], read: Callable[[Example], Loaded]) -> Iterator[tuple[range, list[Loaded]]]:
    """Yields examples by the group with what `read` gives for them; the next group is read while one is worked on."""
    waiting = None
    for rows in [*_groups(examples), None]:
        following = None if rows is None else (rows, [pool.submit(read, examples[index]) for index in rows])
        if waiting is not None:
            yield waiting[0], [future.result() for future in waiting[1]]
        waiting = following


def _groups(examples: Sequence[Example]) -> Iterator[range]:
    """Yields the examples in groups of at most `GROUP`, of not much more than `GROUP_BYTES` in files."""
    start, size = 0, 0
    for index, example in enumerate(examples):
        size += _size(example)
        if index + 1 - start == GROUP or size > GROUP_BYTES or index + 1 == len(examples):
            yield range(start, index + 1)
            start, size = index + 1, 0


def _size(example: Example) -> int:
    try:
        return 0 if example.path is None else example.path.stat().st_size
    except (OSError, ValueError):  # it is reported when it is read
        return 0


@dataclass(frozen=True, kw_only=True)
class GroupDecoder:
    """Decodes examples by the group.

    Args:
        decoder: of the size that is asked for.
        rows: images kept from other runs.
    """

    decoder: Decoder
    rows: DecodedRows | None = None

    def load(self, example: Example) -> Loaded:
        """Reads a file that is not known; runs in several threads."""
        if example.array is not None:
            return None
        known = self.rows.known(example) if self.rows is not None and example.content is None else None
        return known or load(example)

    def decode(
        self, examples: Sequence[Example], rows: range, loaded: Sequence[Loaded], images: np.ndarray, pool: Executor
    ) -> list[Reading]:
        """Fills the rows of a group, and returns what reading them gave."""
        arrays = [row for row in rows if examples[row].array is not None]
        readings = dict(zip(arrays, pool.map(lambda row: self.decoder.read(examples[row], images[row]), arrays), strict=True))
        files: dict[int, Any] = {row: content for row, content in zip(rows, loaded, strict=True) if content is not None}
        if self.rows is not None:
            cached = pool.map(lambda row: self._cached(examples[row], files[row], images[row]), files)
            files |= dict(zip(files, cached, strict=True))
        readings |= {row: content for row, content in files.items() if isinstance(content, Reading)}
        readings |= {row: Reading(bad=content) for row, content in files.items() if isinstance(content, Issue)}
        contents = {row: content for row, content in files.items() if isinstance(content, Content)}
        started = time.perf_counter()
        for row, reading in self._decode_files(examples, contents, images).items():
            readings[row] = reading
            if self.rows is not None and reading.bad is None:
                self.rows.note(examples[row], contents[row], reading, row)
        if self.rows is not None:
            self.rows.seconds += time.perf_counter() - started
        return [readings[row] for row in rows]

    def _cached(self, example: Example, content: Content | Known | Issue, into: np.ndarray) -> Reading | Content | Issue:
        """Returns the reading of an image that is kept; else the content of its file."""
        reading = None if isinstance(content, Issue) or self.rows is None else self.rows.read(example, content, into)
        if reading is not None:
            return reading
        return load(example) if isinstance(content, Known) else content

    def _decode_files(self, examples: Sequence[Example], contents: Mapping[int, Content], images: np.ndarray) -> dict[int, Reading]:
        """Returns the reading of each row."""
        if not contents:
            return {}
        readings, rows = {}, [row for row, content in contents.items() if not content.alone]
        index, decoded, hashes = self.decoder.decode([contents[row] for row in rows])
        for row, image, dhash in zip([rows[i] for i in index], decoded, hashes, strict=True):
            images[row], content = image, contents[row]
            own = notes(examples[row], content.kind, content.transparent)
            readings[row] = Reading(sha256=content.sha256, dhash=int(dhash), notes=own)
        for row in contents:  # large images, and damaged ones once more, for the reason
            if row not in readings:
                readings[row] = self.decoder.read_content(examples[row], contents[row], images[row])
        return readings


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
