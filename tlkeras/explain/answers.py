"""Which number of a model is explained: the log-odds of a label, or a number that it predicts.

Probabilities saturate: where a network is sure, the gradient through its softmax or sigmoid is close to 0 for every part of the input. So what is explained
is what stands before it, as log-odds: of a class against all others, log p / (1 - p) = z_k - logsumexp of the other logits; of a label, its logit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tlkeras.data.target import Target
from tlkeras.errors import ConfigError, near
from tlkeras.registry import load_function
from tlkeras.tasks.registry import Task

LOG_ODDS, VALUE = "log-odds", "value"
SMALLEST = 1e-7  # probabilities are clipped there, where a model has no logits
EXCLUDED = -1e9  # logit of what is left out of a sum


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The columns of the scores that answer one target.

    Args:
        name: of the target; empty where there is one.
        labels: what its columns are.
        start: its first column.
        read: how the scores are read: `largest`, `thresholds` or `values`; see `Task.spec`.
        thresholds: of the labels, for `thresholds`.
    """

    name: str
    labels: tuple[str, ...]
    start: int
    read: str
    thresholds: tuple[float, ...] = ()

    @property
    def columns(self) -> slice:
        """The columns in the scores of the model."""
        return slice(self.start, self.start + len(self.labels))

    @property
    def scale(self) -> str:
        """What the explained number is."""
        return VALUE if self.read == "values" else LOG_ODDS

    def best(self, scores: np.ndarray, count: int = 1) -> list[int]:
        """Returns the columns, counted from `start`, that a user asks for first: the likeliest labels, or the first numbers.

        Args:
            scores: (labels,) of one example.
            count: how many.
        """
        if self.read == "values":
            return list(range(min(count, len(self.labels))))
        probabilities = np.clip(np.asarray(scores, "float64"), SMALLEST, 1 - SMALLEST)
        # A label that is rare has a low threshold: how far it is above decides, in log-odds.
        surplus = _log_odds(probabilities) - (_log_odds(np.clip(self.thresholds, SMALLEST, 1 - SMALLEST)) if self.thresholds else 0.0)
        return [int(column) for column in np.argsort(-surplus, kind="stable")[:count]]

    def column(self, label: str) -> int:
        """Returns the column of a label, counted from `start`.

        Raises:
            ConfigError: naming close labels.
        """
        if label not in self.labels:
            raise ConfigError(f"the model predicts no {label!r}; {near(label, self.labels)}")
        return self.labels.index(label)


def _log_odds(p: Any) -> Any:
    return np.log(p) - np.log1p(-np.asarray(p))


def answers_of(task: Task, target: Target) -> list[Answers]:
    """Returns what a model answers: one entry for each of several targets, else one."""
    every, start = [], 0
    for group in load_function(task.spec)(target)["columns"]:
        labels = tuple(group["columns"])
        every.append(Answers(name=group["name"], labels=labels, start=start, read=group["read"], thresholds=group.get("thresholds", ())))
        start += len(labels)
    return every


def answers_named(every: Sequence[Answers], name: str | None) -> Answers:
    """Returns the answers of one target: of the one that is named, or the first.

    Raises:
        ConfigError: naming the targets that there are.
    """
    if name is None:
        return every[0]
    named = next((answers for answers in every if answers.name == name), None)
    if named is None:
        names = [answers.name for answers in every if answers.name]
        raise ConfigError(
            f"no target {name!r}; {near(name, names)}" if names else f"output is {name!r}; the model predicts one target, so leave it out"
        )
    return named


# === In a network ===


def number_tensor(model: keras.Model, answers: Answers) -> tuple[Any, bool]:
    """Returns the tensor of a model that holds the answers of one target, and whether it holds probabilities.

    Args:
        model: with one output, the scores.
        answers: of the target.

    Returns:
        (batch, labels): logits where the scores come from a softmax or sigmoid layer, probabilities where they come from anything else, numbers
        where the target is numbers.
    """
    tensor = _own_part(model.output, answers)
    if answers.read == "values":
        return tensor, False
    operation = tensor._keras_history.operation
    activations = (keras.activations.softmax, keras.activations.sigmoid)
    if isinstance(operation, keras.layers.Softmax) or (
        isinstance(operation, keras.layers.Activation) and operation.activation in activations
    ):
        return _inputs(tensor)[0], False
    return tensor, True


def _inputs(tensor: Any) -> list[Any]:
    history = tensor._keras_history
    return list(history.operation._inbound_nodes[history.node_index].input_tensors)


def _own_part(output: Any, answers: Answers) -> Any:
    """Returns the scores of one target: its own head, where heads are put side by side, else its columns."""
    if output.shape[-1] == len(answers.labels):
        return output
    if isinstance(output._keras_history.operation, keras.layers.Concatenate):
        start = 0
        for part in _inputs(output):
            if start == answers.start and part.shape[-1] == len(answers.labels):
                return part
            start += part.shape[-1]
    return output[:, answers.columns]


def number(values: Any, columns: Any, answers: Answers, probabilities: bool) -> Any:
    """Returns the number that is explained, in TensorFlow.

    Args:
        values: float (n, labels), as `number_tensor` gives them.
        columns: int (n,), counted from the first label.
        answers: of the target.
        probabilities: whether the values are probabilities.

    Returns:
        float32 (n,).
    """
    import tensorflow as tf

    values = tf.cast(values, tf.float32)
    own = tf.gather(values, columns, axis=1, batch_dims=1)
    if probabilities:
        own = tf.clip_by_value(own, SMALLEST, 1 - SMALLEST)
        return tf.math.log(own) - tf.math.log1p(-own)
    if answers.read == "largest" and len(answers.labels) > 1:
        others = tf.where(tf.one_hot(columns, len(answers.labels)) > 0, tf.constant(EXCLUDED), values)
        return own - tf.reduce_logsumexp(others, axis=1)
    return own
