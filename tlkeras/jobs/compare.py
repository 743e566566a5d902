"""Compare runs: their figures against the time they took, their size and their latency. Reads the run folders alone and loads no TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tlkeras import files
from tlkeras.errors import ConfigError, DataError, OutputError
from tlkeras.evaluation import report
from tlkeras.evaluation.parts.overview import duration, size
from tlkeras.evaluation.report_parts import Section
from tlkeras.jobs import run_folder
from tlkeras.jobs.run_folder import Run
from tlkeras.tasks.charts import Point, scatter
from tlkeras.tasks.markup import escape, figure, table
from tlkeras.tasks.registry import Task, task_for, task_of

NOT_SETTINGS = ("out",)  # keys that differ between all runs
LONGEST = 60  # characters of a value in the table of settings


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """One run.

    Args:
        name: of the run, different from those of the others.
        backbone, recipe, task: of its config.
        split: that its figure was measured on.
        measure: what the figure is.
        figure: None where nothing was held out.
        n: examples of that split.
        seconds: from data to artifacts.
        bytes, smallest: size of the smallest artifact, and its format.
        latency_ms, fastest: latency at batch 1 of the fastest artifact, and its format.
        fingerprint: of data and splits.
        comparable: whether it was measured on the same examples as the first run.
    """

    name: str
    backbone: str
    recipe: str
    task: str
    split: str
    measure: str
    figure: float | None
    n: int
    seconds: float | None
    bytes: int | None
    smallest: str
    latency_ms: float | None
    fastest: str
    fingerprint: str | None
    comparable: bool = True


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several runs side by side.

    Args:
        runs: in the order in which they were named.
        differences: config key -> name of a run -> value, of the keys whose values differ.
        warnings: which runs cannot be compared, and why.
    """

    runs: tuple[RunFigures, ...]
    differences: Mapping[str, Mapping[str, Any]]
    warnings: tuple[str, ...]

    @property
    def measure(self) -> str:
        """What the figure of the first run is."""
        return self.runs[0].measure

    def to_dict(self) -> dict[str, Any]:
        """Returns what `tlkeras compare --json` prints."""
        return {"runs": [asdict(run) for run in self.runs], "differences": self.differences, "warnings": list(self.warnings)}

    def rows(self) -> list[tuple[str, ...]]:
        """Returns the cells of the table; `HEAD` names them."""
        return [_cells(run) for run in self.runs]


HEAD = ("run", "backbone", "recipe", "figure", "n", "time", "smallest artifact", "fastest artifact", "comparable")


def _cells(run: RunFigures) -> tuple[str, ...]:
    return (
        run.name,
        run.backbone,
        run.recipe,
        "–" if run.figure is None else f"{run.figure:.3f} {run.measure} ({run.split})",
        f"{run.n:,}",
        "–" if run.seconds is None else duration(run.seconds),
        "–" if run.bytes is None else f"{size(run.bytes)} ({run.smallest})",
        "–" if run.latency_ms is None else f"{run.latency_ms:.2f} ms ({run.fastest})",
        "yes" if run.comparable else "no",
    )


def compare(runs: Sequence[str | Path], out: str | Path | None = None) -> Comparison:
    """Compares finished runs: their figures on held-out examples against seconds, size and latency, and the settings that differ.

    Args:
        runs: folders of two or more runs. The first is the one that the others are compared with.
        out: HTML file to write, with plots; none when None.

    Returns:
        The runs, and which of them were not measured on the same examples.

    Raises:
        ConfigError: when there are fewer than two.
        DataError: when one is no finished run.
        OutputError: when the page cannot be written.

    Example:
        ```python
        for run in tlkeras.compare(["runs/photos", "runs/photos-full"]).runs:
            print(run.name, run.figure, run.seconds, run.comparable)
        ```
    """
    if isinstance(runs, str | Path) or len(runs) < 2:
        raise ConfigError("compare received fewer than two runs; expected the folders of two or more: tlkeras compare runs/a runs/b")
    opened = [run_folder.finished(path) for path in runs]
    if out is not None:
        _check_out(Path(out))
    names = _names([run.root for run, _ in opened])
    first = opened[0][1]
    figures = tuple(_figures(name, run, summary, first) for name, (run, summary) in zip(names, opened, strict=True))
    comparison = Comparison(
        runs=figures,
        differences=_differences(dict(zip(names, (summary["config"] for _, summary in opened), strict=True))),
        warnings=tuple(_warning(run, figures[0]) for run in figures if not run.comparable),
    )
    if out is not None:
        files.write(Path(out), page(comparison))
    return comparison


def _check_out(out: Path) -> None:
    if out.is_dir() or not out.parent.is_dir():
        what = "is a folder" if out.is_dir() else f"is in {str(out.parent)!r}, which does not exist"
        raise OutputError(f"--out {str(out)!r} {what}; expected the name of an HTML file in an existing folder")


