"""What people see at the end of a command: tables, and which of several files was chosen and why."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from tlkeras.progress import Screen, figure, scores_table

__all__ = ["Screen", "artifacts_table", "benchmark_tables", "chosen", "figure", "scores_table", "start_tensorflow", "wide"]


def artifacts_table(exports: Mapping[str, Mapping[str, Any]]) -> Table:
    """Returns the table of artifact -> size, latency, parity, accuracy."""
    table = Table(title="Artifacts, each run in its own runtime", title_justify="left")
    for name in ("", "size", "latency", "max difference", "agreement", "accuracy"):
        table.add_column(name, justify="left" if not name else "right")
    for name, row in exports.items():
        table.add_row(
            name,
            f"{row['bytes'] / 1e6:.1f} MB",
            f"{figure(row['latency_ms'], 1)} ms",
            f"{row['max_abs_diff']:.1e}",
            figure(row["agreement"]),
            figure(row["accuracy"]),
        )
    return table


def chosen(exports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns a line for each artifact that was chosen among several attempts: which one, its figures, and why not the others."""
    lines = []
    for name, artifact in exports.items():
        tried = artifact.get("tried") or ()
        passed = [attempt for attempt in tried if not attempt.get("refused")]
        if not passed:
            continue
        taken = next((attempt for attempt in passed if attempt["bytes"] == artifact["bytes"]), passed[-1])
        refused = [attempt for attempt in tried if attempt.get("refused")]
        accuracy, drop = taken.get("accuracy"), taken.get("drop")
        figures = [f"{taken['bytes'] / 1e6:.1f} MB"]
        if accuracy is not None:
            figures += [f"accuracy {accuracy:.3f}", *([] if drop is None else [f"float {accuracy + drop:.3f}"])]
        elif taken.get("agreement") is not None:
            figures.append(f"agreement {taken['agreement']:.3f}")
        lines.append(f"{name}: {taken['attempt']} ({', '.join(figures)})" + "".join(f"; not {_refused(attempt)}" for attempt in refused))
    return lines


def _refused(attempt: Mapping[str, Any]) -> str:
    """Returns which attempt was refused and why: the accuracy it lost, or the reason in words."""
    if attempt.get("drop") is not None:
        return f"{attempt['attempt']} (drop {attempt['drop']:.3f})"
    return f"{attempt['attempt']} ({' '.join(str(attempt.get('refused')).split())[:80]})"


WIDTH = 124  # characters of the widest table; narrower terminals wrap


def wide() -> Console:
    """Returns a console on which a table of many columns is not cut."""
    return Console(highlight=False, width=max(WIDTH, Console().width))


def benchmark_tables(report: Any) -> list[Table]:
    """Returns one table for each number of threads: artifact x figures."""
    title = (
        f"accuracy on {report.data}"
        if report.data
        else f"accuracy not measured: {report.unmeasured}; agreement on the verification samples"
    )
    tables = []
    for threads in dict.fromkeys(row.threads for row in report.rows):
        table = Table(title=f"{threads} thread{'s' * (threads > 1)}, in turns; {title}", title_justify="left")
        heads = ("", "MB", "load s", "1: p50 / p95 ms", "32: p50 / p95 ms", "images/s", "peak MB", "max diff", "agree", "accuracy")
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
    """Loads TensorFlow for a command, telling people on a terminal why it takes a moment."""
    from tlkeras.startup import load_tensorflow

    if sys.stderr.isatty():
        print("loading TensorFlow …", end="\r", file=sys.stderr, flush=True)  # noqa: T201
    load_tensorflow()
    if sys.stderr.isatty():
        print(" " * 22, end="\r", file=sys.stderr, flush=True)  # noqa: T201
