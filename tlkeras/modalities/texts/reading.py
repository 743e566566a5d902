"""Text files: one file is one text."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from tlkeras.data.examples import Issue
from tlkeras.data.sources.columns import Columns
from tlkeras.data.sources.encoding import Encoding, decode_text, detect_encoding, undecodable_line
from tlkeras.errors import DataError
from tlkeras.files import read_regular

LARGEST = 64 * 1024**2  # bytes of one text file; every text is kept in memory


def read(path: Path, name: str, columns: Columns, notes: list[Issue]) -> dict[str, Any] | Issue:
    """Reads a text file.

    Args:
        path: of the file.
        name: its name in issues.
        columns: says the encoding, where the user does.
        notes: receives what was noticed.

    Returns:
        The fields of the example, or why there is none.
    """
    try:
        content = read_regular(path, LARGEST)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero character
        kind = "too-large" if getattr(error, "errno", None) == errno.EFBIG else "unreadable"
        return Issue(kind=kind, path=name, reason=getattr(error, "strerror", None) or str(error), action="skipped")
    encoding = _encoding(content, columns.encoding)
    text = decode_text(content, encoding)
    if line := undecodable_line(text):
        return Issue(kind=encoding.bad_kind, path=f"{name}:{line}", reason=f"the line is not {encoding.title}", action="skipped")
    if encoding.note:
        notes.append(Issue(kind="encoding", path=name, reason=encoding.note, action="reported"))
    return {"text": text} if text.strip() else Issue(kind="empty-text", path=name, reason="no text", action="skipped")


def _encoding(content: bytes, asked: str | None) -> Encoding:
    """Bytes that fit no encoding are for the caller to report, one file at a time."""
    try:
        return detect_encoding(content, asked)
    except DataError:
        if asked is not None:
            raise
        return Encoding(name="utf-8")
