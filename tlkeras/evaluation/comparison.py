"""Two models on the same examples: every difference with its interval, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tlkeras.evaluation import intervals
from tlkeras.evaluation.significance import holm, mcnemar, p_text, wilcoxon
from tlkeras.tasks.markup import escape, table
from tlkeras.tasks.measures import Measures

TITLE = "Compared with another run"


def compare(first: Measures, second: Measures, *, seed: int = 0) -> dict[str, Any]:
    """Returns how much better or worse the first model is, by a paired bootstrap: both are scored on the same resamples.

    Args:
        first, second: figures of two models on the same examples in the same order; whole groups are drawn where the first names them.
        seed: of the resamples.

    Returns:
        `n`; `groups`, how many are drawn, or None where examples are; `headline`; `figures`: name -> `title`, `higher`, `share`, `first`,
        `second`, `difference` (first less second), `low`, `high`, `resamples`; `labels`: label -> name -> `first`, `second`, `difference`,
        `low`, `high`; `words`; and where examples are independent: `mcnemar` where answers are right or wrong; `wilcoxon`: number -> test of
        its errors, with p-values corrected for their number by Holm's method.
    """
    figures: dict[str, Any] = {}
    labels: dict[str, dict[str, Any]] = {}
    for family in first.families:
        other = second.family_of(family.figures[0].key)
        count = intervals.count_of(family, first)
        computes = [family.compute, other.compute]
        values = [intervals.point(compute, first.n) for compute in computes]
        drawn = intervals.values_of(computes, first, count, seed) if count else None
        for item in family.figures:
            if item.key not in values[1]:
                continue  # one of the models has no intervals around its numbers
            for label in first.labels if item.each else (None,):
                pair = [float(_of(own[item.key], label, part)) for own, part in zip(values, (first, second), strict=True)]
                sampled = None
                if drawn is not None:
                    sampled = _of(drawn[0][item.key], label, first) - _of(drawn[1][item.key], label, second)
                row = _difference(pair, sampled, biased=item.biased)
                if label is None:
                    meaning = {"title": item.title, "higher": item.higher, "share": item.share, "resamples": count}
                    figures[item.name] = {**meaning, **row}
                else:
                    labels.setdefault(label, {})[item.name] = row
    meaning = {"n": first.n, "groups": first.group_count, "headline": first.headline}
    content = {**meaning, "figures": figures, "labels": labels, **_tests(first, second)}
    return {**content, "words": words(figures[first.headline])}


def _of(values: np.ndarray, label: str | None, measures: Measures) -> np.ndarray:
    """Returns the values of a label, which stand in the last axis; all where there is none. Label maps may be ordered differently."""
    return values if label is None else values[..., measures.labels.index(label)]


def _difference(pair: list[float], sampled: np.ndarray | None, *, biased: bool) -> dict[str, float | None]:
    first, second = (value if np.isfinite(value) else None for value in pair)
    defined = first is not None and second is not None
    difference = pair[0] - pair[1]
    ends = intervals.quantiles(sampled) if defined and sampled is not None else None
    low, high = ends or (None, None)
    if ends and biased:  # the noise that enlarges a calibration error in resamples is not equal in both
        low, high = 2 * difference - ends[1], 2 * difference - ends[0]
    return {"first": first, "second": second, "difference": difference if defined else None, "low": low, "high": high}


def _tests(first: Measures, second: Measures) -> dict[str, Any]:
    """Returns the tests that answers of this kind allow; each of them takes examples for independent, so that groups allow none."""
    if first.groups is not None:
        return {}
    if first.correct is not None and second.correct is not None:
        return {"mcnemar": mcnemar(first.correct, second.correct)}
    if first.errors is None or second.errors is None:
        return {}
    errors = [(label, first.errors[:, i], second.errors[:, second.labels.index(label)]) for i, label in enumerate(first.labels)]
    tests = {label: wilcoxon(own, other) for label, own, other in errors}
    for test, p in zip(tests.values(), holm([test["p"] for test in tests.values()]), strict=True):
        test["p"] = p
    return {"wilcoxon": tests}


# === Words ===


def words(row: Mapping[str, Any]) -> str:
    """Returns a difference in words, such as `accuracy: better by 1.8 points, between 0.4 and 3.1`."""
    title, difference, low, high = (row[key] for key in ("title", "difference", "low", "high"))
    if difference is None:
        return f"{title}: not defined on these examples"
    sign = 1 if row["higher"] else -1
    better = sign * difference
    if low is None:
        return f"{title}: {_amount(better, row)} {_side(better)}, without an interval"
    low, high = sorted((sign * low, sign * high))
    if low > 0:
        return f"{title}: better by {_amount(better, row)}, between {_plain(low, row)} and {_plain(high, row)}"
    if high < 0:
        return f"{title}: worse by {_amount(better, row)}, between {_plain(high, row)} and {_plain(low, row)}"
    return (
        f"{title}: no difference is shown: {_amount(better, row)} {_side(better)}, between {_plain(low, row)} {_side(low)} and "
        f"{_plain(high, row)} {_side(high)}"
    )


def _side(better: float) -> str:
    return "worse" if better < 0 else "better"


def _plain(value: float, row: Mapping[str, Any]) -> str:
    return f"{abs(value) * 100:.1f}" if row["share"] else intervals.number(abs(value))


def _amount(value: float, row: Mapping[str, Any]) -> str:
    return f"{_plain(value, row)} points" if row["share"] else _plain(value, row)


def lines(name: str, content: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the comparison as lines of the terminal.

    Args:
        name: of the other run.
        content: target -> what `compare` returned.
    """
    shown = [f"compared with {name}, on the same examples:"]
    for target, part in content.items():
        shown.append(f"  {f'{target}: ' if len(content) > 1 else ''}{part['words']} ({_counts(part)})")
        shown += [f"    {line}" for line in _test_lines(part)]
        shown += [f"    {words(row)}" for key, row in part["figures"].items() if key != part["headline"]]
    return shown


