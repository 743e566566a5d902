"""What the report of a run and the card of an entry say about a model of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkeras.data.target import Target
from tlkeras.tasks.cases import Cases
from tlkeras.tasks.charts import Point, scatter
from tlkeras.tasks.markup import code, escape, markdown_table, table
from tlkeras.tasks.registry import TARGET, Targets, target_of
from tlkeras.tasks.regression import COVERAGE, FEWEST, column, output_names
from tlkeras.tasks.regression_scores import Score, short

PLOTTED = 8  # numbers that get a plot of their own
POINTS = 1000  # of a plot; of more examples, as many are drawn, evenly over the true values
TITLED = 400  # points up to which each shows its values under the pointer
LARGEST = 10  # errors that the report lists
WORST = 3  # errors that a card lists
NAMED = 8  # numbers that a card names in its first sentence
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)

# === Report of a run ===


def report(figures: Score, split: str, target: Target, conditions: str) -> list[tuple[str, str]]:
    """Returns the headline, the table of numbers, the plots, the residuals and the largest errors.

    Args:
        figures: of the held-out split.
        split: its name.
        target: with the names of the numbers, and the intervals.
        conditions: how the model was trained, in a few words.
    """
    if not figures.n:
        return [("", "<p class=muted>Nothing was held out, so there is no score.</p>")]
    return [
        ("", _headline(figures, split, conditions)),
        ("Numbers", _number_table(figures, target)),
        ("Predicted and true", _plots(figures, target)),
        ("Errors", _residuals(figures, target) + _largest(figures, target)),
    ]


def _headline(figures: Score, split: str, conditions: str) -> str:
    (first, *others), r2 = figures.numbers, figures.mean("r2")
    what = f"R² (mean of {len(figures.numbers)} numbers)" if others else "mean absolute error"
    big = short(r2) if others else short(first.mae)
    detail = "" if others else f"R² {short(r2)}, "
    return (
        f"<p><span class=big>{big}</span> {what} on {figures.n:,} {split} examples "
        f"<span class=muted>({detail}in the units of the data, {escape(conditions)})</span></p>"
        f"<p>{escape(figures.headline(split))}</p>"
    )


def _number_table(figures: Score, target: Target) -> str:
    widths = target.facts.get("interval") or [None] * len(target.labels)
    rows = [
        (
            row.name,
            *map(short, (row.mae, row.mean_mae, row.rmse, row.mean_rmse, row.r2, row.pearson)),
            "–" if width is None else f"± {short(width)}",
            "–" if row.inside is None else f"{row.inside:.1%}",
        )
        for row, width in zip(figures.numbers, widths, strict=True)
    ]
    head = ("", "MAE", "of the mean", "RMSE", "of the mean", "R²", "Pearson r", f"{_coverage(target.facts)} interval", "inside")
    return table(head, rows) + f"<p class=muted>{escape(_explained(target))}</p>"


def _coverage(facts: Mapping[str, Any]) -> str:
    """Returns the share of new examples that the intervals are to contain."""
    return f"{round(100 * facts.get('interval_coverage', COVERAGE), 2):g}%"


def _explained(target: Target) -> str:
    text = "“Of the mean”: the error of always answering the mean of the training examples. All but R² and r are in the units of the data. "
    if "interval" not in target.facts:
        return f"{text}There is no interval: it needs at least {FEWEST} validation examples."
    return (
        f"{text}The interval is that which contained {_coverage(target.facts)} of the validation examples, with the correction for their number "
        "(split-conformal). It is equally wide for all examples. “Inside” is the share of these examples that it contains."
    )


def _plots(figures: Score, target: Target) -> str:
    shown = "".join(_plot(name, figures.true[:, i], figures.predicted[:, i]) for i, name in enumerate(target.labels[:PLOTTED]))
    more = len(target.labels) - PLOTTED
    return f"<div class=charts>{shown}</div>" + (f"<p class=muted>{more} more numbers are not drawn.</p>" if more > 0 else "")


def _plot(name: str, true: np.ndarray, predicted: np.ndarray) -> str:
    """Returns predicted against true values of one number: both axes have the same scale, so that errors are seen as they are."""
    order = np.argsort(true, kind="stable")
    order = order[np.linspace(0, len(order) - 1, min(len(order), POINTS)).round().astype(int)]
    named = len(order) <= TITLED
    points = [
        Point(
            x=float(true[i]),
            y=float(predicted[i]),
            title=f"true {short(float(true[i]))}, predicted {short(float(predicted[i]))}" if named else "",
        )
        for i in order
    ]
    chart = scatter(
        {name: points},
        title=f"predicted against true {name}",
        x=f"true {name}",
        y=f"predicted {name}",
        diagonal=True,
        size=26 if len(order) <= 300 else 10,
    )
    return f"<figure>{chart}</figure>"


def _residuals(figures: Score, target: Target) -> str:
    quantiles = np.quantile(figures.predicted - figures.true, QUANTILES, axis=0)  # (quantiles, numbers)
    names = ["lowest", *(f"{level:.0%}" for level in QUANTILES[1:-1]), "highest"]
    rows = [(name, *map(short, quantiles[:, i])) for i, name in enumerate(target.labels)]
    return "<p class=muted>Predicted less true values: quantiles.</p>" + table(("", *names), rows)


def _largest(figures: Score, target: Target) -> str:
    errors = np.abs(figures.predicted - figures.true)
    rows = []
    for i, name in enumerate(target.labels):
        for example in np.argsort(-errors[:, i], kind="stable")[: max(1, LARGEST // len(target.labels))]:
            true, predicted = figures.true[example, i], figures.predicted[example, i]
            rows.append((name, *map(short, (true, predicted, predicted - true))))
    return "<p class=muted>The largest errors; predictions.csv names the examples.</p>" + table(("", "true", "predicted", "error"), rows)


def cases(targets: Targets, scores: np.ndarray, target: Target) -> dict[str, Cases]:
    """Returns how far each answer is off, in standard deviations of the training examples; groups are quarters of the first number."""
    true = np.asarray(targets[TARGET], "float64").reshape(scores.shape)
    error = (np.abs(scores - true) / np.asarray(target.facts.get("std", 1.0))).max(axis=1, initial=0.0)
    first = true[:, 0] if len(true) else np.zeros(0)
    limits = np.unique(np.quantile(first, (0.25, 0.5, 0.75))) if len(first) else np.zeros(0)
    names = [f"{target.labels[0]} up to {short(limit)}" for limit in limits] + [f"{target.labels[0]} above"]
    return {
        "": Cases(
            truth=[_named(row, target.labels) for row in true],
            answer=[_named(row, target.labels) for row in scores],
            error=error,
            groups=[names[index] for index in np.searchsorted(limits, first)],
            mistakes="Largest errors, by example",
        )
    }


def _named(row: np.ndarray, labels: Sequence[str]) -> str:
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    if len(labels) == 1:
        return short(float(row[0]))
    return ", ".join(f"{name} {short(float(value))}" for name, value in zip(labels[:NAMED], row, strict=False)) + more


# === Entry of the zoo ===


def publish(metrics: Mapping[str, Any], rows: Sequence[Mapping[str, str]], target: Target) -> dict[str, Any]:
    """Returns what the manifest of an entry records of a model of numbers: figures of the splits, and where it errs most.

    Args:
        metrics: content of `metrics.json`.
        rows: those of `predictions.csv` that belong to the held-out split.
        target: with the names of the numbers.
    """
    worst = {}
    for name in target.labels:
        pairs = [(float(row[column(name)]), float(row[f"predicted:{name}"])) for row in rows]
        pairs.sort(key=lambda pair: -abs(pair[0] - pair[1]))
        worst[name] = [{"true": true, "predicted": predicted} for true, predicted in pairs[:WORST] if true != predicted]
    return {"metrics": {name: metrics[name] for name in ("val", "test")}, "weaknesses": {"largest": worst}}


def card(content: Mapping[str, Any], noun: str) -> list[tuple[str, str]]:
    """Returns the sections of the card of an entry: what it predicts, results, numbers, weaknesses.

    Args:
        content: content of the manifest.
        noun: what one input is called.
    """
    target = target_of(content)
    labels = target.labels if target else ()
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    named = ", ".join(code(label) for label in labels[:NAMED]) + more
    count = "1 number" if len(labels) == 1 else f"{len(labels)} numbers"
    facts = target.facts if target else {}
    return [
        ("", f"{content['task']}: {count} ({named}), in the units of the data."),
        ("Results", _results(content)),
        ("Numbers", _card_numbers(content, facts, noun) + "\n\n" + _outputs(target)),
        ("Known weaknesses", _weaknesses(content, facts, labels, noun)),
    ]


def _results(content: Mapping[str, Any]) -> str:
    rows = []
    for split, row in content["metrics"].items():
        for name, number in row["numbers"].items() if row.get("n") else ():
            figures = (number["mae"], number["mean"]["mae"], number["rmse"], number["r2"], number["pearson"])
            rows.append((split, code(name), *map(short, figures), row["n"]))
    return markdown_table(("split", "number", "MAE", "MAE of the mean", "RMSE", "R²", "Pearson r", "n"), rows) + (
        "\n\n“MAE of the mean” is the error of always answering the mean of the training examples. Errors are in the units of the data, "
        "which the data do not state."
    )


def _card_numbers(content: Mapping[str, Any], facts: Mapping[str, Any], noun: str) -> str:
    widths = facts.get("interval")
    held_out = content["metrics"][content["held_out"]].get("numbers", {})
    rows = []
    for index, (name, number) in enumerate(held_out.items()):
        inside = "-" if number["inside"] is None else f"{number['inside']:.1%}"
        learnt = (facts[key][index] if key in facts else None for key in ("mean", "std", "low", "high"))
        rows.append((code(name), *map(short, learnt), f"± {short(widths[index])}" if widths else "-", inside))
    head = ("number", "mean", "standard deviation", "lowest", "highest", f"{_coverage(facts)} interval", "inside")
    text = "Mean, standard deviation and range are those of the training examples. "
    if not widths:
        return markdown_table(head, rows) + f"\n\n{text}There is no interval: fewer than {FEWEST} validation examples were held out."
    return markdown_table(head, rows) + (
        f"\n\n{text}The interval contained {_coverage(facts)} of the validation examples, corrected for their number (split-conformal, "
        f"[Lei et al. 2018](https://doi.org/10.1080/01621459.2017.1307116)). It is equally wide for every {noun} and holds for {noun}s from the same "
        f"distribution. “Inside” is the share of the {content['held_out']} examples that it contains."
    )


def _outputs(target: Target | None) -> str:
    names = ", ".join(code(name) for name in output_names(target)[:NAMED]) if target else ""
    return (
        "In every artifact, the output `scores` holds the numbers in this order. The SavedModel also returns each as an output of its own, where it "
        f"accepts encoded examples: {names}; not a number (NaN) where an example cannot be read."
    )


def _weaknesses(content: Mapping[str, Any], facts: Mapping[str, Any], labels: Sequence[str], noun: str) -> str:
    lines = [
        f"- {code(name)}: {short(error['true'])} predicted as {short(error['predicted'])}"
        for name in labels
        for error in content["weaknesses"]["largest"].get(name, ())
    ]
    for index, name in enumerate(labels if "low" in facts else ()):
        low, high = (short(facts[key][index]) for key in ("low", "high"))
        lines.append(f"- {code(name)} was between {low} and {high} in training. Answers outside of that range are untested.")
    lines.append(f"- It answers with numbers for any {noun}, even if they make no sense for it.")
    return "\n".join(lines)
