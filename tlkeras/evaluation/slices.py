"""Figures of groups of examples, and which groups are significantly worse than the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlkeras.data.cells import NUMBER, is_missing
from tlkeras.evaluation import intervals
from tlkeras.evaluation.significance import ALPHA, holm, p_text, worse, worse_by_group
from tlkeras.tasks.markup import escape, table
from tlkeras.tasks.measures import Measures

TITLE = "Slices"
QUANTILES = (0.25, 0.5, 0.75)  # where columns of numbers are cut
DISTINCT = 10  # numbers in a column up to which each is a slice of its own
MOST = 20  # slices of a column of texts: the most frequent ones
FEWEST = 10  # examples of a slice; fewer say nothing
MISSING = "missing"
ALONE = "Fisher's exact test where answers are right or wrong, else Mann-Whitney"
IN_GROUPS = "a t-test whose standard error is that of whole groups, Liang & Zeger 1986"
Measured = Callable[[np.ndarray], Measures]  # index of some examples -> their figures


def cut(name: str, values: Sequence[Any]) -> dict[str, np.ndarray]:
    """Returns the slices of a column: their names, and the index of the examples in each, of 10 or more.

    Numbers are cut at their quartiles where more than 10 are distinct; of texts the 20 most frequent are slices.

    Args:
        name: of the column.
        values: one for each example; None where it is missing.
    """
    numbers = np.array([_number(value) for value in values], "float64")
    absent = np.array([is_missing(value) for value in values])
    if np.isfinite(numbers[~absent]).all() and len(np.unique(numbers[~absent])) > DISTINCT:
        slices = _at_quantiles(name, numbers)
    else:
        texts = np.array([MISSING if gone else str(value).strip() for value, gone in zip(values, absent, strict=True)], object)
        frequent = [text for text, _ in Counter(texts[~absent].tolist()).most_common(MOST)]
        slices = {f"{name} = {text}": np.flatnonzero((texts == text) & ~absent) for text in frequent}
    slices[f"{name} {MISSING}"] = np.flatnonzero(absent)
    return {title: index for title, index in slices.items() if len(index) >= FEWEST and len(index) < len(values)}


def _number(value: Any) -> float:
    if isinstance(value, bool) or is_missing(value):
        return np.nan
    if isinstance(value, (int, float, np.number)):
        return float(value)
    return float(value) if NUMBER.fullmatch(str(value).strip()) else np.nan


def _at_quantiles(name: str, numbers: np.ndarray) -> dict[str, np.ndarray]:
    edges = np.unique(np.nanquantile(numbers, QUANTILES))
    position = np.searchsorted(edges, numbers, side="left")  # NaN comes last, and is no member of any
    titles = [f"{name} up to {_edge(edges[0])}"]
    titles += [f"{name} above {_edge(low)} to {_edge(high)}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
    titles += [f"{name} above {_edge(edges[-1])}"]
    return {title: np.flatnonzero((position == index) & np.isfinite(numbers)) for index, title in enumerate(titles)}


def _edge(value: float) -> str:
    """Returns a number with four digits, without an exponent where it is large.

    Example:
        >>> _edge(0.029923), _edge(86020.5)
        ('0.02992', '86,020')
    """
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def evaluate(columns: Mapping[str, Sequence[Any]], measured: Measured, n: int, *, seed: int = 0) -> dict[str, Any]:
    """Returns the headline figure of every slice with its interval, and which are significantly worse than all other examples.

    Args:
        columns: name -> one value for each example.
        measured: index of some examples -> their figures, with their groups.
        n: number of examples.
        seed: of the resamples.

    Returns:
        `title`, `higher`, `share` of the figure; `value`, `low`, `high` of all examples; `groups`, how many there are, or None; `slices`: rows
        with `column`, `slice`, `n`, `value`, `low`, `high`, `rest` (the figure of all other examples), `p` (corrected) and `worse`, the
        worst first.
    """
    everything = measured(np.arange(n))
    figure = everything.headline_figure
    rows: list[dict[str, Any]] = []
    for name, values in columns.items():
        for title, index in cut(name, values).items():
            others = np.setdiff1d(np.arange(n), index)
            inside, rest = measured(index), measured(others)
            family = rest.family_of(rest.headline)
            rows.append(
                {
                    "column": name,
                    "slice": title,
                    "n": len(index),
                    **intervals.headline(inside, seed=seed).to_dict(),
                    "rest": _defined(intervals.point(family.compute, rest.n)[figure.key]),
                    "p": _p_value(everything, index, others),
                }
            )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row.update(p=p, worse=p < ALPHA)
    rows.sort(key=lambda row: row["p"])  # slices of equal p stay in the order of their columns and numbers
    meaning = {"title": figure.title, "higher": figure.higher, "share": figure.share}
    return {**meaning, **intervals.headline(everything, seed=seed).to_dict(), "groups": everything.group_count, "slices": rows}


def _p_value(measures: Measures, index: np.ndarray, others: np.ndarray) -> float:
    """Returns the p-value of one slice, not corrected."""
    if measures.groups is None:
        return worse(measures.mistakes[index], measures.mistakes[others])
    return worse_by_group(measures.mistakes, np.isin(np.arange(measures.n), index), measures.groups)


def _defined(value: np.ndarray) -> float | None:
    return float(value) if np.isfinite(value) else None


# === Text and report ===


def _note(content: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns how slices were tested."""
    grouped = any(part.get("groups") is not None for part in content.values())
    test = IN_GROUPS if grouped else ALONE
    return f"Each slice is tested against all other examples ({test}), and the p-values are corrected for the number of slices (Holm 1979)"


def lines(content: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the slices of each target as lines of the terminal."""
    shown = []
    for target, part in content.items():
        shown.append(f"slices{f' of {target}' if len(content) > 1 else ''}: {part['title']} {intervals.text(part)} on all examples")
        for row in part["slices"]:
            mark = "worse" if row["worse"] else ""
            shown.append(
                f"  {mark:<6} {row['slice']:<40} {intervals.text(row)}, the rest {intervals.number(row['rest'])}, n {row['n']:,}, {p_text(row['p'])}"
            )
        if not part["slices"]:
            shown.append(f"  no slice has {FEWEST} examples or more")
    return [*shown, f"  {_note(content)}"]


def section(content: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """Returns title and HTML of the slices, for the report; see `evaluate`."""
    parts = []
    for target, part in content.items():
        head = f"<h3>{escape(target)}</h3>" if len(content) > 1 else ""
        rows = [
            (row["slice"], row["n"], intervals.text(row), intervals.number(row["rest"]), p_text(row["p"]), "worse" if row["worse"] else "")
            for row in part["slices"]
        ]
        shown = table(("slice", "n", f"{part['title']} (95 % interval)", "all others", "p, corrected", ""), rows)
        parts.append(head + (shown or f"<p>No slice has {FEWEST} examples or more.</p>"))
    return TITLE, "".join(parts) + f"<p class=muted>{escape(_note(content))}.</p>"
