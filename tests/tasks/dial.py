"""A task that the product does not have: the number that a dial shows, 0, 1 or 2, as one output and not as classes."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from tlkeras.tasks.judgement import Judgement
from tlkeras.tasks.markup import markdown_table, table
from tlkeras.tasks.registry import TARGET, Task

ROW = Task(
    name="dial",
    help="The number that a dial shows.",
    loss="tests.tasks.dial:loss",
    metrics=("mean_absolute_error",),
    monitor="mean_absolute_error",
    figure="within half",
    class_weights=False,
    labelled_outputs=False,
    encode_targets="tests.tasks.dial:encode_targets",
    build_head="tests.tasks.dial:build_head",
    score="tests.tasks.dial:score",
    answer="tests.tasks.dial:answer",
    columns="tests.tasks.dial:columns",
    judge="tests.tasks.dial:judge",
    signature="tests.tasks.dial:signature",
    report="tests.tasks.dial:report",
    publish="tests.tasks.dial:publish",
    card="tests.tasks.dial:card",
)


def encode_targets(values, target):
    return {TARGET: np.array([[float(value)] for value in values], "float32")}


def build_head(features, target, dropout, prefix=""):
    return keras.layers.Dense(1, name=f"{prefix}scores", dtype="float32")(features)


def loss(target):
    return lambda targets, scores: keras.ops.mean(keras.ops.square(targets - scores), axis=-1)


@dataclass(frozen=True)
class Score:
    n: int
    error: float | None
    within: float | None

    def to_dict(self):
        return {"n": self.n, "mean_error": self.error, "within_half": self.within}

    def detailed(self):
        return {**self.to_dict(), "unit": "one mark of the dial"}

    def cells(self):
        return {"mean error": self.error, "within half": self.within, "n": self.n}

    def headline(self, split):
        return f"{split}: off by {self.error:.3f} on average" if self.n else ""

    def lines(self):
        return [f"  within half a mark: {self.within:.3f}"]


def score(targets, scores, target):
    if not len(scores):
        return Score(0, None, None)
    errors = np.abs(scores - targets[TARGET])
    return Score(len(scores), float(errors.mean()), float((errors < 0.5).mean()))


def answer(scores, target, top_k):
    return {"label": f"{scores[0]:.1f}", "score": float(scores[0]), "scores": {"reading": float(scores[0])}}


def columns(value, scores, target):
    return {"reading": value, "predicted": f"{scores[0]:.6f}"}


def judge(scores, reference, targets, target=None):
    if not len(reference):
        return Judgement()
    agreement = float((np.abs(scores - reference) < 0.5).mean())
    if targets is None:
        return Judgement(agreement=agreement, drop=1 - agreement, sentence=f"reads {agreement:.3f} of the dials as the model does")
    within, before = (float((np.abs(values - targets[TARGET]) < 0.5).mean()) for values in (scores, reference))
    return Judgement(agreement=agreement, accuracy=within, drop=before - within, sentence=f"reads {within:.3f} of the dials correctly")


def signature(scores, readable, target):
    import tensorflow as tf

    return {"reading": tf.where(readable, scores[:, 0], -1.0), "unit": tf.where(readable, "mark", "")}


def report(figures, split, target, conditions):
    return [("", f"<p>Off by {figures.error:.2f} marks ({conditions})</p>"), ("Dials", table(("within half",), [(figures.within,)]))]


def publish(metrics, rows, target):
    return {"metrics": {name: metrics[name] for name in ("val", "test")}, "largest": max(float(row["predicted"]) for row in rows)}


def card(content, noun):
    rows = [(name, row["n"]) for name, row in content["metrics"].items()]
    return [("", f"{content['task']}: reads the dial on any {noun}."), ("Results", markdown_table(("split", "n"), rows))]