def _names(roots: Sequence[Path]) -> list[str]:
    """Returns a name for each run: that of its folder, with as many of the folders above it as tell the runs apart."""
    parts = [root.resolve().parts for root in roots]
    for depth in range(1, max(map(len, parts)) + 1):
        names = [str(Path(*own[-depth:])) for own in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{own[-1]} ({index + 1})" for index, own in enumerate(parts)]  # one of them is named twice


def _figures(name: str, run: Run, summary: Mapping[str, Any], first: Mapping[str, Any]) -> RunFigures:
    config, split = summary["config"], _held_out(summary)
    task, record = task_of(config), summary[split]
    exports = list(summary["exports"].items())
    smallest, least = min(((form, own["bytes"]) for form, own in exports), key=lambda pair: pair[1], default=("", None))
    timed = [(form, own["latency_ms"]) for form, own in exports if own.get("latency_ms") is not None]
    fastest, latency = min(timed, key=lambda pair: pair[1], default=("", None))
    return RunFigures(
        name=name,
        backbone=str(config.get("backbone", "")),
        recipe=str(config.get("recipe", "")),
        task=task.name,
        split=split,
        measure=task.figure,
        figure=_figure(task, record, run),
        n=record["n"],
        seconds=summary.get("timing", {}).get("total"),
        bytes=least,
        smallest=smallest,
        latency_ms=latency,
        fastest=fastest,
        fingerprint=_fingerprint(summary),
        comparable=_measured_on(summary) == _measured_on(first),
    )


def _held_out(summary: Mapping[str, Any]) -> str:
    return "test" if summary["test"]["n"] else "val"


def _fingerprint(summary: Mapping[str, Any]) -> str | None:
    return summary.get("data", {}).get("fingerprint")


def _measured_on(summary: Mapping[str, Any]) -> tuple[object, ...]:
    return (_fingerprint(summary), _held_out(summary), task_of(summary["config"]).name)


def _figure(task: Task, record: Mapping[str, Any], run: Run) -> float | None:
    """Returns the figure of a task, of which more is better; of several targets the mean of theirs, and None where one has none."""
    if "targets" not in record:
        value = record.get(task.key) if task.key else None
        problem = files.misfit(value, (float, None), task.figure)
        if problem:
            raise DataError(f"in the metrics.json of {str(run.root)!r}, {problem}; it was changed after the run; restore it")
        return value
    parts = run_folder.read_target(run).parts
    values = [_figure(task_for(part.kind), record["targets"].get(part.name, {}), run) for part in parts]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _differences(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    keys = dict.fromkeys(key for config in configs.values() for key in config if key not in NOT_SETTINGS)
    values = {key: {name: config.get(key) for name, config in configs.items()} for key in keys}
    return {key: own for key, own in values.items() if len({json.dumps(value) for value in own.values()}) > 1}


def _warning(run: RunFigures, first: RunFigures) -> str:
    if run.task != first.task:
        reason = f"it predicts another kind of target ({run.task}, not {first.task})"
    elif run.fingerprint != first.fingerprint:
        marks = [(own.fingerprint or "none")[:8] for own in (run, first)]
        reason = f"its data or splits differ (fingerprint {marks[0]}, not {marks[1]})"
    else:
        reason = f"it was measured on the {run.split} split, not on the {first.split} split"
    return f"{run.name} is not comparable with {first.name}: {reason}"


# === The page ===


def page(comparison: Comparison) -> str:
    """Returns the comparison as a page in the style of the reports."""
    warnings = "".join(f"<li>{escape(text)}</li>" for text in comparison.warnings)
    flagged = f"<h3>Not comparable</h3><ul>{warnings}</ul>" if warnings else "<p>All were measured on the same examples.</p>"
    names = [run.name for run in comparison.runs]
    settings = [(key, *(_shown(values[name]) for name in names)) for key, values in comparison.differences.items()]
    parts: list[Section] = [
        ("", f"<p>{escape(_best(comparison))}</p>{flagged}"),
        ("Runs", table(HEAD, comparison.rows())),
        ("Figure against cost", f"<div class=charts>{_charts(comparison)}</div>"),
        ("Settings that differ", table(("key", *names), settings) or "<p>None.</p>"),
    ]
    return report.page(f"{len(names)} runs", "comparison of runs", parts)


def setting_text(value: Any) -> str:
    """Returns the value of a setting as tables show it.

    Example:
        >>> setting_text(None), setting_text([]), setting_text(["tflite", "onnx"])
        ('–', 'none', 'tflite, onnx')
    """
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "–" if value is None else str(value)


def _shown(value: Any) -> str:
    """Returns a value without its folders, because pages are shared."""
    text = Path(value).name if isinstance(value, str) and Path(value).is_absolute() else setting_text(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _best(comparison: Comparison) -> str:
    known = [run for run in comparison.runs if run.comparable and run.figure is not None]
    if not known:
        return "No run has a figure on held-out examples."
    best = max(known, key=lambda run: run.figure or 0.0)
    return f"Best of those that can be compared: {best.name}, {best.measure} {figure(best.figure)} on {best.n:,} {best.split} examples."


def _charts(comparison: Comparison) -> str:
    axes = (
        ("seconds", "seconds from data to artifacts", 1.0),
        ("bytes", "MB of the smallest artifact", 1e6),
        ("latency_ms", "ms at batch 1", 1.0),
    )
    drawn = ""
    for key, title, unit in axes:
        groups = {}
        for run in comparison.runs:
            cost = getattr(run, key)
            if cost is not None and run.figure is not None and run.comparable:
                text = f"{run.name}: {run.measure} {run.figure:.3f}, {cost / unit:.3g} {title}"
                groups[run.name] = [Point(x=cost / unit, y=run.figure, title=text)]
        if groups:
            chart = scatter(groups, title=f"{comparison.measure} against {title}", x=title, y=comparison.measure, named=True, size=64)
            drawn += f"<figure>{chart}</figure>"
    return drawn or "<p>No run has a figure and a cost.</p>"
