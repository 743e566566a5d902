"""What tasks expect of examples, and what they return as figures."""

from __future__ import annotations

from typing import Any, Protocol


class Labelled(Protocol):
    """An example, as the sources give it."""

    @property
    def label(self) -> Any: ...


class Score(Protocol):
    """The figures of a model on some examples; see `Task.score`."""

    @property
    def n(self) -> int:
        """Number of examples."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the record of a split in `metrics.json`; `n` is in it."""

    def detailed(self) -> dict[str, Any]:
        """Returns the same and more, as `tlkeras evaluate --json` prints it."""

    def cells(self) -> dict[str, float | int | None]:
        """Returns column -> figure, for the table of scores."""

    def headline(self, split: str) -> str:
        """Returns one sentence about a split; empty without examples."""

    def lines(self) -> list[str]:
        """Returns the details that `tlkeras evaluate` prints below the headline."""