def _counts(part: Mapping[str, Any]) -> str:
    """Returns how many examples, and of how many groups where these are what the intervals draw."""
    groups = part.get("groups")
    return f"{part['n']:,} examples" if groups is None else f"{part['n']:,} examples in {groups:,} groups, which are drawn as a whole"


def _test_lines(part: Mapping[str, Any]) -> list[str]:
    if part.get("groups") is not None:
        return ["McNemar's and Wilcoxon's tests are left out: they take the examples of a group for independent"]
    if "mcnemar" in part:
        test = part["mcnemar"]
        return [
            f"only it is right on {test['only_first']:,} examples, only the other on {test['only_second']:,}; McNemar's test ({test['method']}): "
            f"{p_text(test['p'])}"
        ]
    return [
        f"{label}: it errs less on {test['smaller_first']:,} examples, the other on {test['smaller_second']:,}; Wilcoxon's signed-rank "
        f"test: {p_text(test['p'])}"
        for label, test in part.get("wilcoxon", {}).items()
    ]


def section(name: str, content: Mapping[str, Mapping[str, Any]], title: str = TITLE) -> tuple[str, str]:
    """Returns title and HTML of a comparison, for the report; see `lines`."""
    parts = []
    for target, part in content.items():
        head = f"<h3>{escape(target)}</h3>" if len(content) > 1 else ""
        texts = "".join(f"<p>{escape(line)}</p>" for line in [f"{part['words']} ({_counts(part)})", *_test_lines(part)])
        rows = [
            (row["title"], *(intervals.number(row[key]) for key in ("first", "second", "difference")), _range(row))
            for row in part["figures"].values()
        ]
        parts.append(head + texts + table(("", "this run", name, "difference", "95 % interval"), rows))
    return title, "".join(parts)


def _range(row: Mapping[str, Any]) -> str:
    return "–" if row["low"] is None else f"{intervals.number(row['low'])} to {intervals.number(row['high'])}"
