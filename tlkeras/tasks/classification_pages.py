"""What the report of a run and the card of an entry say about a classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkeras.data.target import Target
from tlkeras.tasks.cases import Cases, cell_anchor
from tlkeras.tasks.classification import Score, interval, score
from tlkeras.tasks.markup import code, escape, figure, markdown_table, table
from tlkeras.tasks.mistakes import pairs_in
from tlkeras.tasks.registry import TARGET, Targets

MOST_CLASSES = 40  # a larger confusion matrix is unreadable; the most confused pairs are listed instead
PAIRS = 10  # confused pairs that the report lists
WORST, CONFUSED = 3, 3  # rows listed as known weaknesses
NAMED = 8  # classes that a card names in its first sentence
SHOWN = 30  # rows of the per-class table; the rest stands in the manifest


# === Report of a run ===


def report(figures: Score, split: str, target: Target, conditions: str) -> list[tuple[str, str]]:
    """Returns the headline, the table of classes and the confusions.

    Args:
        figures: of the held-out split.
        split: its name.
        target: with the label map.
        conditions: how the model was trained, in a few words.
    """
    return [
        ("", _headline(figures, split, conditions)),
        ("Classes", _class_table(figures)),
        ("Confusions", _confusions(figures, target.labels)),
    ]


def _headline(figures: Score, split: str, conditions: str) -> str:
    limits = interval(figures.n, figures.accuracy)
    if limits is None or figures.accuracy is None:
        return "<p class=muted>Nothing was held out, so there is no score.</p>"
    return (
        f"<p><span class=big>{figures.accuracy:.1%}</span> of {figures.n:,} {split} examples are labelled correctly "
        f"<span class=muted>(95 % interval {limits[0]:.1%} to {limits[1]:.1%}, {escape(conditions)})</span></p>"
        f"<p>{_meaning(figures.n, figures.accuracy, limits)}</p><p>{escape(figures.headline(split))}</p>"
    )


def _meaning(n: int, accuracy: float, limits: tuple[float, float]) -> str:
    """Returns what the figure says about new examples, in a plain sentence."""
    expected, low, high = (round(100 * value) for value in (accuracy, *limits))
    text = f"Of 100 new examples from the same source, expect about {expected} to be labelled correctly"
    return f"{text}; as only {n:,} were held out, the true share may be anywhere from {low} to {high}."


def _class_table(figures: Score) -> str:
    rows = sorted(figures.per_class, key=lambda row: row.f1)
    return table(
        ("label", "precision", "recall", "F1", "n"),
        [(row.label, *map(figure, (row.precision, row.recall, row.f1)), row.n) for row in rows],
    )


def _confusions(figures: Score, labels: Sequence[str]) -> str:
    wrong = figures.confusion.copy()
    np.fill_diagonal(wrong, 0)
    listed = table(("true label", "predicted label", "count"), pairs_in(wrong, labels)[:PAIRS]) or "<p>No example was confused.</p>"
    matrix = _matrix(figures.confusion, labels) if figures.n and len(labels) <= MOST_CLASSES else ""
    note = "<p class=muted>Rows: true label. Columns: predicted label. Follow a number to its examples.</p>"
    return f"{note}<div class=beside>{matrix}<div>{listed}</div></div>" if matrix else listed


def _matrix(confusion: np.ndarray, labels: Sequence[str]) -> str:
    totals = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shares = confusion / totals
    head = "<tr><td></td>" + "".join(f"<th scope=col>{escape(label)}</th>" for label in labels) + "</tr>"
    body = "".join(
        f"<tr><th scope=row>{escape(label)}</th>"
        + "".join(_cell(i, j, int(confusion[i, j]), float(shares[i, j]), labels) for j in range(len(labels)))
        + "</tr>"
        for i, label in enumerate(labels)
    )
    return f'<div class=scroll tabindex=0 role=group aria-label="Confusion matrix"><table class=matrix>{head}{body}</table></div>'


def _cell(i: int, j: int, count: int, share: float, labels: Sequence[str]) -> str:
    """Returns one cell, with a link to its examples; the report takes away links to examples that it does not show."""
    if not count:
        return "<td></td>"
    kind = "right" if i == j else "wrong"
    title = escape(f"{count:,} of {labels[i]} predicted as {labels[j]} ({share:.0%})")
    return f'<td class={kind} style="--share:{share:.2f}"><a class=cell href="#{cell_anchor(i, j)}" title="{title}">{count}</a></td>'


def cases(targets: Targets, scores: np.ndarray, target: Target) -> dict[str, Cases]:
    """Returns how each example was classified."""
    y, predicted, labels = np.asarray(targets[TARGET], int), scores.argmax(axis=1), target.labels
    certainty, correct = scores.max(axis=1), predicted == y
    truth = [labels[index] for index in y]
    return {
        "": Cases(
            truth=truth,
            answer=[labels[index] for index in predicted],
            error=np.where(correct, 0.0, certainty),
            certainty=certainty,
            correct=correct,
            groups=truth,
            cells=np.stack([y, predicted], axis=1),
            labels=labels,
            probabilities=certainty,
            events=correct,
        )
    }


# === Entry of the zoo ===


def publish(metrics: Mapping[str, Any], rows: Sequence[Mapping[str, str]], target: Target) -> dict[str, Any]:
    """Returns what the manifest of an entry records of a classifier: scores with intervals, figures of each class, weaknesses.

    Args:
        metrics: content of `metrics.json`.
        rows: those of `predictions.csv` that belong to the held-out split.
        target: with the label map.
    """
    labels = target.labels
    ids = {label: index for index, label in enumerate(labels)}
    pairs = np.array([(ids[row["label"]], ids[row["predicted"]]) for row in rows], int).reshape(-1, 2)
    truth, predicted = pairs[:, 0], pairs[:, 1]
    classes = _classes(truth, predicted, target)
    splits = {name: {**metrics[name], "interval": interval(metrics[name]["n"], metrics[name]["accuracy"])} for name in ("val", "test")}
    return {
        "metrics": splits,
        "classes": classes,
        "weaknesses": {"worst": _worst(classes), "confused": _confused(truth, predicted, labels)},
    }


def _classes(truth: np.ndarray, predicted: np.ndarray, target: Target) -> list[dict[str, Any]]:
    rows = score({TARGET: truth}, np.eye(len(target.labels))[predicted], target).per_class
    return [{"label": row.label, **row.to_dict()} for row in rows]


def _worst(classes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    rows = [row for row in classes if row["n"] and row["f1"] < 1]
    return sorted(rows, key=lambda row: row["f1"])[:WORST]


def _confused(truth: np.ndarray, predicted: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    wrong = Counter((int(a), int(b)) for a, b in zip(truth, predicted, strict=True) if a != b)
    return [
        {"label": labels[a], "predicted": labels[b], "n": n, "of": int((truth == a).sum())} for (a, b), n in wrong.most_common(CONFUSED)
    ]


def card(content: Mapping[str, Any], noun: str) -> list[tuple[str, str]]:
    """Returns the sections of the card of an entry: what it predicts, results, classes, weaknesses.

    Args:
        content: content of the manifest.
        noun: what one input is called.
    """
    labels = content["labels"]
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    named = ", ".join(code(label) for label in labels[:NAMED]) + more
    return [
        ("", f"{content['task']}: {len(labels)} classes ({named})."),
        ("Results", _results(content, noun)),
        ("Classes", _card_classes(content)),
        ("Known weaknesses", _weaknesses(content, noun)),
    ]


def _results(content: Mapping[str, Any], noun: str) -> str:
    rows = []
    for split, row in content["metrics"].items():
        if row.get("n"):
            low, high = row["interval"]
            rows.append(
                (split, f"{row['accuracy']:.3f}", f"{low:.3f} - {high:.3f}", f"{row['macro_f1']:.3f}", f"{row['loss']:.3f}", row["n"])
            )
    grouped = (
        " It takes examples of one group for independent, so it is too narrow." if content.get("config", {}).get("group_column") else ""
    )
    return markdown_table(("split", "accuracy", "95 % interval", "macro-F1", "loss", "n"), rows) + (
        f"\n\nThe interval is Wilson's and holds for {noun}s from the same distribution.{grouped} Accuracy on others may be lower."
    )


def _card_classes(content: Mapping[str, Any]) -> str:
    rows = content["classes"]
    shown = [(code(r["label"]), f"{r['precision']:.3f}", f"{r['recall']:.3f}", f"{r['f1']:.3f}", r["n"]) for r in rows[:SHOWN]]
    more = f"\n\n… and {len(rows) - SHOWN} more in `manifest.json`." if len(rows) > SHOWN else ""
    return f"On the {content['held_out']} split.\n\n" + markdown_table(("class", "precision", "recall", "F1", "n"), shown) + more


def _weaknesses(content: Mapping[str, Any], noun: str) -> str:
    lines = [f"- {code(r['label'])}: recall {r['recall']:.3f}, precision {r['precision']:.3f}" for r in content["weaknesses"]["worst"]]
    lines += [f"- {code(r['label'])} predicted as {code(r['predicted'])}: {r['n']} of {r['of']}" for r in content["weaknesses"]["confused"]]
    lines.append(f"- It assigns one of its classes to any {noun}, even if none applies.")
    return "\n".join(lines)
