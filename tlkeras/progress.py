"""How long-running work reports progress: bars on a terminal or in a notebook, lines elsewhere, or nothing."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from tlkeras.errors import ConfigError, printable

AUTO = "auto"  # bars on a terminal or in a notebook, lines elsewhere
Scores = Mapping[str, Mapping[str, Any]]  # split -> its figures, as `metrics.json` holds them
Cells = Mapping[str, float | int | None]  # column -> figure


class Reporter:
    """Receives progress. This one shows nothing; subclass it to show something.

    Example:
        >>> class Warnings(Reporter):
        ...     def warn(self, text):
        ...         print(f"warning: {text}")
        >>> Warnings().warn("few examples")
        warning: few examples
    """

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
        """Receives the scores of the held-out splits, before anything is exported."""

    def result(self, title: str, rows: Mapping[str, Cells], lines: Sequence[str] = ()) -> None:
        """Shows a table of results, row -> column -> figure, and lines below it; also where only results are to be shown."""

    def pieces(self, phase: str) -> Callable[[int, int, str], None]:
        """Returns what is called with (pieces done, pieces in all, name of the piece that begins now)."""

        def tell(done: int, total: int, name: str) -> None:
            if name:
                self.piece(phase, done + 1, total, name)
            else:
                self.progress(phase, done, total)

        return tell


SILENT = Reporter()


@dataclass
class Clock:
    """Seconds per step of a job, each reported when it ends, and of the parts of steps, which are not reported.

    The name of a part begins with that of its step: `export/onnx/convert`. Parts that overlap in time add up to more than their step.
    """

    reporter: Reporter
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Adds the time of the body to that of a step."""
        with self.part(name):
            yield
        self.reporter.finished(name, self.seconds[name])

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds the time of the body to that of a part of a step."""
        started = time.monotonic()
        yield
        self.add(name, time.monotonic() - started)

    def add(self, name: str, seconds: float) -> None:
        """Adds seconds to those of a part of a step."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 3)


def profile(timing: Mapping[str, float]) -> dict[str, Cells]:
    """Returns the table of what took how long: step or part -> its seconds and their share of the whole job, parts below their step.

    Args:
        timing: seconds by name, as `metrics.json` holds them.
    """
    steps = [name for name in timing if "/" not in name]
    names = [name for step in steps for name in (step, *(part for part in timing if part.startswith(f"{step}/")))]
    return {name: {"seconds": timing[name], "share": timing[name] / timing["total"]} for name in names}


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
    return Screen()


# === On screen ===

OFTEN, SELDOM = 2.0, 10.0  # seconds between two lines of a phase: at least, where it advances; at most
STEP = 0.1  # share of a phase after which a line is due
FEW = 20  # pieces, up to which each gets a line when its name or figure is new


class Screen(Reporter):
    """Draws bars on a terminal or in a notebook; elsewhere prints a line now and then, never a carriage return.

    Args:
        quiet: show only warnings and scores.
        console: where to draw; standard output when None.
    """

    def __init__(self, quiet: bool = False, console: Console | None = None):
        self.console = console or _standard_output()
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True, force_jupyter=False)
        self.quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._lines = Lines()

    @property
    def redraws(self) -> bool:
        """Whether bars can be drawn."""
        return self.console.is_jupyter or self.console.is_interactive

    @contextmanager
    def live(self) -> Iterator[None]:
        """Shows bars while the body runs; may be entered again inside."""
        if self._bars is not None or self.quiet or not self.redraws:
            yield
            return
        with bars(self.console) as self._bars:
            try:
                yield
            finally:
                self._tasks.clear()
        self._bars = None

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(escape(_safe(text)))

    def warn(self, text: str) -> None:
        (self.errors if self._bars is None else self._bars.console).print(escape(_safe(text)))

    def progress(self, phase: str, done: int, total: int, text: str = "") -> None:
        if self._bars is None:
            if not self.redraws and self._lines.due(phase, done, total, text, time.monotonic()):
                self.say(f"{phase}: " + (f"{text} ({done}/{total})" if text else f"{done}/{total}"))
            return
        if phase not in self._tasks:
            self._tasks[phase] = self._bars.add_task(phase, total=total, text="")
        self._bars.update(self._tasks[phase], completed=done, total=total, text=escape(_safe(text)))

    def piece(self, phase: str, number: int, total: int, name: str) -> None:
        if self._bars is None:
            self.say(f"{phase}: {name} ({number}/{total})")
        else:
            super().piece(phase, number, total, name)

    def finished(self, phase: str, seconds: float) -> None:
        if not self.redraws:
            self.say(f"{phase}: {seconds:.1f} s")

    def result(self, title: str, rows: Mapping[str, Cells], lines: Sequence[str] = ()) -> None:
        self.console.print(results_table(title, rows))
        for line in lines:
            self.console.print(_safe(line), markup=False)


