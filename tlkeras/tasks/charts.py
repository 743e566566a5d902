"""Charts of reports: drawn by matplotlib as SVG, which is part of the page, scales, prints, and needs no script.

Colours are names of the page's CSS variables, so that one chart serves light and dark pages. Points may have a title, which browsers
show under the pointer, and a link.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkeras.tasks.markup import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = 8  # colours `series-1` to `series-8`; more series than that differ by marker as well
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH, HEIGHT = 384, 264  # of a chart, in CSS pixels: two stand side by side on a screen, one fills a phone
DOTS = 72  # per inch, the unit of matplotlib's SVG
# Drawn in these colours, of which the page's style makes its own: `style` of an SVG accepts CSS variables.
NAMES = ("ink", "muted", "line", "card", *(f"series-{index + 1}" for index in range(SERIES)))
STAND_INS = {name: f"#0101{index + 16:02x}" for index, name in enumerate(NAMES)}
LIGHT = dict(zip(NAMES, ("#18212d", "#515d6c", "#d5dce5", "#ffffff"), strict=False)) | {
    f"series-{index + 1}": value
    for index, value in enumerate(("#2467cf", "#c2570c", "#1a7f4e", "#c02a5c", "#7a4fd0", "#0f7484", "#86691a", "#5b6472"))
}  # of images, which have no style: those of the page on white


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a chart: what is shown under the pointer, and where it leads."""

    x: float
    y: float
    title: str = ""
    href: str = ""


_images: ContextVar[dict[str, bytes] | None] = ContextVar("images", default=None)


@contextmanager
def images() -> Iterator[dict[str, bytes]]:
    """Charts that are drawn in the body become PNG images, for programs that show no HTML: title -> PNG."""
    drawn: dict[str, bytes] = {}
    token = _images.set(drawn)
    try:
        yield drawn
    finally:
        _images.reset(token)


def _tint(name: str) -> str:
    return STAND_INS[name] if _images.get() is None else LIGHT[name]


def colour(index: int) -> str:
    """Returns the colour of a series, as matplotlib accepts it."""
    return _tint(f"series-{index % SERIES + 1}")


# === Kinds of charts ===


def lines(
    series: Mapping[str, Sequence[Point]],
    *,
    title: str,
    x: str,
    y: str,
    diagonal: bool = False,
    limits: tuple[float, float] | None = None,
    whole: bool = False,
) -> str:
    """Returns lines with a marker at each point.

    Args:
        series: name -> points, from left to right.
        title: what the chart shows, for people who do not see it.
        x, y: what the axes are.
        diagonal: whether to draw the line on which both are equal.
        limits: ends of the vertical axis.
        whole: whether the horizontal axis counts something.
    """
    from matplotlib.ticker import MaxNLocator

    with _axes() as (figure, axes):
        if diagonal:
            axes.plot((0, 1), (0, 1), color=_tint("muted"), linewidth=1, linestyle=(0, (4, 4)))
        for index, (name, points) in enumerate(series.items()):
            axes.plot(
                [point.x for point in points],
                [point.y for point in points],
                color=colour(index),
                marker=MARKERS[index % len(MARKERS)],
                markersize=4 if len(points) <= 40 else 1.5,
                linewidth=1.8,
                label=name,
                gid=f"points-{index}",
            )
        if limits:
            axes.set_ylim(*limits)
        if whole:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _labelled(axes, x, y, legend=len(series) > 1)
        return _svg(figure, title, list(series.values()))


def scatter(
    groups: Mapping[str, Sequence[Point]],
    *,
    title: str,
    x: str = "",
    y: str = "",
    plain: bool = False,
    diagonal: bool = False,
    log: bool = False,
    named: bool = False,
    size: float = 26,
) -> str:
    """Returns points, those of a group in one colour.

    Args:
        groups: name -> points.
        title: what the chart shows.
        x, y: what the axes are.
        plain: whether the axes mean nothing, as those of a map: no numbers stand at them.
        diagonal: whether both axes have the same scale and the line on which both are equal.
        log: whether the horizontal axis is logarithmic.
        named: whether the name of its group stands at each point instead of a legend.
        size: area of a point, in square points.
    """
    with _axes(height=HEIGHT * (1.25 if plain or diagonal else 1)) as (figure, axes):
        for index, points in enumerate(groups.values()):
            drawn = axes.scatter(
                [point.x for point in points],
                [point.y for point in points],
                s=size,
                color=colour(index),
                marker=MARKERS[index // SERIES % len(MARKERS)],
                edgecolors=_tint("card"),
                linewidths=0.5,
                label=list(groups)[index],
                gid=f"points-{index}",
                zorder=3,
            )
            drawn.set_clip_on(False)
        if named:
            _names(axes, groups)
        if log:
            axes.set_xscale("log")
        if diagonal:
            _equal(axes, groups)
        if plain:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        _labelled(axes, x, y, legend=len(groups) > 1 and not named)
        return _svg(figure, title, list(groups.values()))


def matrix(counts: np.ndarray, labels: Sequence[str], *, title: str) -> str:
    """Returns a confusion matrix as a chart, for where no HTML table can be.

    Args:
        counts: int (classes, classes); rows are true labels.
        labels: of both axes.
        title: what the chart shows.
    """
    side = max(HEIGHT, 22 * len(labels) + 90)
    with _axes(width=side + 40, height=side) as (figure, axes):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.4)
        for row, column in np.argwhere(counts):
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=9)
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
        axes.grid(visible=False)
        _labelled(axes, "predicted label", "true label", legend=False)
        return _svg(figure, title, [])


