"""Table, figures and plot of the record of `recipes.py`."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from opponents.protocol import Job

OPPONENTS = ("keras-frozen", "keras-full", "sklearn", "sklearn-all", "fastai", "trainer", "setfit")
DEFAULT = "auto"
METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "pearson": "mean Pearson r"}
# Okabe and Ito's colours: tlkeras' default, its other recipes, and the others, which also differ by marker.
COLOURS = {"auto": "#D55E00", "recipe": "#0072B2", "other": "#666666"}
MARKERS = {"auto": "*", "recipe": "o", "other": "s"}

Result = dict[str, Any]
Group = dict[str, Any]


def read(path: Path) -> list[Result]:
    """Returns the results of a record; none where there is no file. A last line that was cut off is ignored."""
    results = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            results.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return results


def name_of(job: Job) -> str:
    """Returns what a job is, in a few words."""
    few = f", {job['few']} of each class" if job.get("few") else ""
    draw = f"fold {job['fold']}" if job.get("fold") is not None else f"seed {job['seed']}"
    return f"{job['dataset']}{few}, {draw}, {job['method']}"


def line(result: Result) -> str:
    """Returns one line about a result."""
    if "error" in result:
        return f"{name_of(result['job'])}: {result['error']}"
    return f"{name_of(result['job'])}: {result['score']:.4f}, {result['seconds']:.0f} s (training {result['train_seconds']:.0f} s)"


# === Figures ===


def title(key: Sequence[Any]) -> str:
    """Returns the heading of a comparison."""
    suite, dataset, few, limit, folds = key
    parts = [dataset, *([f"{folds} folds"] if suite == "folds" else []), *([f"{few} of each class"] if few else [])]
    return ", ".join(parts) + (f" (at most {limit} examples)" if limit else "")


def comparisons(results: Iterable[Result]) -> list[Group]:
    """Returns the comparisons of a record, each with the figures of its methods, best first."""

    def key(result: Result) -> tuple:
        job = result["job"]
        return *(job.get(name) for name in ("suite", "dataset", "few", "limit")), job["folds"] if job["suite"] == "folds" else None

    scored = sorted((result for result in results if "score" in result), key=lambda result: [str(part).zfill(3) for part in key(result)])
    found = []
    for of, members in itertools.groupby(scored, key):
        members = list(members)
        names = list(dict.fromkeys(result["job"]["method"] for result in members))
        methods = [_figures(name, [result for result in members if result["job"]["method"] == name]) for name in names]
        metric = members[0]["job"]["metric"]
        found.append({"of": list(of), "title": title(of), "metric": metric, "methods": sorted(methods, key=lambda method: -method["mean"])})
        found[-1]["default"] = _default(found[-1]["methods"], metric, members)
    return found


def _figures(name: str, results: list[Result]) -> Group:
    scores = {str(r["job"]["seed"]): r["score"] for r in sorted(results, key=lambda r: r["job"]["seed"])}
    values, cold = list(scores.values()), [result for result in results if not result["warm"]]
    medians = {
        of: statistics.median(r[of] for r in cold) if cold else None for of in ("seconds", "train_seconds", "cpu_seconds", "memory_gb")
    }
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"method": name, "n": len(values), "mean": statistics.fmean(values), "sd": deviation, **medians, "scores": scores}


def _default(methods: list[Group], metric: str, results: list[Result]) -> Group | None:
    """Returns how the default stands to the best recipe and the best of the others, over the rounds that both have."""
    by_name = {method["method"]: method for method in methods}
    auto = by_name.get(DEFAULT)
    if auto is None:
        return None
    tested = max(result["tested"] for result in results)
    error = (max(auto["mean"] * (1 - auto["mean"]), 0) / tested) ** 0.5 if metric == "accuracy" else None
    stands: Group = {"tested": tested, "standard_error": error}
    for role, names in (("recipe", set(by_name) - {*OPPONENTS, DEFAULT}), ("other", set(by_name) & set(OPPONENTS))):
        rivals = [by_name[name] for name in names]
        if rivals:
            best = max(rivals, key=lambda method: method["mean"])
            stands[role] = {"best": best["method"], **_against(auto, best)}
            as_good = [m for m in rivals if m["mean"] >= auto["mean"] - (error or 0.0) and m["seconds"]]
            if as_good and auto["seconds"]:
                fastest = min(as_good, key=lambda method: method["seconds"])
                stands[role] |= {"fastest_as_good": fastest["method"], "its_seconds_to_ours": fastest["seconds"] / auto["seconds"]}
    return stands


def _against(ours: Group, theirs: Group) -> Group:
    common = sorted(set(ours["scores"]) & set(theirs["scores"]))
    gains = [ours["scores"][seed] - theirs["scores"][seed] for seed in common]
    ratio = theirs["seconds"] / ours["seconds"] if theirs["seconds"] and ours["seconds"] else None
    gain = {"gain": statistics.fmean(gains) if gains else None, "gain_sd": statistics.stdev(gains) if len(gains) > 1 else None}
    return {**gain, "seconds_to_ours": ratio}


# === Table ===


def table(found: list[Group]) -> str:
    """Returns the figures in Markdown."""
    blocks = []
    for group in found:
        head = ["method", METRICS[group["metric"]], "runs", "seconds", "training", "processor", "GB"]
        rows = [
            [_label(m["method"]), _spread(m), str(m["n"]), *(_number(m[of]) for of in ("seconds", "train_seconds", "cpu_seconds"))]
            for m in group["methods"]
        ]
        for row, method in zip(rows, group["methods"], strict=True):
            row.append(_number(method["memory_gb"], 1))
        lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
        blocks.append("\n".join([f"### {group['title']}", "", *lines, "", *_sentences(group["default"])]).rstrip())
    return "\n\n".join(blocks) + "\n"


def _label(method: str) -> str:
    return f"**{method}**" if method == DEFAULT else f"*{method}*" if method in OPPONENTS else method


def _spread(method: Group) -> str:
    return f"{method['mean']:.3f}" + (f" ± {method['sd']:.3f}" if method["sd"] is not None else "")


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _sentences(default: Group | None) -> list[str]:
    if default is None:
        return []
    said = [
        f"{default['tested']} examples tested"
        + (f", standard error {default['standard_error']:.3f}." if default["standard_error"] else ".")
    ]
    for role, noun in (("recipe", "recipe"), ("other", "other way")):
        of = default.get(role)
        if of and of["gain"] is not None:
            spread = f" ± {of['gain_sd']:.3f}" if of["gain_sd"] is not None else ""
            ratio = f", which takes {of['seconds_to_ours']:.2f} × its seconds" if of["seconds_to_ours"] else ""
            said.append(f"auto against the best {noun}, {of['best']}: {of['gain']:+.3f}{spread}{ratio}.")
        if of and of.get("fastest_as_good"):
            said.append(
                f"Fastest {noun} within a standard error of it: {of['fastest_as_good']}, {of['its_seconds_to_ours']:.2f} × its seconds."
            )
    return [" ".join(said)]


# === Plot ===


def plot(found: list[Group], path: Path) -> None:
    """Draws accuracy against seconds, one panel for each comparison of several methods with seconds, one point for each method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [group for group in found if sum(bool(method["seconds"]) for method in group["methods"]) > 1]
    if not panels:
        return
    columns = min(3, math.ceil(len(panels) ** 0.5))
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(6.4 * columns, 4.8 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, group in zip(axes.flat, panels, strict=False):
        _points(axis, [method for method in group["methods"] if method["seconds"]])
        axis.set_title(group["title"], loc="left", fontsize=11)
        axis.set_xlabel("seconds of the whole process")
        axis.set_ylabel(METRICS[group["metric"]] + " on the test split")
    handles = [
        pyplot.Line2D([], [], linestyle="", marker=MARKERS[role], color=COLOURS[role], label=text, markersize=13 if role == DEFAULT else 7)
        for role, text in ((DEFAULT, "tlkeras, default"), ("recipe", "tlkeras, other recipes"), ("other", "other ways"))
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    figure.canvas.draw()  # fixes where the points are, between which the names are put
    for axis, group in zip(axes.flat, panels, strict=False):
        _names(axis, [method for method in group["methods"] if method["seconds"]])
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _role(method: Group) -> str:
    return DEFAULT if method["method"] == DEFAULT else "other" if method["method"] in OPPONENTS else "recipe"


def _points(axis: Any, methods: list[Group]) -> None:
    axis.set_xscale("log")
    for role, members in (("recipe", (DEFAULT, "recipe")), ("other", ("other",))):
        front = _front([method for method in methods if _role(method) in members])
        if front:
            steps = [*front, (max(method["seconds"] for method in methods), front[-1][1])]
            axis.step([x for x, _ in steps], [y for _, y in steps], where="post", color=COLOURS[role], alpha=0.35)
    for method in methods:
        role = _role(method)
        axis.errorbar(
            method["seconds"], method["mean"], yerr=method["sd"], color=COLOURS[role], marker=MARKERS[role], linestyle="", capsize=2,
            elinewidth=0.6, alpha=0.9, markersize=15 if role == DEFAULT else 6, zorder=4 if role == DEFAULT else 3,
        )  # fmt: skip
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axis.margins(x=0.15, y=0.12)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def _front(methods: list[Group]) -> list[tuple[float, float]]:
    """Returns the best figure reached by then, as (seconds, figure), of methods that are tried one beside the other."""
    front: list[tuple[float, float]] = []
    for method in sorted(methods, key=lambda method: method["seconds"]):
        if not front or method["mean"] > front[-1][1]:
            front.append((method["seconds"], method["mean"]))
    return front


def _names(axis: Any, methods: list[Group]) -> None:
    """Writes each method's name beside its point, where it covers no other name and no point; with a line to it where that is far."""
    at = {method["method"]: axis.transData.transform((method["seconds"], method["mean"])) for method in methods}
    unit, taken = axis.figure.dpi / 72, [(x - 6, y - 6, x + 6, y + 6) for x, y in at.values()]
    for method in sorted(methods, key=lambda method: (_role(method) != DEFAULT, -method["mean"])):
        name, (x, y) = method["method"], at[method["method"]]
        width, height = 5.0 * len(name) * unit, 9 * unit
        candidates = [(dx, dy) for dy in (7, -8, 19, -20, 31, -32, 43, -44, 55, -56, 67, -68) for dx in (9, -9 - 5.0 * len(name))]
        for dx, dy in sorted(candidates, key=lambda offset: abs(offset[1]) + (8 if offset[0] < 0 else 0)):
            low = (x + dx * unit, y + (dy - 4) * unit)
            box = (low[0], low[1], low[0] + width, low[1] + height)
            if not any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken):
                break
        taken.append(box)
        role = _role(method)
        arrow = {"arrowstyle": "-", "color": COLOURS[role], "linewidth": 0.5, "alpha": 0.6, "shrinkB": 3} if abs(dy) > 12 else None
        axis.annotate(
            name, (method["seconds"], method["mean"]), xytext=(dx, dy - 3), textcoords="offset points", fontsize=8, color=COLOURS[role],
            fontweight="bold" if role == DEFAULT else "normal", arrowprops=arrow, zorder=5,
        )  # fmt: skip


def write(results: list[Result], out: Path) -> None:
    """Writes table, figures and plot beside each other, and prints the table."""
    found = comparisons(results)
    text = table(found)
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    plot(found, out.with_suffix(".png"))
    print(text)
