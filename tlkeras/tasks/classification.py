"""Classification: one label per example, softmax scores over the label map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tlkeras.data.target import Target
from tlkeras.tasks.conformal import answer_set, classes_in
from tlkeras.tasks.judgement import Judgement
from tlkeras.tasks.registry import TARGET, Targets

NEVER_SHOWN = 5  # classes that are never predicted, in a headline


# === Targets and head ===


def class_weights(targets: Targets) -> dict[int, float]:
    """Returns the weight of each class: inverse frequency, mean 1 over the examples."""
    y = targets[TARGET]
    classes, counts = np.unique(y, return_counts=True)
    return {int(index): len(y) / (len(classes) * int(count)) for index, count in zip(classes, counts, strict=True)}


def build_head(features: keras.KerasTensor, target: Target, dropout: float, prefix: str = "") -> keras.KerasTensor:
    """Returns softmax scores over the classes, in float32 whatever the dtype policy.

    Args:
        features: (batch, width).
        target: with the label map.
        dropout: fraction of the features dropped in training, 0 to 1.
        prefix: of the names of the layers.
    """
    x = keras.layers.Dropout(dropout, name=f"{prefix}head_dropout")(features)
    x = keras.layers.Dense(len(target.labels), name=f"{prefix}head_logits", dtype="float32")(x)  # (batch, width) -> (batch, classes)
    return keras.layers.Softmax(name=f"{prefix}scores", dtype="float32")(x)


# === Scores of a model ===


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One row of the classification report: `n` examples of the class, `predicted` as this class `predicted` times."""

    label: str
    precision: float
    recall: float
    f1: float
    n: int
    predicted: int

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures of the class."""
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1, "n": self.n}


@dataclass(frozen=True, kw_only=True)
class Score:
    """Accuracy, mean cross-entropy, macro-F1, per-class rows and the confusion matrix of `n` examples."""

    n: int
    accuracy: float | None
    loss: float | None
    macro_f1: float | None
    per_class: tuple[ClassScore, ...]
    confusion: np.ndarray

    @property
    def majority(self) -> dict[str, Any] | None:
        """The most frequent class of these examples, and the accuracy of always predicting it; None without examples."""
        if not self.n:
            return None
        most = max(self.per_class, key=lambda row: row.n)
        return {"label": most.label, "accuracy": most.n / self.n}

    @property
    def never_predicted(self) -> list[str]:
        """The classes that occur among these examples but are never predicted."""
        return [row.label for row in self.per_class if row.n and not row.predicted]

    def to_dict(self) -> dict[str, Any]:
        """Returns the record of a split in `metrics.json`."""
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "loss": self.loss,
            "macro_f1": self.macro_f1,
            "majority": self.majority,
            "never_predicted": self.never_predicted,
        }

    def detailed(self) -> dict[str, Any]:
        """Returns the record with the figures of each class."""
        return {**self.to_dict(), "per_class": {row.label: row.to_dict() for row in self.per_class}}

    def cells(self) -> dict[str, float | int | None]:
        """Returns the columns of the table of scores."""
        return {"accuracy": self.accuracy, "macro-F1": self.macro_f1, "loss": self.loss, "n": self.n}

    def headline(self, split: str) -> str:
        """Returns accuracy beside that of always answering the most frequent class, and the classes that are never predicted."""
        majority, never = self.majority, self.never_predicted
        if majority is None or self.accuracy is None:
            return ""
        text = f"{split}: accuracy {self.accuracy:.3f}; always predicting {majority['label']!r} would reach {majority['accuracy']:.3f}"
        if self.accuracy <= majority["accuracy"]:
            text += ": the model is no better than that"
        if never:
            more = f" and {len(never) - NEVER_SHOWN} more" if len(never) > NEVER_SHOWN else ""
            text += f"; never predicted: {', '.join(repr(label) for label in never[:NEVER_SHOWN])}{more}"
        return text

    def lines(self) -> list[str]:
        """Returns the figures of each class as text."""
        return [
            f"  {row.label:<24} precision {row.precision:.3f}  recall {row.recall:.3f}  f1 {row.f1:.3f}  n {row.n}"
            for row in self.per_class
        ]


def score(targets: Targets, scores: np.ndarray, target: Target) -> Score:
    """Scores predictions; targets and predictions must come from the same pass over the data.

    Args:
        targets: class ids, int (n,), indices into the label map.
        scores: (n, classes) float, rows sum to 1.
        target: with the label map.

    Returns:
        The scores; with n = 0, all figures are None. Macro-F1 is the mean over the classes that occur among the targets
        or in the predictions.
    """
    from sklearn import metrics  # takes half a second to import, and predictions do not need it

    y, labels = targets[TARGET], target.labels
    count = len(labels)
    if len(y) == 0:
        return Score(n=0, accuracy=None, loss=None, macro_f1=None, per_class=(), confusion=np.zeros((count, count), int))
    predicted = scores.argmax(axis=1)
    picked = np.clip(scores[np.arange(len(y)), y], 1e-7, 1.0)  # the clipping of Keras' own cross-entropy
    present = sorted(set(y.tolist()) | set(predicted.tolist()))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(y, predicted, labels=present, zero_division=0.0)
    rows = tuple(
        ClassScore(
            label=labels[index], precision=float(p), recall=float(r), f1=float(f), n=int(n), predicted=int((predicted == index).sum())
        )
        for index, p, r, f, n in zip(present, precision, recall, f1, support, strict=True)
    )
    return Score(
        n=len(y),
        accuracy=float((predicted == y).mean()),
        loss=float(-np.log(picked).mean()),
        macro_f1=float(np.mean(f1)),
        per_class=rows,
        confusion=metrics.confusion_matrix(y, predicted, labels=range(count)),
    )


def interval(n: int, accuracy: float | None, z: float = 1.959964) -> tuple[float, float] | None:
    """Returns the 95 % interval of an accuracy (Wilson 1927, doi:10.1080/01621459.1927.10502953), or None without examples.

    Args:
        n: examples it was measured on.
        accuracy: 0 to 1.
        z: quantile of the normal distribution; another one for another level.
    """
    if not n or accuracy is None:
        return None
    middle, spread = accuracy + z * z / (2 * n), z * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return (middle - spread) / (1 + z * z / n), (middle + spread) / (1 + z * z / n)


# === Answers ===


def answer(scores: np.ndarray, target: Target, top_k: int | None) -> dict[str, Any]:
    """Returns the label with the highest score, and the scores of all labels, or of the best `top_k` of them, best first."""
    labels = target.labels
    best = int(scores.argmax())
    order = range(len(labels)) if top_k is None else np.argsort(-scores, kind="stable")[:top_k]
    return {
        **answer_set(scores, target, classes_in),
        "label": labels[best],
        "score": float(scores[best]),
        "scores": {labels[index]: float(scores[index]) for index in order},
    }


def columns(value: str, scores: np.ndarray, target: Target) -> dict[str, Any]:
    """Returns the columns of one example in `predictions.csv`."""
    return {
        "label": value,
        "predicted": target.labels[int(scores.argmax())],
        "score": f"{scores.max():.6f}",
        # A prefix keeps a class called `split` apart from the column of that name.
        **{f"score:{name}": f"{score:.6f}" for name, score in zip(target.labels, scores, strict=True)},
    }


def spec(target: Target) -> dict[str, Any]:
    """Returns how the scores are read, for the exporters."""
    return {"columns": ({"name": "", "columns": target.labels, "read": "largest"},)}


def signature(scores: Any, readable: Any, target: Target) -> dict[str, Any]:
    """Returns class id and label of each example, in TensorFlow; -1 and an empty text where no example was."""
    import tensorflow as tf

    class_id = tf.argmax(scores, axis=-1, output_type=tf.int64)
    label = tf.gather(tf.constant(list(target.labels)), class_id)
    return {"class_id": tf.where(readable, class_id, -1), "label": tf.where(readable, label, "")}


def judge(scores: np.ndarray, reference: np.ndarray, targets: Targets | None, target: Target | None = None) -> Judgement | None:
    """Judges an artifact by what it classifies correctly; without targets, by how often it agrees with the Keras model.

    Args:
        scores: of the artifact, (n, classes).
        reference: of the Keras model, (n, classes).
        targets: class ids, where they are known.
        target: with the label map, which is not needed.

    Returns:
        The judgement. None for scores of width 1: the largest of one output is always the first, whatever a file answers.
    """
    if reference.shape[-1] < 2:
        return None
    if not len(reference):
        return Judgement()
    agreement = float((scores.argmax(-1) == reference.argmax(-1)).mean())
    if targets is None:
        sentence = f"agrees with the model on {agreement:.3f} of the held-out examples"
        return Judgement(agreement=agreement, drop=1 - agreement, sentence=sentence)
    accuracy, before = (float((values.argmax(-1) == targets[TARGET]).mean()) for values in (scores, reference))
    sentence = f"is correct on {accuracy:.3f} of the held-out examples, the model on {before:.3f}"
    return Judgement(agreement=agreement, accuracy=accuracy, drop=before - accuracy, sentence=sentence)