def _names(axes: Axes, groups: Mapping[str, Sequence[Point]]) -> None:
    for name, points in groups.items():
        for point in points:
            axes.annotate(name, (point.x, point.y), xytext=(6, 5), textcoords="offset points", color=_tint("ink"), fontsize=10)
    axes.margins(0.18)


def _equal(axes: Axes, groups: Mapping[str, Sequence[Point]]) -> None:
    """Gives both axes the same scale and draws the diagonal, so that errors are seen as they are."""
    values = np.array([(point.x, point.y) for points in groups.values() for point in points], float)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    room = 0.05 * (high - low) or abs(low) or 1.0
    ends = (low - room, high + room)
    axes.plot(ends, ends, color=_tint("muted"), linewidth=1, linestyle=(0, (4, 4)))
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal")


# === From a figure to a part of a page ===


@contextmanager
def _axes(width: float = WIDTH, height: float = HEIGHT) -> Iterator[tuple[Figure, Axes]]:
    """Yields a figure with one pair of axes in the style of the page; the style of the process stays as it is."""
    import matplotlib
    from matplotlib.figure import Figure

    muted, line = _tint("muted"), _tint("line")
    style: Any = {
        "svg.fonttype": "none",  # texts stay texts: they are selected, searched and read aloud
        "svg.hashsalt": "tlkeras",  # equal charts are equal files
        "font.size": 11,
        "axes.edgecolor": line,
        "axes.labelcolor": muted,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": line,
        "grid.linewidth": 0.6,
        "xtick.color": line,
        "ytick.color": line,
        "xtick.labelcolor": muted,
        "ytick.labelcolor": muted,
        "text.color": _tint("ink"),
        "legend.frameon": False,
        "text.parse_math": False,  # names of classes and targets are no formulas
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width / DOTS, height / DOTS), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        yield figure, axes


LEGEND = 20  # names in a legend; of more groups none is shown


def _labelled(axes: Axes, x: str, y: str, *, legend: bool) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    handles, names = axes.get_legend_handles_labels()
    if legend and len(names) <= LEGEND:
        columns = max(1, min(4, 46 // max(6, max(map(len, names)) + 4)))
        axes.figure.legend(handles, names, loc="outside upper left", ncols=columns, fontsize=10, handlelength=1.2, columnspacing=1.0)


def _svg(figure: Figure, title: str, groups: Sequence[Sequence[Point]]) -> str:
    """Returns a figure as SVG inside HTML: no header, ids that are unique on the page, the page's colours and fonts."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    drawn_images = _images.get()
    if drawn_images is not None:
        drawn_images[title] = _png(figure)
        return ""
    file = io.StringIO()
    FigureCanvasSVG(figure)
    with _any_script():
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"<!--.*?-->\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", drawn, flags=re.DOTALL)  # would hold for the whole page
    drawn = drawn.replace("xlink:href", "href")
    for index, points in enumerate(groups):
        drawn = _with_titles(drawn, f"points-{index}", points)
    for name, value in STAND_INS.items():
        drawn = drawn.replace(value, f"var(--{name})")
    drawn = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", drawn)
    drawn = re.sub(r"font-family: [^;\"]*; ?", "", drawn)
    drawn = re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", drawn)
    drawn = _own_ids(drawn)
    view = re.search(r'viewBox="([^"]+)"', drawn)
    links = any(point.href for points in groups for point in points)
    # An image has no parts for screen readers; a group has, and its links are among them.
    start = f'<svg class=chart viewBox="{view[1] if view else ""}" role="{"group" if links else "img"}" aria-label="{escape(title)}">'
    return start + re.sub(r">\s+<", "><", drawn[drawn.index(">") + 1 :].strip())


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = io.BytesIO()
    FigureCanvasAgg(figure)
    with _any_script():
        figure.savefig(content, format="png", dpi=2 * DOTS, facecolor=LIGHT["card"])
    return content.getvalue()


@contextmanager
def _any_script() -> Iterator[None]:
    """Labels may be of any script: a page is shown in the fonts of its reader, whatever matplotlib has to measure them with."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        yield


def _with_titles(drawn: str, gid: str, points: Sequence[Point]) -> str:
    """Gives each marker of a group its title and its link; markers stand in the order of the points."""
    start = drawn.find(f'<g id="{gid}">')
    if start < 0 or not any(point.title or point.href for point in points):
        return drawn
    end = _end_of_group(drawn, start)
    waiting = iter(points)

    def titled(match: re.Match[str]) -> str:
        point = next(waiting, None)
        if point is None:
            return match[0]
        mark = f"{match[0][:-2].rstrip()}><title>{escape(point.title)}</title></use>" if point.title else match[0]
        return f'<a href="{escape(point.href)}">{mark}</a>' if point.href else mark

    return drawn[:start] + re.sub(r"<use [^>]*/>", titled, drawn[start:end]) + drawn[end:]


def _end_of_group(drawn: str, start: int) -> int:
    depth = 0
    for match in re.finditer(r"<g[ >]|</g>", drawn[start:]):
        depth += -1 if match[0] == "</g>" else 1
        if not depth:
            return start + match.end()
    return len(drawn)


def _own_ids(drawn: str) -> str:
    """Drops ids that nothing refers to, and makes the others unique by the content of the chart."""
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawn))
    mark = hashlib.sha256(drawn.encode()).hexdigest()[:8]
    drawn = re.sub(r' id="([^"]+)"', lambda match: f' id="c{mark}-{match[1]}"' if match[1] in used else "", drawn)
    drawn = re.sub(r"url\(#([^)]+)\)", rf"url(#c{mark}-\1)", drawn)
    return re.sub(r'<use href="#([^"]+)"', rf'<use href="#c{mark}-\1"', drawn)
