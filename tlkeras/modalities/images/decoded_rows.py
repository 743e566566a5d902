"""Decoded images kept between runs: by the sha256 of the file, so that a file that moved or is in another data set is known too."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL
import tensorflow as tf

from tlkeras.data import row_cache
from tlkeras.data.examples import Example
from tlkeras.data.row_cache import Collection, RowCache
from tlkeras.modalities.images import decode, fingerprint, formats, orientation, resampling
from tlkeras.modalities.images.file_decoder import Content, Reading, notes
from tlkeras.startup import isolates


@dataclass(frozen=True, kw_only=True)
class Known:
    """A file whose image is kept, which was not read."""

    sha256: str


@dataclass(kw_only=True)
class DecodedRows:
    """The images that are kept, and those that this run decoded.

    Args:
        collection: those of the same size, resize, channels and decoder.
        seconds: spent on decoding.
    """

    collection: Collection
    seconds: float = 0.0
    _signatures: dict[str, list[int]] = field(default_factory=dict)
    _decoded: dict[str, tuple[int, list[object]]] = field(default_factory=dict)
    _sources: list[tuple[Path, list[int], str]] = field(default_factory=list)

    def known(self, example: Example) -> Known | None:
        """Returns what is known of a file without reading it."""
        if example.path is None:
            return None
        key = self.collection.key_of(example.path)
        if key is not None:
            return Known(sha256=key)
        signature = row_cache.signature(example.path)  # before it is read: what changes later has another one
        if signature is not None:
            self._signatures[example.id] = signature
        return None

    def read(self, example: Example, loaded: Content | Known, into: np.ndarray) -> Reading | None:
        """Fills a row with the image that is kept, if there is one."""
        key = loaded.sha256
        if key not in self.collection:
            return None
        dhash, kind, transparent = self.collection.fact(key)
        if not self.collection.read(key, into):
            return None
        return Reading(sha256=key, dhash=dhash, notes=notes(example, kind, transparent))

    def note(self, example: Example, content: Content, reading: Reading, row: int) -> None:
        """Notes that a row was decoded from a file."""
        self._decoded[content.sha256] = row, [reading.dhash, content.kind, content.transparent]
        signature = self._signatures.get(example.id)
        if example.path is not None and signature is not None:
            self._sources.append((example.path, signature, content.sha256))

    def keep(self, images: np.ndarray) -> None:
        """Writes what this run decoded, where that took longer than it takes to read it."""
        self.collection.touch()
        if self.seconds > row_cache.WORTH:
            rows = ((key, fact, images[row]) for key, (row, fact) in self._decoded.items())
            self.collection.add(rows, len(self._decoded), self._sources)


def decoded_rows(cache: RowCache | None, size: decode.Size, resize: str, channels: int) -> DecodedRows | None:
    """Returns the images kept of a size, resize and number of channels."""
    if cache is None:
        return None
    code = row_cache.source_digest(decode, resampling, orientation, formats, fingerprint)
    versions = f"tensorflow {tf.__version__}, pillow {PIL.__version__}, {platform.machine()}, {code}"
    if isolates():  # JPEGs are then decoded whole
        versions = f"{versions}, isolated"
    contract = f"{decode.size_text(size)} pixels, {resize}, {channels} channels; {versions}"
    row_bytes = int(np.prod(decode.sides(size))) * channels
    return DecodedRows(collection=cache.collection("images", contract, row_bytes))
