"""What files of a folder are examples. The kinds come from the caller: this package knows no modality."""

from __future__ import annotations

from dataclasses import dataclass

from tlkeras.registry import load_function


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """The files that are examples of one modality.

    Args:
        noun: what messages call several of them, for example `"images"`.
        endings: of their names, in lower case.
        format: what messages call their format, for example `"an image format"`.
        other: kind of the issue for a file of another format.
        examples: the endings to name in a message.
        read: `"module:function"`, called with (path, name, columns, notes), returns the fields of an `Example` or an `Issue`; None
            when the path itself is the example, which is read later.
        recognises: `"module:function"`, first bytes of a file -> something true when it is one of these; None when bytes say nothing.
        advice: what to do when such a file is named where a source is expected.
    """

    noun: str
    endings: frozenset[str]
    format: str
    other: str
    examples: tuple[str, ...] = ()
    read: str | None = None
    recognises: str | None = None
    advice: str = ""

    def is_content(self, head: bytes) -> bool:
        """Whether the first bytes of a file show that it is one of these."""
        return self.recognises is not None and bool(load_function(self.recognises)(head))
