"""Multi-label classification: any number of labels per example, a sigmoid score for each, and a threshold for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tlkeras.data.target import SEPARATOR, Target
from tlkeras.tasks.conformal import answer_set, labels_in
from tlkeras.tasks.judgement import Judgement
from tlkeras.tasks.markup import figure
from tlkeras.tasks.registry import TARGET, Options, Targets
from tlkeras.tasks.thresholds import decisions, thresholds

SMALLEST = 1e-7  # probabilities are clipped there, as Keras' own cross-entropy does
LARGEST_WEIGHT = 20.0  # of positives; a label that 1 example in 1,000 has would get steps a thousand times as large
CONSTANT_SHOWN = 3  # labels of the constant answer that a headline names
UNREADABLE = "?"  # stands for every label of an example that could not be read; nothing would be an answer


# === Head and loss ===


def build_head(features: keras.KerasTensor, target: Target, dropout: float, prefix: str = "") -> keras.KerasTensor:
    """Returns a sigmoid score for each label, in float32 whatever the dtype policy.

    Args:
        features: (batch, width).
        target: with the label map.
        dropout: fraction of the features dropped in training, 0 to 1.
        prefix: of the names of the layers.
    """
    x = keras.layers.Dropout(dropout, name=f"{prefix}head_dropout")(features)
    x = keras.layers.Dense(len(target.labels), name=f"{prefix}head_logits", dtype="float32")(x)  # (batch, width) -> (batch, labels)
    return keras.layers.Activation("sigmoid", name=f"{prefix}scores", dtype="float32")(x)


def learn(target: Target, targets: Targets, options: Options) -> Target:
    """Returns the target with `positive_weights`, where rare labels are to count as much as frequent ones.

    The weight of a label is negatives / positives among the training examples, from 1/20 to 20; 1 where all or none have it.
    """
    if not options.class_weights:
        return target
    y = targets[TARGET]
    positives = y.sum(axis=0, dtype="float64")
    negatives = len(y) - positives
    ratios = np.divide(negatives, positives, out=np.ones(len(target.labels)), where=(positives > 0) & (negatives > 0))
    weights = np.clip(ratios, 1 / LARGEST_WEIGHT, LARGEST_WEIGHT)
    return target.with_facts(positive_weights=[float(weight) for weight in weights])


def loss(target: Target) -> str | Callable[[Any, Any], Any]:
    """Returns binary cross-entropy, the mean over the labels; positives are weighted where the target has weights of them."""
    if "positive_weights" not in target.facts:
        return "binary_crossentropy"
    weights = np.array(target.facts["positive_weights"], "float32")

    def weighted_crossentropy(y: Any, scores: Any) -> Any:
        p = keras.ops.clip(scores, SMALLEST, 1 - SMALLEST)
        y = keras.ops.cast(y, p.dtype)
        return -keras.ops.mean(weights * y * keras.ops.log(p) + (1 - y) * keras.ops.log(1 - p), axis=-1)

    return weighted_crossentropy


# === Scores of a model ===


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """Figures of one label: `n` examples have it, `predicted` were given it, `correct` are both.

    Without examples that have the label there is no average precision.
    """

    label: str
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    n: int
    predicted: int
    correct: int
    threshold: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures of the label."""
        names = ("precision", "recall", "f1", "average_precision", "n", "predicted", "threshold")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class Score:
    """Figures of `n` examples.

    Args:
        n: number of examples.
        mean_average_precision: mean over the labels that occur among the targets.
        micro_f1: over all decisions; 1 where no label occurs and none is predicted.
        macro_f1: mean over the labels that occur among the targets or in the predictions.
        hamming_loss: share of the decisions that are wrong.
        exact_match: share of the examples whose decisions are all correct.
        loss: mean binary cross-entropy, not weighted.
        constant: the set of labels that is the best constant answer, and its micro-F1.
        per_label: one row for each label of the label map.
        confused: int (labels, labels): in how many examples the first label is missed while the second is added.
    """

    n: int
    mean_average_precision: float | None = None
    micro_f1: float | None = None
    macro_f1: float | None = None
    hamming_loss: float | None = None
    exact_match: float | None = None
    loss: float | None = None
    constant: dict[str, Any] | None = None
    per_label: tuple[LabelScore, ...] = ()
    confused: np.ndarray

    @property
    def never_predicted(self) -> list[str]:
        """The labels that occur among these examples but are never predicted."""
        return [row.label for row in self.per_label if row.n and not row.predicted]

    def to_dict(self) -> dict[str, Any]:
        """Returns the record of a split in `metrics.json`."""
        return {
            "n": self.n,
            "mean_average_precision": self.mean_average_precision,
            "micro_f1": self.micro_f1,
            "macro_f1": self.macro_f1,
            "hamming_loss": self.hamming_loss,
            "exact_match": self.exact_match,
            "loss": self.loss,
            "constant": self.constant,
            "never_predicted": self.never_predicted,
        }

    def detailed(self) -> dict[str, Any]:
        """Returns the record with the figures of each label."""
        return {**self.to_dict(), "per_label": {row.label: row.to_dict() for row in self.per_label}}

    def cells(self) -> dict[str, float | int | None]:
        """Returns the columns of the table of scores."""
        return {
            "mAP": self.mean_average_precision,
            "micro-F1": self.micro_f1,
            "macro-F1": self.macro_f1,
            "exact match": self.exact_match,
            "Hamming loss": self.hamming_loss,
            "loss": self.loss,
            "n": self.n,
        }

    def headline(self, split: str) -> str:
        """Returns the figures beside those of the best constant answer, and how many labels are never predicted."""
        if self.constant is None or self.micro_f1 is None:
            return ""
        text = (
            f"{split}: micro-F1 {self.micro_f1:.3f}, macro-F1 {figure(self.macro_f1)}, mAP {figure(self.mean_average_precision)}; "
            f"always predicting {_named(self.constant['labels'])} would reach micro-F1 {self.constant['micro_f1']:.3f}"
        )
        if self.micro_f1 <= self.constant["micro_f1"]:
            text += ": the model is no better than that"
        return text + (f"; never predicted: {_named(self.never_predicted)}" if self.never_predicted else "")

    def lines(self) -> list[str]:
        """Returns the figures of each label as text."""
        return [
            f"  {row.label:<24} precision {row.precision:.3f}  recall {row.recall:.3f}  f1 {row.f1:.3f}  "
            f"AP {figure(row.average_precision)}  threshold {row.threshold:.3f}  n {row.n}"
            for row in self.per_label
        ]


