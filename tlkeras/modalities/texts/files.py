"""The files that are texts."""

from __future__ import annotations

from tlkeras.data.file_kinds import FileKind

FILES = FileKind(
    noun="texts",
    endings=frozenset({".txt"}),
    format="a text format",
    other="not-a-text",
    examples=(".txt",),
    read="tlkeras.modalities.texts.reading:read",
)
