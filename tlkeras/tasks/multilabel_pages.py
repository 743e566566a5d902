"""What the report of a run and the card of an entry say about a model that gives examples any number of labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkeras.data.target import SEPARATOR, Target
from tlkeras.tasks.cases import Cases
from tlkeras.tasks.markup import code, escape, figure, markdown_table, table
from tlkeras.tasks.mistakes import pairs_in
from tlkeras.tasks.multilabel import LabelScore, Score, confused, label_scores
from tlkeras.tasks.registry import TARGET, Targets, target_of
from tlkeras.tasks.thresholds import decisions, thresholds

PAIRS = 10  # confused pairs that the report lists
WORST, CONFUSED = 3, 3  # rows listed as known weaknesses
NAMED = 8  # labels that a card names in its first sentence
SHOWN = 30  # rows of the table of labels; the rest stands in the manifest


# === Report of a run ===


def report(figures: Score, split: str, target: Target, conditions: str) -> list[tuple[str, str]]:
    """Returns the headline, the table of labels, and which labels are missed and added.

    Args:
        figures: of the held-out split.
        split: its name.
        target: with the label map.
        conditions: how the model was trained, in a few words.
    """
    return [
        ("", _headline(figures, split, conditions)),
        ("Labels", _label_table(figures, target)),
        ("Confusions", _confusions(figures, target.labels)),
    ]


def _headline(figures: Score, split: str, conditions: str) -> str:
    if figures.micro_f1 is None or figures.exact_match is None or figures.hamming_loss is None:
        return f"<p class=muted>Nothing was held out, so there is no score ({escape(conditions)}).</p>"
    return (
        f"<p><span class=big>{figures.micro_f1:.3f}</span> micro-F1 on {figures.n:,} {split} examples "
        f"<span class=muted>({escape(conditions)})</span></p>"
        f"<p>All labels of {figures.exact_match:.1%} of the examples are correct; {figures.hamming_loss:.1%} of the single decisions "
        f"are wrong.</p><p>{escape(figures.headline(split))}</p>"
    )


def _label_table(figures: Score, target: Target) -> str:
    if not figures.n:
        return table(("label", "threshold"), [(name, figure(value)) for name, value in zip(target.labels, thresholds(target), strict=True)])
    rows = sorted(figures.per_label, key=lambda row: row.f1)
    head = ("label", "precision", "recall", "F1", "average precision", "threshold", "n", "predicted", "missed", "added")
    return table(
        head,
        [
            (
                row.label,
                *map(figure, (row.precision, row.recall, row.f1, row.average_precision, row.threshold)),
                row.n,
                row.predicted,
                row.n - row.correct,
                row.predicted - row.correct,
            )
            for row in rows
        ],
    )


def _confusions(figures: Score, labels: Sequence[str]) -> str:
    pairs = pairs_in(figures.confused, labels)[:PAIRS]
    note = "<p class=muted>Examples where the first label holds and is missed while the second does not and is added.</p>"
    return note + table(("missed", "added", "count"), pairs) if pairs else "<p>No label was taken for another.</p>"


def cases(targets: Targets, scores: np.ndarray, target: Target) -> dict[str, Cases]:
    """Returns how each example was labelled; its certainty is the probability of all its decisions, were the labels independent."""
    y, predicted = targets[TARGET] > 0, decisions(scores, target)
    wrong, names = y != predicted, [", ".join(_holding(row, target.labels)) or "no label" for row in y]
    return {
        "": Cases(
            truth=names,
            answer=[", ".join(_holding(row, target.labels)) or "no label" for row in predicted],
            error=np.where(wrong, np.abs(scores - y), 0.0).max(axis=1, initial=0.0),
            certainty=np.where(predicted, scores, 1.0 - scores).prod(axis=1),
            correct=~wrong.any(axis=1),
            groups=[name if row.sum() < 2 else "several labels" for name, row in zip(names, y, strict=True)],
            probabilities=np.asarray(scores, "float64").ravel(),
            events=y.ravel(),
        )
    }


def _holding(row: np.ndarray, labels: Sequence[str]) -> list[str]:
    return [label for label, holds in zip(labels, row, strict=True) if holds]


# === Entry of the zoo ===


def publish(metrics: Mapping[str, Any], rows: Sequence[Mapping[str, str]], target: Target) -> dict[str, Any]:
    """Returns what the manifest of an entry records: scores, figures of each label, weaknesses.

    Args:
        metrics: content of `metrics.json`.
        rows: those of `predictions.csv` that belong to the held-out split.
        target: with the label map and the thresholds.
    """
    labels = target.labels
    truth, predicted = (_sets([row[column] for row in rows], target) for column in ("label", "predicted"))
    scores = np.array([[float(row[f"score:{label}"]) for label in labels] for row in rows]).reshape(-1, len(labels))
    figures = label_scores(truth, predicted, scores, target)
    pairs = pairs_in(confused(truth, predicted), labels)[:CONFUSED]
    return {
        "metrics": {name: metrics[name] for name in ("val", "test")},
        "label_scores": [{"label": row.label, **row.to_dict()} for row in figures],
        "weaknesses": {
            "worst": [{"label": row.label, **row.to_dict()} for row in _worst(figures)],
            "confused": [{"missed": missed, "added": added, "n": n} for missed, added, n in pairs],
        },
    }


def _sets(cells: Sequence[str], target: Target) -> np.ndarray:
    """Returns which labels stand in the cells, bool (n, labels); labels may contain the separator themselves."""
    names = "|".join(re.escape(label) for label in sorted(target.labels, key=len, reverse=True))
    end = re.escape(SEPARATOR)
    pattern = re.compile(rf"(?:^|(?<={end}))(?:{names})(?=$|{end})")
    return target.encode([pattern.findall(cell) for cell in cells]) > 0


def _worst(figures: Sequence[LabelScore]) -> list[LabelScore]:
    return sorted((row for row in figures if row.n and row.f1 < 1), key=lambda row: row.f1)[:WORST]


def card(content: Mapping[str, Any], noun: str) -> list[tuple[str, str]]:
    """Returns the sections of the card of an entry: what it predicts, results, labels with their thresholds, weaknesses.

    Args:
        content: content of the manifest.
        noun: what one input is called.
    """
    labels = content["labels"]
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    named = ", ".join(code(label) for label in labels[:NAMED]) + more
    return [
        ("", f"{content['task']}: any number of {len(labels)} labels ({named})."),
        ("Results", _results(content)),
        ("Labels", _card_labels(content)),
        ("Known weaknesses", _weaknesses(content, noun)),
    ]


def _results(content: Mapping[str, Any]) -> str:
    names = ("mean_average_precision", "micro_f1", "macro_f1", "exact_match", "hamming_loss")
    rows = [
        (split, *(figure(row[name]) for name in names), f"{row['constant']['micro_f1']:.3f}", row["n"])
        for split, row in content["metrics"].items()
        if row.get("n")
    ]
    head = ("split", "mAP", "micro-F1", "macro-F1", "exact match", "Hamming loss", "micro-F1 of the best constant answer", "n")
    return markdown_table(head, rows)


def _card_labels(content: Mapping[str, Any]) -> str:
    target = target_of(content)
    chosen = dict(zip(target.labels, thresholds(target), strict=True)) if target else {}
    rows = content["label_scores"]
    shown = [
        (
            code(r["label"]),
            f"{chosen[r['label']]:.3f}",
            *map(figure, (r["precision"], r["recall"], r["f1"], r["average_precision"])),
            r["n"],
        )
        for r in rows[:SHOWN]
    ]
    more = f"\n\n… and {len(rows) - SHOWN} more in `manifest.json`." if len(rows) > SHOWN else ""
    return (
        f"On the {content['held_out']} split. A label holds where its score reaches its threshold. The thresholds have the best F1 on the "
        "validation examples and are part of every artifact; those of labels with fewer than 5 such examples are nearer to 0.5.\n\n"
        + markdown_table(("label", "threshold", "precision", "recall", "F1", "average precision", "n"), shown)
        + more
    )


def _weaknesses(content: Mapping[str, Any], noun: str) -> str:
    lines = [f"- {code(r['label'])}: recall {r['recall']:.3f}, precision {r['precision']:.3f}" for r in content["weaknesses"]["worst"]]
    lines += [f"- {code(r['missed'])} missed while {code(r['added'])} is added: {r['n']}" for r in content["weaknesses"]["confused"]]
    lines.append(
        f"- It knows these labels only. What else may be in {'an' if noun[0] in 'aeiou' else 'a'} {noun} does not change its answer."
    )
    return "\n".join(lines)
