"""The top of a report: headline, scores of the splits, artifacts, and the sections that the task supplies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlkeras.evaluation.report_data import ReportData
from tlkeras.evaluation.report_parts import Section
from tlkeras.progress import score_text
from tlkeras.registry import load_function
from tlkeras.tasks.markup import escape, figure, table
from tlkeras.tasks.registry import take

INTERVAL = "95 % interval"  # what headlines call theirs
RESAMPLES, FEWEST, DRAWN = 300, 50, 1_500_000  # of the bootstrap: at most and at least, and examples in all of them


def headline(data: ReportData) -> Sequence[Section]:
    """Returns the headline of the task, the scores of the splits, and the figures that people ask for next."""
    _, text = data.sections[0]
    shown = "".join(f"<li><strong>{escape(value)}</strong> {escape(name)}</li>" for value, name in _tiles(data))
    if INTERVAL not in text:
        text += _interval(data)
    top = f"<div class=beside><div class=told>{text}</div>{_scores(data)}</div>"
    return [("", f"{top}<ul class=tiles>{shown}</ul>" if shown else top)]


def _interval(data: ReportData) -> str:
    """Returns the interval of the figure of the task in a sentence, by the bootstrap (Efron 1979)."""
    part = data.outcomes.get(data.held_out)
    if part is None or len(part.scores) < 2:
        return ""
    judge, count = load_function(data.task.judge), len(part.scores)
    rng, figures = np.random.default_rng(0), []
    for _ in range(max(FEWEST, min(RESAMPLES, DRAWN // count))):
        index = rng.integers(0, count, count)
        verdict = judge(part.scores[index], part.scores[index], take(part.targets, index), data.target)
        if verdict is None or verdict.accuracy is None:
            return ""
        figures.append(verdict.accuracy)
    low, high = np.quantile(figures, (0.025, 0.975))
    return (
        f"<p>{INTERVAL} of {escape(data.task.figure)}: {low:.3f} to {high:.3f} <span class=muted>(bootstrap; if this were repeated with new "
        f"{data.held_out} examples from the same source, about 95 of 100 such intervals would contain the true figure)</span>.</p>"
    )


def _tiles(data: ReportData) -> list[tuple[str, str]]:
    summary, tiles = data.summary, []
    counts = summary.get("data", {})
    if counts:
        tiles.append((f"{counts['train']:,}", "training examples"))
    if summary.get("phases"):
        tiles.append((short_count(summary["phases"][-1]["trainable_parameters"]), "parameters trained last"))
    records = list(summary["exports"].items())
    if records:
        name, record = min(records, key=lambda pair: pair[1]["bytes"])
        tiles.append((size(record["bytes"]), f"smallest artifact ({name})"))
        timed = [(record["latency_ms"], name) for name, record in records if record["latency_ms"] is not None]
        if timed:
            fastest, name = min(timed)
            tiles.append((f"{fastest:.1f} ms", f"fastest artifact ({name})"))
    if summary.get("timing", {}).get("total"):
        tiles.append((duration(summary["timing"]["total"]), "from data to report"))
    return tiles


def short_count(count: int) -> str:
    """Returns a count with its unit.

    Example:
        >>> short_count(4_072), short_count(12_300_000)
        ('4.1 k', '12.3 M')
    """
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return str(count)


def size(count: int) -> str:
    """Returns a number of bytes as text."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def duration(seconds: float) -> str:
    """Returns seconds as text.

    Example:
        >>> duration(9.4), duration(615), duration(7500)
        ('9 s', '10 min', '2.1 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _scores(data: ReportData) -> str:
    """Returns the figures of each split."""
    rows = {name: score.cells() for name, score in data.figures.items()}
    head = next(iter(rows.values()))
    return table(("", *head), [(name, *map(_cell, row.values())) for name, row in rows.items()])


def _cell(value: float | int | None) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return figure(value) if value is None else score_text(value)


def further(data: ReportData) -> Sequence[Section]:
    """Returns the sections that the caller passes."""
    return data.further


def task_sections(data: ReportData) -> Sequence[Section]:
    """Returns the sections of the task but its headline."""
    return data.sections[1:]


def artifacts(data: ReportData) -> Sequence[Section]:
    """Returns the table of artifacts: size, latency, parity, figure, and how much worse it is than that of the Keras model."""
    rows = [_artifact(name, record) for name, record in data.summary["exports"].items()]
    head = ("", "size", "latency at batch 1", "largest difference", "agreement", data.task.figure, "drop")
    note = "<p class=muted>Each file was run in its own runtime and compared with the Keras model before it was named.</p>" if rows else ""
    return [("Artifacts", note + table(head, rows))]


def _artifact(name: str, record: dict[str, Any]) -> tuple[object, ...]:
    return (
        f"{name} ({record['path']})",
        size(record["bytes"]),
        "–" if record["latency_ms"] is None else f"{record['latency_ms']:.1f} ms",
        f"{record['max_abs_diff']:.1e}",
        figure(record["agreement"]),
        figure(record["accuracy"]),
        figure(record.get("drop")),
    )
