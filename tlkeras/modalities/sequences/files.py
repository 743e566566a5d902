"""The files that are sequences; in class folders they are no source."""

from __future__ import annotations

from tlkeras.data.file_kinds import FileKind

FILES = FileKind(
    noun="sequences",
    endings=frozenset({".npy", ".csv"}),
    format="a .csv or .npy file",
    other="not-a-sequence",
    examples=(".npy", ".csv"),
)
