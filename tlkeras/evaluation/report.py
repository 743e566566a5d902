"""`report.html`: one self-contained page without scripts."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.evaluation import metrics
from tlkeras.evaluation.metrics import Score
from tlkeras.progress import headline

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #d6dce4;padding-bottom:.2rem}
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #e6eaf0}
td:first-child,th:first-child{text-align:left}th{font-weight:600;background:#f5f7fa}
.big{font-size:2.2rem;font-weight:600}.muted{color:#5d6b7c}.scroll{overflow-x:auto}
.matrix td,.matrix th{padding:.15rem .4rem;min-width:1.6rem;text-align:center;font-size:.85rem}
"""
MOST_CLASSES = 40  # a larger confusion matrix is unreadable; the most confused pairs are listed instead


def write(
    path: Path,
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    figures: Mapping[str, Score],
    labels: Sequence[str],
    audit: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Writes the report of a run, titled with the name of its folder. It contains no local path.

    Args:
        path: file to write, in the folder of the run.
        summary: content of `metrics.json`.
        config: the effective config, flat.
        figures: split name -> score.
        labels: the label map.
        audit: content of `data_audit.json`.
        history: one row per epoch with `phase`, `epoch`, `loss`, `val_loss`, ….
    """
    held_out = "test" if figures["test"].n else "val"
    parts = [
        _headline(figures[held_out], held_out, config),
        _section("Scores", _table(("", "accuracy", "macro-F1", "loss", "n"), _score_rows(figures))),
        _section(
            "Artifacts", _table(("", "size", "latency at batch 1", "largest difference", "agreement", "accuracy"), _artifact_rows(summary))
        ),
        _section("Classes", _class_table(figures[held_out])),
        _section("Confusions", _confusions(figures[held_out], labels)),
        _section("Training", _curves(history) + _phase_table(summary)),
        _without_folders(_section("Data", _audit(audit)), path, config),
        _without_folders(
            _section("Config", _table(("key", "value"), [(name, str(value)) for name, value in config.items()])), path, config
        ),
    ]
    title = path.resolve().parent.name
    page = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_e(title)}</title><style>{STYLE}</style></head><body>'
    path.write_text(f"{page}<h1>{_e(title)}</h1>{''.join(parts)}</body></html>\n", encoding="utf-8")


# The folders of a path that is absolute, on POSIX or Windows, where a value or a word begins with it; its last part stays.
FOLDERS = re.compile(r"(?<![^\s>(;=])(?:/|[A-Za-z]:[\\/])(?:[^\s/\\<>&]+[/\\])*(?=[^\s/\\<>&])")


def _without_folders(part: str, path: Path, config: Mapping[str, Any]) -> str:
    """Shortens every local path to its last part, because reports are shared."""
    here = path.resolve().parent
    local = [Path(str(config[key])).expanduser() for key in ("data", "data_dir", "out", "weights") if config.get(key)]
    known = {str(form.parent) for one in [here, *local] for form in (one, one.absolute(), one.resolve()) if form.is_absolute()}
    for folder in sorted({*known, str(Path.home()), str(Path.cwd())}, key=len, reverse=True):
        if len(folder) > 1:
            part = part.replace(_e(folder) + "/", "").replace(_e(folder) + "\\", "")
    return FOLDERS.sub("", part)


def _e(text: object) -> str:
    return html.escape(str(text))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _section(title: str, body: str) -> str:
    return f"<h2>{_e(title)}</h2><div class=scroll>{body}</div>" if body else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], kind: str = "") -> str:
    body = "".join("<tr>" + "".join(f"<td>{_e(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return ""
    return f'<table class="{kind}"><tr>{"".join(f"<th>{_e(cell)}</th>" for cell in head)}</tr>{body}</table>'


def _headline(score: Score, split: str, config: Mapping[str, Any]) -> str:
    limits = metrics.interval(score.n, score.accuracy)
    if limits is None:
        return "<p class=muted>Nothing was held out, so there is no score.</p>"
    return (
        f"<p><span class=big>{score.accuracy:.1%}</span> of {score.n:,} {split} examples are labelled correctly "
        f"<span class=muted>(95 % interval {limits[0]:.1%} to {limits[1]:.1%}, recipe {_e(config['recipe'])}, seed {_e(config['seed'])})</span></p>"
        f"<p>{_e(headline(split, score.to_dict()))}</p>"
    )


def _score_rows(figures: Mapping[str, Score]) -> list[tuple[object, ...]]:
    return [(name, _figure(one.accuracy), _figure(one.macro_f1), _figure(one.loss), f"{one.n:,}") for name, one in figures.items()]


def _artifact_rows(summary: Mapping[str, Any]) -> list[tuple[object, ...]]:
    return [
        (
            f"{name} ({one['path']})",
            f"{one['bytes'] / 1e6:.1f} MB",
            "–" if one["latency_ms"] is None else f"{one['latency_ms']:.1f} ms",
            f"{one['max_abs_diff']:.1e}",
            _figure(one["agreement"]),
            _figure(one["accuracy"]),
        )
        for name, one in summary["exports"].items()
    ]


def _class_table(score: Score) -> str:
    rows = sorted(score.per_class, key=lambda one: one.f1)
    return _table(
        ("label", "precision", "recall", "F1", "n"),
        [(one.label, *map(_figure, (one.precision, one.recall, one.f1)), one.n) for one in rows],
    )


def _confusions(score: Score, labels: Sequence[str]) -> str:
    wrong = score.confusion.copy()
    np.fill_diagonal(wrong, 0)
    worst = [np.unravel_index(flat, wrong.shape) for flat in np.argsort(-wrong, axis=None)[:10]]
    pairs = [(labels[t], labels[p], int(wrong[t, p])) for t, p in worst if wrong[t, p]]
    listed = _table(("true label", "predicted label", "count"), pairs) or "<p>No example was confused.</p>"
    return (_matrix(score.confusion, labels) if score.n and len(labels) <= MOST_CLASSES else "") + listed


def _matrix(confusion: np.ndarray, labels: Sequence[str]) -> str:
    totals = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shades = confusion / totals
    head = "<tr><th></th>" + "".join(f"<th>{_e(label)}</th>" for label in labels) + "</tr>"
    body = "".join(
        f"<tr><th>{_e(label)}</th>"
        + "".join(
            f'<td style="background:rgba({"38,132,90" if i == j else "200,70,50"},{0.6 * shades[i, j]:.2f})">{confusion[i, j] or ""}</td>'
            for j in range(len(labels))
        )
        + "</tr>"
        for i, label in enumerate(labels)
    )
    return f"<p class=muted>Rows: true label. Columns: predicted label.</p><table class=matrix>{head}{body}</table>"


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
    return _table(head, rows)


def _audit(audit: Mapping[str, Any]) -> str:
    issues = audit["issues"]
    counted = _table(("issue", "count"), sorted(audit["counts"].items()))
    listed = _table(("kind", "path", "reason", "action"), [(i["kind"], i["path"], i["reason"], i["action"]) for i in issues[:100]])
    more = f"<p class=muted>{len(issues) - 100} more in data_audit.json.</p>" if len(issues) > 100 else ""
    return (counted + listed + more) or "<p>The audit found no issues.</p>"
