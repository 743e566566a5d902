"""`report.html`: one self-contained page without scripts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkeras import files
from tlkeras.data.target import Target
from tlkeras.progress import score_text
from tlkeras.registry import load_function
from tlkeras.tasks.markup import escape, figure, table
from tlkeras.tasks.registry import Score, Task, task_of

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #d6dce4;padding-bottom:.2rem}
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #e6eaf0}
td:first-child,th:first-child{text-align:left}th{font-weight:600;background:#f5f7fa}
.big{font-size:2.2rem;font-weight:600}.muted{color:#5d6b7c}.scroll{overflow-x:auto}
.matrix td,.matrix th{padding:.15rem .4rem;min-width:1.6rem;text-align:center;font-size:.85rem}
"""


def write(
    path: Path,
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    figures: Mapping[str, Score],
    target: Target,
    audit: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    further: Sequence[tuple[str, str]] = (),
) -> None:
    """Writes the report of a run, titled with the name of its folder. It contains no local path.

    Args:
        path: file to write, in the folder of the run.
        summary: content of `metrics.json`.
        config: the effective config, flat.
        figures: split name -> score.
        target: what is predicted.
        audit: content of `data_audit.json`.
        history: one row per epoch with `phase`, `epoch`, `loss`, `val_loss`, ….
        further: (title, HTML) of sections that do not come from the task.
    """
    held_out = "test" if figures["test"].n else "val"
    task = task_of(config)
    conditions = f"recipe {config['recipe']}, seed {config['seed']}"
    (_, headline), *sections = load_function(task.report)(figures[held_out], held_out, target, conditions)
    settings = table(("key", "value"), [(name, str(value)) for name, value in config.items()])
    parts = [
        headline,
        _section("Scores", _score_table(figures)),
        _section("Artifacts", _artifact_table(summary, task)),
        *(_section(title, body) for title, body in (*further, *sections)),
        _section("Training", _curves(history) + _phase_table(summary)),
        _without_folders(_section("Data", _audit(audit)), path, config),
        _without_folders(_section("Config", settings), path, config),
    ]
    title = path.resolve().parent.name
    page = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style></head><body>'
    files.write(path, f"{page}<h1>{escape(title)}</h1>{''.join(parts)}</body></html>\n")


# The folders of a path that is absolute, on POSIX or Windows, where a value or a word begins with it; its last part stays.
FOLDERS = re.compile(r"(?<![^\s>(;=])(?:/|[A-Za-z]:[\\/])(?:[^\s/\\<>&]+[/\\])*(?=[^\s/\\<>&])")


def _without_folders(part: str, path: Path, config: Mapping[str, Any]) -> str:
    """Shortens every local path to its last part, because reports are shared."""
    here = path.resolve().parent
    local = [Path(str(config[key])).expanduser() for key in ("data", "data_dir", "out", "weights") if config.get(key)]
    known = {str(form.parent) for one in [here, *local] for form in (one, one.absolute(), one.resolve()) if form.is_absolute()}
    for folder in sorted({*known, str(Path.home()), str(Path.cwd())}, key=len, reverse=True):
        if len(folder) > 1:
            part = part.replace(escape(folder) + "/", "").replace(escape(folder) + "\\", "")
    return FOLDERS.sub("", part)


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2><div class=scroll>{body}</div>" if body else ""


def _score_table(figures: Mapping[str, Score]) -> str:
    rows = {name: score.cells() for name, score in figures.items()}
    head = next(iter(rows.values()))
    return table(("", *head), [(name, *map(_cell, row.values())) for name, row in rows.items()])


def _cell(value: float | int | None) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return figure(value) if value is None else score_text(value)


def _artifact_table(summary: Mapping[str, Any], task: Task) -> str:
    rows = [
        (
            f"{name} ({record['path']})",
            f"{record['bytes'] / 1e6:.1f} MB",
            "–" if record["latency_ms"] is None else f"{record['latency_ms']:.1f} ms",
            f"{record['max_abs_diff']:.1e}",
            figure(record["agreement"]),
            figure(record["accuracy"]),
        )
        for name, record in summary["exports"].items()
    ]
    return table(("", "size", "latency at batch 1", "largest difference", "agreement", task.figure), rows)


def _curves(history: Sequence[Mapping[str, Any]]) -> str:
    lines = {name: values for name in ("loss", "val_loss") if (values := [row[name] for row in history if name in row])}
    colours = {"loss": "#8a97a8", "val_loss": "#2463b8"}
    top = max((max(values) for values in lines.values()), default=0.0)
    if top <= 0 or len(history) < 2:
        return ""
    width, height, left, bottom = 560, 200, 44, 24
    drawn = ""
    for name, values in lines.items():
        step = (width - left) / max(1, len(values) - 1)
        points = " ".join(
            f"{left + i * step:.1f},{height - bottom - (height - bottom - 8) * value / top:.1f}" for i, value in enumerate(values)
        )
        drawn += f'<polyline fill="none" stroke="{colours[name]}" stroke-width="2" points="{points}"/>'
    axes = f'<path d="M{left} 8V{height - bottom}H{width}" fill="none" stroke="#aab4c0"/>'
    texts = f'<text x="{left - 6}" y="16" text-anchor="end">{top:.2f}</text><text x="{left - 6}" y="{height - bottom}" text-anchor="end">0</text>'
    texts += f'<text x="{width}" y="{height - 6}" text-anchor="end">{len(history)} epochs</text>'
    legend = "".join(
        f'<tspan fill="{colours[name]}" dx="12">{"validation loss" if name == "val_loss" else "training loss"}</tspan>' for name in lines
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" font-size="12" fill="#5d6b7c">'
        f'{axes}{drawn}{texts}<text x="{left}" y="{height - 6}">{legend}</text></svg>'
    )


def _phase_table(summary: Mapping[str, Any]) -> str:
    head = ("phase", "epochs", "best epoch", "parameters trained", "frozen weights verified unchanged")
    rows = [
        (one["name"], one["epochs"], one["best_epoch"], f"{one['trainable_parameters']:,}", one["frozen_variables"])
        for one in summary["phases"]
    ]
    return table(head, rows)


def _audit(audit: Mapping[str, Any]) -> str:
    issues = audit["issues"]
    counted = table(("issue", "count"), sorted(audit["counts"].items()))
    listed = table(("kind", "path", "reason", "action"), [(i["kind"], i["path"], i["reason"], i["action"]) for i in issues[:100]])
    more = f"<p class=muted>{len(issues) - 100} more in data_audit.json.</p>" if len(issues) > 100 else ""
    return (counted + listed + more) or "<p>The audit found no issues.</p>"
