"""A recommendation as a plot, as lines of text, and as a section of a report; each is made of the content of `recommend.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkeras import files
from tlkeras.selection.recommend import left_early, on_front
from tlkeras.tasks.markup import escape, figure, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MB = 1e6
FRONT, BEATEN = "#2463b8", "#8a97a8"  # colours of the points that no other one beats, and of the others
HOLLOW, INK = "white", "#5d6b7c"  # of the points that left early
EARLY = "hollow: left the comparison early; the figure is of fewer examples (n), and not comparable with the others"
SHOWN = 10  # backbones with published figures below a table
TITLE = "Choice of the backbone"
LATENCIES = {
    "latency_int8_ms": "milliseconds for one example, int8 in LiteRT",
    "latency_float32_ms": "milliseconds for one example, float32 in LiteRT",
}
SECONDS = "milliseconds for one example, features computed in batches here"


def plot(content: Mapping[str, Any], path: Path) -> None:
    """Writes the plot of a recommendation; see `drawn`.

    Args:
        content: of `recommend.json`.
        path: `.png`, `.svg` or `.pdf`.
    """
    with files.aside(path) as temporary:
        drawn(content).savefig(temporary, dpi=120)


def drawn(content: Mapping[str, Any]) -> Figure:
    """Returns the figure of each backbone against its size and against its time; those that no other one beats are joined.

    What left the comparison early is hollow and on no line: its figure is of fewer examples.

    Args:
        content: of `recommend.json`.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    records, kind = content["ranking"], "int8" if content["integers"] else "float32"
    measured = f"latency_{kind}_ms"
    complete = all(record[measured] is not None for record in records)
    plotted = Figure(figsize=(12, max(3.6, 0.34 * len(records) + 1.6)), layout="constrained")
    ranks, *costs = plotted.subplots(1, 3, width_ratios=(5, 4, 4))
    _ranking(ranks, content)
    _panel(costs[0], records, f"bytes_{kind}", 1 / MB, f"MB of the {kind} file")
    if complete:
        _panel(costs[1], records, measured, 1.0, LATENCIES[measured])
    else:
        _panel(costs[1], records, "seconds_per_example", 1e3, SECONDS)
    costs[1].sharey(costs[0])
    costs[1].tick_params(labelleft=False)
    costs[0].set_ylabel(content["figure"])
    if any(left_early(records)):
        handle = Line2D([], [], linestyle="", color=BEATEN, marker="o", markerfacecolor=HOLLOW, markersize=9, label=EARLY)
        plotted.legend(handles=[handle], loc="outside lower center", frameon=False)
    plotted.suptitle(
        f"Backbones by {content['figure']} on these data; up and left is better, and a line joins those that no other one beats"
    )
    return plotted


def _ranking(axes: Any, content: Mapping[str, Any]) -> None:
    """Draws the figure of each backbone with its interval, the best at the top, under the numbers that the other panels show."""
    records = content["ranking"]
    names = []
    for rank, (record, early) in enumerate(zip(records, left_early(records), strict=True)):
        colour = FRONT if record["backbone"] == content["recommended"] else BEATEN
        low, high = record["interval"]
        axes.plot([low, high], [rank, rank], color=colour, linewidth=1.0 if early else 2.5, solid_capstyle="round", alpha=0.7, zorder=1)
        axes.plot(record["figure"], rank, "o", color=colour, markerfacecolor=HOLLOW if early else colour)
        count = f" (n {record['examples']:,})" if early else ""
        names.append(f"{record['backbone']}{count}  {rank + 1}")
    axes.set_yticks(range(len(records)), names)
    for label, record in zip(axes.get_yticklabels(), records, strict=True):
        label.set_fontweight("bold" if record["backbone"] == content["recommended"] else "normal")
    axes.set_ylim(len(records) - 0.4, -0.6)
    axes.set_xlabel(f"{content['figure']}, cross-validated, with 95 % interval")
    axes.grid(axis="x", alpha=0.3)