def _named(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - CONSTANT_SHOWN} more" if len(labels) > CONSTANT_SHOWN else ""
    return (", ".join(map(repr, labels[:CONSTANT_SHOWN])) or "no label") + more


def score(targets: Targets, scores: np.ndarray, target: Target) -> Score:
    """Scores predictions; targets and predictions must come from the same pass over the data.

    Args:
        targets: 0 or 1 for each label, float (n, labels).
        scores: (n, labels) float, 0 to 1.
        target: with the label map and the thresholds.

    Returns:
        The scores; with n = 0, all figures are None.
    """
    y, count = targets[TARGET] > 0, len(target.labels)
    if len(y) == 0:
        return Score(n=0, confused=np.zeros((count, count), int))
    predicted = decisions(scores, target)
    rows = label_scores(y, predicted, scores, target)
    present = [row.f1 for row in rows if row.n or row.predicted]
    precisions = [row.average_precision for row in rows if row.average_precision is not None]
    p = np.clip(scores.astype("float64"), SMALLEST, 1 - SMALLEST)
    return Score(
        n=len(y),
        mean_average_precision=float(np.mean(precisions)) if precisions else None,
        micro_f1=micro_f1(predicted, y),
        macro_f1=float(np.mean(present)) if present else None,
        hamming_loss=float((predicted != y).mean()),
        exact_match=float((predicted == y).all(axis=1).mean()),
        loss=float(-np.where(y, np.log(p), np.log1p(-p)).mean()),
        constant=_best_constant(y, target.labels),
        per_label=rows,
        confused=confused(y, predicted),
    )


def label_scores(y: np.ndarray, predicted: np.ndarray, scores: np.ndarray, target: Target) -> tuple[LabelScore, ...]:
    """Returns the figures of each label.

    Args:
        y: bool (n, labels), which labels hold.
        predicted: bool (n, labels), which were predicted.
        scores: float (n, labels).
        target: with the label map and the thresholds.
    """
    from sklearn.metrics import average_precision_score  # takes half a second to import, and predictions do not need it

    rows = []
    for index, (label, threshold) in enumerate(zip(target.labels, thresholds(target), strict=True)):
        holds, answered = y[:, index], predicted[:, index]
        n, count, correct = int(holds.sum()), int(answered.sum()), int((holds & answered).sum())
        rows.append(
            LabelScore(
                label=label,
                precision=correct / count if count else 0.0,
                recall=correct / n if n else 0.0,
                f1=2 * correct / (n + count) if n + count else 0.0,
                average_precision=float(average_precision_score(holds, scores[:, index])) if n else None,
                n=n,
                predicted=count,
                correct=correct,
                threshold=float(threshold),
            )
        )
    return tuple(rows)


