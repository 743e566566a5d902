"""How long work tells people where it is; the command line draws it, Python calls stay silent."""

from __future__ import annotations


class Reporter:
    """Hears of progress. This one says nothing; subclass it to show something."""

    def say(self, text: str) -> None:
        """A line for people."""

    def warn(self, text: str) -> None:
        """A line that people should not miss."""

    def progress(self, phase: str, done: int, total: int, text: str = "") -> None:
        """Phase `phase` has done `done` of `total` pieces; `text` is its latest figure."""

    def finished(self, phase: str, seconds: float) -> None:
        """A phase ended."""


SILENT = Reporter()