def _safe(text: str) -> str:
    """Returns a text without what a terminal obeys: it may contain names of files and labels."""
    return printable(text, keep="\n\t")


@dataclass
class _Said:
    """What was last printed of a phase, and when."""

    time: float
    share: float
    text: str


class Lines:
    """Decides when progress is worth a line of its own."""

    def __init__(self) -> None:
        self._said: dict[str, _Said] = {}

    def due(self, phase: str, done: int, total: int, text: str, now: float) -> bool:
        """Whether a line should be printed now.

        Args:
            phase, done, total, text: see `Reporter.progress`.
            now: seconds of a clock.
        """
        share = done / total if total else 1.0
        said = self._said.get(phase)
        if said is None or share < said.share:  # a phase begins, perhaps once more
            self._said[phase] = _Said(now, share, "")
            return False
        waited = now - said.time
        new = bool(text) and text != said.text
        advanced = new or share - said.share >= STEP
        if waited >= SELDOM or (advanced and waited >= OFTEN) or (new and total <= FEW):
            self._said[phase] = _Said(now, share, text)
            return True
        return False


class _TimeLeft(ProgressColumn):
    """Time left while a phase runs, time taken when it ended."""

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(f"{_clock(task.finished_time or 0)} done")
        return Text("-:-- left" if task.time_remaining is None else f"{_clock(task.time_remaining)} left")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def bars(console: Console) -> Progress:
    """Returns bars whose name, count and time left fit into 80 characters; the latest figure takes what remains."""
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=12)),
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        _TimeLeft(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[text]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        console=console,
        expand=True,
    )


def _standard_output() -> Console:
    """Returns the console of standard output; bars only where it is a terminal, or a notebook that can redraw."""
    widgets = importlib.util.find_spec("ipywidgets") is not None
    terminal = None if sys.stdout is not None and sys.stdout.isatty() else False  # FORCE_COLOR makes no terminal of a file
    console = Console(highlight=False, soft_wrap=True)
    if console.is_jupyter and widgets:
        return console
    return Console(highlight=False, soft_wrap=True, force_jupyter=False, force_terminal=terminal)


def figure(value: float | None, digits: int = 3) -> str:
    """Returns a figure as text, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def score_text(value: float) -> str:
    """Returns a figure with 3 decimals, or with 4 digits where that would be all zeros or needlessly long: errors in units of the data."""
    if 1e3 <= abs(value) < 1e7:
        return f"{value:.0f}"
    return f"{value:.3f}" if not value or 1e-3 <= abs(value) < 1e3 else f"{value:.4g}"


def results_table(title: str, rows: Mapping[str, Cells]) -> Table:
    """Returns the table of row -> column -> figure."""
    table = Table(title=title, title_justify="left")
    columns = dict.fromkeys(column for cells in rows.values() for column in cells)
    for name in ("", *columns):
        table.add_column(name, justify="left" if not name else "right", no_wrap=not name)
    for name, cells in rows.items():
        table.add_row(name, *(_cell(cells[column]) for column in columns))
    return table


def _cell(value: float | int | None) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return figure(value) if value is None else score_text(value)