def confused(y: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns in how many examples each label is missed while another is added, int (labels, labels)."""
    missed, added = (
        (y & ~predicted).astype("float64"),
        (~y & predicted).astype("float64"),
    )  # of integers, products take a hundred times longer
    return np.rint(missed.T @ added).astype(int)


def micro_f1(predicted: np.ndarray, y: np.ndarray) -> float:
    """Returns F1 over all decisions, bool (n, labels); 1 where no label holds and none is predicted."""
    total = int(predicted.sum()) + int(y.sum())
    return 2 * int((predicted & y).sum()) / total if total else 1.0


def _best_constant(y: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Returns the set of labels with the best micro-F1 as the answer to every example: the most frequent ones, up to some rank."""
    counts = y.sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    sizes = np.arange(1, len(labels) + 1)
    f1 = 2 * np.cumsum(counts[order]) / (len(y) * sizes + counts.sum())
    size = int(np.argsort(-f1, kind="stable")[0]) + 1 if counts.any() else 0
    return {"labels": [labels[index] for index in order[:size]], "micro_f1": float(f1[size - 1]) if size else 1.0}


# === Answers ===


def answer(scores: np.ndarray, target: Target, top_k: int | None) -> dict[str, Any]:
    """Returns the labels that reach their thresholds, best first, and scores.

    They are those of all labels, or, best first, of the best `top_k` and of every label that reaches its threshold.
    """
    labels, holds = target.labels, decisions(scores, target)
    best = np.argsort(-scores, kind="stable")
    order = range(len(labels)) if top_k is None else [index for rank, index in enumerate(best) if rank < top_k or holds[index]]
    return {
        **answer_set(scores, target, labels_in),
        "labels": [labels[index] for index in best if holds[index]],
        "scores": {labels[index]: float(scores[index]) for index in order},
    }


def columns(value: Sequence[str], scores: np.ndarray, target: Target) -> dict[str, Any]:
    """Returns the columns of one example in `predictions.csv`; labels in the order of the label map."""
    holds = decisions(scores, target)
    return {
        "label": SEPARATOR.join(label for label in target.labels if label in value),
        "predicted": SEPARATOR.join(label for label, own in zip(target.labels, holds, strict=True) if own),
        # A prefix keeps a label called `split` apart from the column of that name.
        **{f"score:{name}": f"{score:.6f}" for name, score in zip(target.labels, scores, strict=True)},
    }


def signature(scores: Any, readable: Any, target: Target) -> dict[str, Any]:
    """Returns the labels of each example, in TensorFlow.

    Returns:
        `labels` (n, labels): in each column the label, or an empty text where it does not hold; `label_mask` (n, labels): 1 or 0.
        An example that could not be read has `?` and -1 in every column.
    """
    import tensorflow as tf

    holds, row = scores >= tf.constant(thresholds(target)), readable[:, tf.newaxis]
    texts = tf.where(holds, tf.constant(list(target.labels)), "")
    return {"labels": tf.where(row, texts, UNREADABLE), "label_mask": tf.where(row, tf.cast(holds, tf.int64), -1)}


def judge(scores: np.ndarray, reference: np.ndarray, targets: Targets | None, target: Target) -> Judgement:
    """Judges an artifact by its micro-F1 at the thresholds; without targets, by how many of its decisions are those of the Keras model.

    Args:
        scores: of the artifact, (n, labels).
        reference: of the Keras model, (n, labels).
        targets: 0 or 1 for each label, where they are known.
        target: with the thresholds.
    """
    if not len(reference):
        return Judgement()
    artifact, model = decisions(scores, target), decisions(reference, target)
    agreement = float((artifact == model).mean())
    if targets is None:
        sentence = f"agrees with the model on {agreement:.3f} of the labels of the held-out examples"
        return Judgement(agreement=agreement, drop=1 - agreement, sentence=sentence)
    y = targets[TARGET] > 0
    after, before = micro_f1(artifact, y), micro_f1(model, y)
    sentence = f"reaches micro-F1 {after:.3f} on the held-out examples, the model {before:.3f}"
    return Judgement(agreement=agreement, accuracy=after, drop=before - after, sentence=sentence)
