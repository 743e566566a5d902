"""What the folds of a cross-validation say together: mean, deviation and interval of each figure, and how a report shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkeras.progress import score_text
from tlkeras.tasks.markup import escape, table

FORMAT = 1
LEVEL = 0.95
METHOD = "corrected resampled t (Nadeau & Bengio 2003, doi:10.1023/A:1024068626366)"
TITLE = "Cross-validation"
COUNT = "n"  # the cell that is no figure
SHOWN = 20  # folds in a table on the screen


def estimate(values: Sequence[float], tested: float) -> dict[str, float | None]:
    """Returns mean, standard deviation and 95 % interval of a figure over the folds.

    Folds train on nearly the same examples, so their figures vary less than those of independent data would, and the usual t interval is too
    narrow. The correction of Nadeau and Bengio (2003, doi:10.1023/A:1024068626366) multiplies the variance s² of J figures by
    1 / J + n_test / n_train instead of 1 / J; for repeated folds see Bouckaert and Frank (2004, doi:10.1007/978-3-540-24775-3_3).

    Args:
        values: the figure of each fold of each repeat, 2 or more.
        tested: examples tested / examples trained on, in a fold.

    Returns:
        `mean`, `sd` (of a sample), `low` and `high`; all but the mean None for a single value.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": mean, "sd": None, "low": None, "high": None}
    from scipy import stats  # takes a while to import

    sd = float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * sd * math.sqrt(1 / len(values) + tested)
    return {"mean": mean, "sd": sd, "low": mean - half, "high": mean + half}


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Returns the estimate of each figure that every fold has.

    Args:
        rows: of each fold: `train` and `test`, numbers of examples, and `figures`, name -> value or None.
    """
    tested = sum(row["test"] for row in rows) / sum(row["train"] for row in rows)
    values = {name: [row["figures"][name] for row in rows] for name in rows[0]["figures"] if name != COUNT}
    return {name: estimate(column, tested) for name, column in values.items() if None not in column}


def interval_text(part: Mapping[str, float | None]) -> str:
    """Returns an estimate in words: `0.953 ± 0.012 (0.940 to 0.966)`."""
    mean, sd, low, high = (_cell(part[name]) for name in ("mean", "sd", "low", "high"))
    return mean if part["sd"] is None else f"{mean} ± {sd} ({low} to {high})"


def described(content: Mapping[str, Any]) -> str:
    """Returns how often what was trained, in words."""
    repeats = f", {content['repeats']} times" if content["repeats"] > 1 else ""
    grouped = f"; no group of {content['grouped_by']!r} on both sides" if content["grouped_by"] else ""
    return f"{content['folds']} folds{repeats}, {content['examples']:,} examples, recipe {content['recipe']}{grouped}"


def lines(content: Mapping[str, Any]) -> list[str]:
    """Returns the estimates as lines of text."""
    shown = [f"{name} {interval_text(part)}" for name, part in content["figures"].items()]
    return [f"mean ± standard deviation over the folds (95 % interval): {'; '.join(shown)}"]


def cells(content: Mapping[str, Any]) -> dict[str, dict[str, float | int | None]]:
    """Returns the table of the screen: fold -> its figures, where they are few; and their mean and deviation."""
    rows = {_name(content, row): row["figures"] for row in content["rows"]} if len(content["rows"]) <= SHOWN else {}
    summaries = {title: {name: part[key] for name, part in content["figures"].items()} for title, key in (("mean", "mean"), ("sd", "sd"))}
    columns = list(content["rows"][0]["figures"])
    return {title: {name: row.get(name) for name in columns} for title, row in {**rows, **summaries}.items()}


def section(content: Mapping[str, Any]) -> tuple[str, str]:
    """Returns title and HTML of the estimates, for the report.

    Args:
        content: of `cross_validation.json`.
    """
    names = list(content["rows"][0]["figures"])
    estimates = [(name, *(_cell(part[key]) for key in ("mean", "sd", "low", "high"))) for name, part in content["figures"].items()]
    folds = [(_name(content, row), f"{row['train']:,}", *(_cell(row["figures"][name]) for name in names)) for row in content["rows"]]
    note = (
        f"{described(content)}. The estimates are from the folds, in each of which a model is trained anew and scored on examples that it has not "
        f"seen; {content['final']}. Intervals: {METHOD}."
    )
    return TITLE, (
        f"<p>{escape(note)}</p>{table(('', 'mean', 'standard deviation', '95 % from', 'to'), estimates)}"
        f"{table(('fold', 'trained on', *names), folds)}"
    )


def _name(content: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    return f"fold {row['fold'] + 1}" + (f" of repeat {row['repeat'] + 1}" if content["repeats"] > 1 else "")


def _cell(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else score_text(value)
