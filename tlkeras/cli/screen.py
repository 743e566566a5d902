"""The output at the end of a command: tables, and which of several files was chosen and why."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tlkeras.progress import Screen, figure, results_table
from tlkeras.tasks.registry import DEFAULT, TASKS

__all__ = ["Screen", "artifacts_table", "benchmark_tables", "figure", "search_lines", "results_table", "size", "start_tensorflow", "wide"]


def size(count: int) -> str:
    """Returns a number of bytes as text."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


MEASURE = TASKS.get(DEFAULT).figure  # what the figure of an artifact on held-out examples is called


def artifacts_table(exports: Mapping[str, Mapping[str, Any]], measure: str = MEASURE) -> Table:
    """Returns the table of artifact -> size, latency, parity, and the figure on held-out examples, called `measure`."""
    table = Table(title="Artifacts, each run in its own runtime", title_justify="left")
    for name in ("", "size", "latency", "max difference", "agreement", measure):
        table.add_column(name, justify="left" if not name else "right")
    for name, row in exports.items():
        table.add_row(
            name,
            size(row["bytes"]),
            f"{figure(row['latency_ms'], 1)} ms",
            f"{row['max_abs_diff']:.1e}",
            figure(row["agreement"]),
            figure(row["accuracy"]),
        )
    return table


def search_lines(exports: Mapping[str, Mapping[str, Any]], measure: str = MEASURE) -> list[str]:
    """Returns, for each artifact that was chosen among several, which attempt was taken and why.

    Args:
        exports: format -> `Artifact.to_dict()`, as in `metrics.json` and the manifest.
        measure: what the figure on held-out examples is called.
    """
    return [_search_line(name, record["tried"], measure) for name, record in exports.items() if record.get("tried")]


def _search_line(name: str, tried: Sequence[Mapping[str, Any]], measure: str) -> str:
    from tlkeras.export.formats import RUNGS

    chosen, refused = tried[-1], tried[:-1]
    text = f"{name}: {chosen['attempt']}, {size(chosen['bytes'])}"
    if chosen.get("accuracy") is not None:
        text += f", {measure} {chosen['accuracy']:.3f} (float {chosen['accuracy'] + chosen['drop']:.3f})"
    elif chosen.get("agreement") is not None:
        text += f", agreement with the model {chosen['agreement']:.3f}"
    elif chosen.get("relative_diff") is not None:
        text += f", within {chosen['relative_diff']:.1e} of the largest output"
    rung = "int8 with some layers in float" if chosen["attempt"].startswith("int8, ") else chosen["attempt"]
    later = RUNGS[RUNGS.index(rung) + 1 :] if rung in RUNGS else ()
    if refused:
        text += f"; rejected: {'; '.join(_refusal(attempt, measure) for attempt in refused)}"
    return text + (f"; safer rungs not needed ({', '.join(later)})" if later else "")


def _refusal(attempt: Mapping[str, Any], measure: str) -> str:
    """Returns an attempt that was not taken, with the shortest reason."""
    if attempt.get("drop") is not None:
        lost = measure if attempt.get("accuracy") is not None else "agreement"
        return f"{attempt['attempt']} (lost {attempt['drop']:.3f} {lost})"
    return f"{attempt['attempt']} ({attempt['refused']})"


WIDTH = 124  # characters of the widest table; narrower terminals wrap


def wide() -> Console:
    """Returns a console on which a table of many columns is not cut."""
    return Console(highlight=False, width=max(WIDTH, Console().width))


def benchmark_tables(report: Any) -> list[Table]:
    """Returns one table for each number of threads: artifact x figures."""
    title = (
        f"{report.measure} on {report.data}"
        if report.data
        else f"{report.measure} not measured: {report.unmeasured}; agreement on the verification samples"
    )
    tables = []
    for threads in dict.fromkeys(row.threads for row in report.rows):
        table = Table(title=f"{threads} thread{'s' * (threads > 1)}, in turns; {title}", title_justify="left")
        heads = ("", "MB", "load s", "1: p50 / p95 ms", "32: p50 / p95 ms", "images/s", "peak MB", "max diff", "agree", report.measure)
        for name in heads:
            table.add_column(name, justify="left" if not name else "right", no_wrap=True)
        for row in report.rows:
            if row.threads == threads:
                table.add_row(*_benchmark_row(row))
        tables.append(table)
    return tables


def _benchmark_row(row: Any) -> list[str]:
    if row.status != "ok":
        return [row.format, f"{row.bytes / 1e6:.1f}", "failed"]
    return [
        *(row.format, f"{row.bytes / 1e6:.1f}", figure(row.load_s, 2)),
        *(f"{row.p50_ms:.2f} / {row.p95_ms:.2f}", f"{row.batch_p50_ms:.1f} / {row.batch_p95_ms:.1f}", figure(row.images_per_s, 0)),
        *(figure(None if row.peak_bytes is None else row.peak_bytes / 1e6, 0), f"{row.max_abs_diff:.1e}"),
        *(figure(row.agreement), figure(row.accuracy)),
    ]


def start_tensorflow() -> None:
    """Loads TensorFlow for a command, with a notice on terminals because it takes a moment."""
    from tlkeras.startup import load_tensorflow

    if sys.stderr.isatty():
        print("loading TensorFlow …", end="\r", file=sys.stderr, flush=True)  # noqa: T201
    load_tensorflow()
    if sys.stderr.isatty():
        print(" " * 22, end="\r", file=sys.stderr, flush=True)  # noqa: T201
