"""Decoders that may crash run in processes of their own."""

from __future__ import annotations

from pathlib import Path

from tlkeras.data.reader_process import Reader
from tlkeras.modalities.images import pillow_reader

# For any image; the reader allows each one less, by its pixels.
MEMORY = 4 * 1024**3  # bytes of address space of a process: the largest image accepted, its copy of 8 bits, the libraries
SECONDS = 60.0  # on the clock; the largest JPEG 2000 take 20
DECODER = Reader(Path(pillow_reader.__file__), memory=MEMORY, seconds=SECONDS, name="its decoder")
