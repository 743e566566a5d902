"""How long-running work reports progress: bars on a terminal or in a notebook, lines elsewhere, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tlkeras.errors import ConfigError
from tlkeras.loading import load_function

AUTO = "auto"  # bars on a terminal or in a notebook, lines elsewhere
Scores = Mapping[str, Mapping[str, Any]]  # split -> its figures, as `metrics.json` holds them


class Reporter:
    """Receives progress. This one shows nothing; subclass it to show something."""

    @contextmanager
    def live(self) -> Iterator[None]:
        """Shows progress while the body runs; may be entered again inside."""
        yield

    def say(self, text: str) -> None:
        """Shows a line of text."""

    def warn(self, text: str) -> None:
        """Shows a warning."""

    def progress(self, phase: str, done: int, total: int, text: str = "") -> None:
        """Shows that `phase` has done `done` of `total` pieces; `text` is its latest figure."""

    def piece(self, phase: str, number: int, total: int, name: str) -> None:
        """Shows that `phase` begins its piece `number` of `total`, called `name`; pieces take seconds or more."""
        self.progress(phase, number - 1, total, f"{name} ({number}/{total})")

    def finished(self, phase: str, seconds: float) -> None:
        """Shows that a phase ended."""

    def scores(self, scores: Scores) -> None:
        """Shows the scores of the held-out splits, before anything is exported."""

    def pieces(self, phase: str) -> Callable[[int, int, str], None]:
        """Returns what is called with (pieces done, pieces in all, name of the piece that begins now)."""

        def tell(done: int, total: int, name: str) -> None:
            if name:
                self.piece(phase, done + 1, total, name)
            else:
                self.progress(phase, done, total)

        return tell


SILENT = Reporter()


def resolve(reporter: Reporter | str | None) -> Reporter:
    """Returns the reporter that an argument `reporter` stands for.

    Args:
        reporter: a `Reporter`, `"auto"`, or None for silence.

    Raises:
        ConfigError: when it is anything else.
    """
    if reporter is None:
        return SILENT
    if isinstance(reporter, Reporter):
        return reporter
    if reporter != AUTO:
        raise ConfigError(f"reporter is {reporter!r}; expected 'auto', a tlkeras.Reporter, or None for silence")
    return automatic()


def automatic() -> Reporter:
    """Returns a reporter that draws bars on a terminal or in a notebook, and prints lines elsewhere."""
    screen: Reporter = load_function("tlkeras.progress:Screen")()
    return screen


def headline(split: str, score: Mapping[str, Any]) -> str:
    """Returns accuracy beside that of always answering the most frequent class, and the classes that are never predicted.

    Args:
        split: the name of the split.
        score: its figures, as `metrics.json` holds them.
    """
    if not score["n"]:
        return ""
    majority, never = score["majority"], score["never_predicted"]
    text = f"{split}: accuracy {score['accuracy']:.3f}; always predicting {majority['label']!r} would reach {majority['accuracy']:.3f}"
    if score["accuracy"] <= majority["accuracy"]:
        text += ": the model is no better than that"
    if never:
        more = f" and {len(never) - 5} more" if len(never) > 5 else ""
        text += f"; never predicted: {', '.join(repr(label) for label in never[:5])}{more}"
    return text
