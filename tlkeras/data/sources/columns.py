"""Which column of a table is what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tlkeras.errors import DataError, near

TEXTS = ("text", "sentence", "review", "content", "message", "body", "comment", "document")
LABELS = ("label", "class", "category", "target", "sentiment", "stars")
PATH, SPLIT = "path", "split"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of columns; None: found by the names that are usual.

    Args:
        text: of the texts; None and no usual name means that the table lists files, in `path`.
        label: of the classes.
    """

    text: str | None = None
    label: str | None = None

    def found(self, spec: str, names: Sequence[str]) -> tuple[str, str, bool]:
        """Returns (content column, label column, whether the content is text).

        Raises:
            DataError: when a column is missing.
        """
        label = self.label_in(spec, names)
        if self.text is None and PATH in names:
            return PATH, label, False
        return self._one(spec, names, self.text, TEXTS, "--text-column"), label, True

    def label_in(self, spec: str, names: Sequence[str]) -> str:
        """Returns the label column."""
        return self._one(spec, names, self.label, LABELS, "--label-column")

    @staticmethod
    def has_content(names: Sequence[str]) -> bool:
        """Whether a column has one of the usual names of texts or files."""
        return any(name.lower().strip() in (*TEXTS, PATH) for name in names)

    def _one(self, spec: str, names: Sequence[str], asked: str | None, usual: Sequence[str], flag: str) -> str:
        if asked is not None:
            if asked not in names:
                raise DataError(f"{spec!r} has no column {asked!r}; {near(asked, names)}")
            return asked
        lower = {name.lower().strip(): name for name in reversed(names)}
        for one in usual:
            if one in lower:
                return lower[one]
        what = "path or text" if flag == "--text-column" else "label"
        raise DataError(f"{spec!r} has the columns {', '.join(map(str, names))}; expected {what}: name it with {flag}")