def _panel(axes: Any, records: Sequence[Mapping[str, Any]], field: str, scale: float, label: str) -> None:
    """Draws figures against costs, each point with its rank; those whose cost is not known are left out."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    best, early = on_front(records, field), left_early(records)
    points = [None if record[field] is None else (record[field] * scale, record["figure"]) for record in records]
    line = sorted(point for point, kept in zip(points, best, strict=True) if kept and point)
    axes.plot([cost for cost, _ in line], [value for _, value in line], color=FRONT, linewidth=1, alpha=0.6, zorder=1)
    for index, point in reversed(list(enumerate(points))):  # the best is drawn last, on top
        if point is None:
            continue
        colour = FRONT if best[index] else BEATEN
        face, edge, ink = (HOLLOW, colour, INK) if early[index] else (colour, "white", "white")
        axes.plot(*point, "o", markersize=14, color=face, markeredgecolor=edge, zorder=99 - index)
        text = {"ha": "center", "va": "center_baseline", "color": ink, "fontsize": 8, "zorder": 99.5 - index}
        axes.annotate(str(index + 1), point, **text)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label.replace(", ", ",\n"))
    axes.margins(x=0.2, y=0.15)
    axes.grid(alpha=0.3)


# === Words ===


def rows(content: Mapping[str, Any]) -> dict[str, dict[str, float | int | None]]:
    """Returns the table of a recommendation: backbone -> column -> figure, best first; without columns that are empty for all."""
    cells: dict[str, dict[str, float | int | None]] = {
        record["backbone"]: {
            content["figure"]: record["figure"],
            "from": record["interval"][0],
            "to": record["interval"][1],
            "examples": record["examples"],
            "LogME": record["logme"],
            "H-score": record["h_score"],
            "M params": round(record["parameters"] / 1e6, 2),
            "MB float": round(record["bytes_float32"] / MB, 1),
            "MB int8": round(record["bytes_int8"] / MB, 1),
            "ms int8": record["latency_int8_ms"],
            "ms float": record["latency_float32_ms"],
        }
        for record in content["ranking"]
    }
    empty = {name for name in next(iter(cells.values()), {}) if all(row[name] is None for row in cells.values())}
    return {backbone: {name: value for name, value in row.items() if name not in empty} for backbone, row in cells.items()}


def lines(content: Mapping[str, Any]) -> list[str]:
    """Returns what stands below the table: the reason, what was left out and why, and the command to run."""
    text = [f"recommended: {content['reason']}"]
    text += [_unbeaten(content), *filter(None, [_early(content)])]
    text += [
        f"left after {record['examples']:,} examples: {record['backbone']}: {record['left']}"
        for record in content["ranking"]
        if record["left"]
    ]
    text += [f"excluded: {', '.join(names)}: {why}" for why, names in _by_value(content["excluded"]).items()]
    if content["published"]:
        shown = content["published"][:SHOWN]
        text.append("not compared, as their weights are not here; published figures, which say less than a probe on your data:")
        text += [f"  {row['backbone']}: {row['measure']} {row['value']:.3f} ({row['source']}); {row['licence']}" for row in shown]
        more = len(content["published"]) - len(shown)
        text += [f"  and {more} more in recommend.json"] if more else []
    if content["unavailable"]:
        names = content["unavailable"]
        text.append(
            f"weights not here ({len(names)}): {', '.join(names[:8])}{', …' if len(names) > 8 else ''}; `tlkeras weights fetch NAME` downloads"
        )
    owned = _by_value({record["backbone"]: record["licence"] for record in content["ranking"]})
    licences = "; ".join(f"{licence}: {', '.join(names)}" for licence, names in owned.items())
    text.append(f"licences of the weights: {licences}")
    estimated = [record["backbone"] for record in content["ranking"] if not record["bytes_measured"]]
    if estimated:
        text.append("sizes are estimated from parameters, 4 bytes each in float32 and 1 in int8; --measure writes the files and times them")
    return [*text, f"LogME and H-score on {content['scores_on']:,} examples, beside the probe, which decides", f"run: {content['command']}"]


def _unbeaten(content: Mapping[str, Any]) -> str:
    """Returns the Pareto front in words."""
    records = content["ranking"]
    names = ", ".join(record["backbone"] for record in records if record["pareto"])
    most = max(record["examples"] for record in records)
    return f"no other one has both a higher {content['figure']} and a smaller file, of those compared on {most:,} examples: {names}"


def _early(content: Mapping[str, Any]) -> str:
    """Returns which figures are of fewer examples; nothing where none is."""
    records = content["ranking"]
    early = [f"{record['backbone']} ({record['examples']:,})" for record, left in zip(records, left_early(records), strict=True) if left]
    return f"figures of fewer examples, which do not compare with the others: {', '.join(early)}" if early else ""


def _by_value(values: Mapping[str, str]) -> dict[str, list[str]]:
    """Returns value -> the names that have it."""
    grouped: dict[str, list[str]] = {}
    for name, value in values.items():
        grouped.setdefault(value, []).append(name)
    return grouped


def section(content: Mapping[str, Any]) -> tuple[str, str]:
    """Returns title and HTML of a section of a report."""
    head = ("backbone", content["figure"], "95 % interval", "examples", "LogME", "H-score", "M params", "MB int8", "licence")
    body = [
        (
            record["backbone"],
            figure(record["figure"]),
            f"{record['interval'][0]:.3f} to {record['interval'][1]:.3f}",
            f"{record['examples']:,}",
            figure(record["logme"]),
            figure(record["h_score"]),
            f"{record['parameters'] / 1e6:.1f}",
            f"{record['bytes_int8'] / MB:.1f}",
            record["licence"],
        )
        for record in content["ranking"]
    ]
    note = "; ".join(filter(None, [_unbeaten(content), _early(content)]))
    return TITLE, f"<p>{escape(content['reason'])}.</p>{table(head, body)}<p class=muted>{escape(note)}.</p>"
