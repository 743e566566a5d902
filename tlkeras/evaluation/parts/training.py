"""Training: curves of each phase, what each phase trained, and which layers were frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlkeras.evaluation.report_data import ReportData
from tlkeras.evaluation.report_parts import Section
from tlkeras.tasks.charts import Point, lines
from tlkeras.tasks.markup import escape, figure, table

VALIDATION = "val_"
NOT_DRAWN = ("phase", "epoch")
LOSS = "loss"
MOST = 3  # figures of a phase that are drawn: the loss and two more


def training(data: ReportData) -> Sequence[Section]:
    """Returns the curves of each phase and the table of phases."""
    phases: dict[str, list[Mapping[str, Any]]] = {}
    for row in data.history:
        phases.setdefault(str(row.get("phase", "")), []).append(row)
    drawn = "".join(_phase(name, rows) for name, rows in phases.items())
    return [("Training", drawn + _phase_table(data.summary))]


def _phase(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the curves of one phase; in words where it has one epoch."""
    names = [key for key in rows[0] if key not in NOT_DRAWN and not key.startswith(VALIDATION) and number(rows[0][key]) is not None]
    names = sorted(names, key=lambda key: key != LOSS)[:MOST]
    title = f"<h3>Phase {escape(name)}</h3>" if name else ""
    if len(rows) < 2:
        parts = [f"{label} {figure(value)}" for key in names for label, value in _figures(rows[0], key)]
        return f"{title}<p class=muted>One epoch: {escape(', '.join(parts))}.</p>" if parts else ""
    charts = "".join(f"<figure>{_curves(key, rows)}</figure>" for key in names)
    return f"{title}<div class=charts>{charts}</div>" if charts else ""


def _figures(row: Mapping[str, Any], key: str) -> list[tuple[str, float]]:
    """Returns (label, value) of a figure on the training and on the validation examples."""
    shown = key.replace("_", " ")
    pairs = [(f"training {shown}", number(row.get(key))), (f"validation {shown}", number(row.get(VALIDATION + key)))]
    return [(label, value) for label, value in pairs if value is not None]


def _curves(key: str, rows: Sequence[Mapping[str, Any]]) -> str:
    series: dict[str, list[Point]] = {}
    for index, row in enumerate(rows, start=1):
        for label, value in _figures(row, key):
            series.setdefault(label, []).append(Point(x=index, y=value, title=f"epoch {index}: {label} {value:.4g}"))
    return lines(series, title=f"{key.replace('_', ' ')} of each epoch", x="epoch", y=key.replace("_", " "), whole=True)


def number(value: Any) -> float | None:
    """Returns a cell of the history as a number; None where it is none.

    Example:
        >>> number("0.5"), number(""), number("full"), number(None)
        (0.5, None, None, None)
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _phase_table(summary: Mapping[str, Any]) -> str:
    head = ("phase", "epochs", "best epoch", "parameters trained", "frozen weights verified unchanged")
    rows = [
        (phase["name"], phase["epochs"], phase["best_epoch"], f"{phase['trainable_parameters']:,}", phase["frozen_variables"])
        for phase in summary["phases"]
    ]
    return table(head, rows)


def freezing(data: ReportData) -> Sequence[Section]:
    """Returns which sections of the network trained in the last phase."""
    head = ("section", "layers", "parameters", "trained", "BatchNorm", "rules")
    rows = [
        (row["section"], row["layers"], f"{row['parameters']:,}", f"{row['trained']:,}", row["batch_norm"] or "–", ", ".join(row["rules"]))
        for row in data.summary.get("freeze", ())
    ]
    note = "<p class=muted>Sections from input to output, in the last phase. BatchNorm in inference mode keeps its statistics.</p>"
    return [("Frozen and trained layers", note + table(head, rows) if rows else "")]
