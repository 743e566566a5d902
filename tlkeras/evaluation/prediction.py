"""An opened model that predicts: one reader of inputs and one kind of result, for runs, artifacts and entries of the zoo."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from tlkeras.data.target import Target, number_text
from tlkeras.errors import ConfigError, DataError
from tlkeras.modalities.inputs import Inputs
from tlkeras.modalities.items import Item, Tell, items
from tlkeras.registry import load_function
from tlkeras.startup import tensor_float32
from tlkeras.tasks.certainty import check_target, known_of
from tlkeras.tasks.registry import DEFAULT, TASKS, Task, target_of
from tlkeras.tasks.rejection import needs_features
from tlkeras.training import eager
from tlkeras.training.observed import with_features

BATCH = 32  # inputs that are read and scored at a time


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction for one input, or the reason why there is none. Which fields are set depends on the task.

    Args:
        file: the input: a path, the text itself, or `input N`.
        label: the label with the highest score, of a classifier.
        score: its score.
        labels: the labels whose scores reach their thresholds, where an example may have several or none.
        scores: label -> score, of every label in the order of the label map; with `top_k`, of the best ones, best first.
        values: name -> number, in the unit of the data.
        intervals: name -> lower and upper end of the interval around the number, where held-out examples give one.
        targets: name -> the prediction of each of several targets, with these fields.
        prediction_set: labels among which the true one is, but for the error rate that was asked for; best first.
        known: whether the input is like those that the model was trained on; None where that cannot be told.
        error: why there is no prediction.
    """

    file: str = ""
    label: str = ""
    score: float = 0.0
    labels: list[str] | None = None
    scores: dict[str, float] = field(default_factory=dict, repr=False)
    values: dict[str, float] | None = None
    intervals: dict[str, list[float]] | None = None
    targets: dict[str, dict[str, Any]] | None = None
    prediction_set: list[str] | None = None
    known: bool | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields that are set."""
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        label = {"label": self.label, "score": self.score} if self.label else {}
        labels = {} if self.labels is None else {"labels": self.labels}
        others = {"scores": self.scores, "values": self.values, "intervals": self.intervals, "targets": self.targets}
        sure = {"prediction_set": self.prediction_set, "known": self.known}
        return {
            **{"file": self.file, **label, **labels},
            **{name: value for name, value in others.items() if value},
            **{name: value for name, value in sure.items() if value is not None},
        }

    def cells(self) -> list[str]:
        """Returns the prediction as cells of a line: names and scores or numbers, alternating; then the set, and `unknown` where it is so."""
        within = [] if self.prediction_set is None else [f"{{{', '.join(self.prediction_set)}}}"]
        return [*answer_cells(self.to_dict()), *within, *(["unknown"] if self.known is False else [])]


def answer_cells(answer: Mapping[str, Any]) -> list[str]:
    """Returns an answer as names and scores or numbers, alternating; of several labels, those that hold."""
    if "targets" in answer:
        return [
            cell if place % 2 or cell == name else f"{name}={cell}"
            for name, own in answer["targets"].items()
            for place, cell in enumerate(answer_cells(own))
        ]
    if "values" in answer:
        return [cell for name, value in answer["values"].items() for cell in (name, number_text(value))]
    scores = answer["scores"]
    names = scores if "label" in answer else [label for label in scores if label in answer["labels"]]
    return [cell for name in names for cell in (name, f"{scores[name]:.4f}")]


class Scorer(Protocol):
    """What scores inputs: a Keras model, or an artifact in its own runtime."""

    def __call__(self, inputs: np.ndarray, *, progress: Callable[[int, int], None] | None = None) -> np.ndarray: ...


def _silent(_: str) -> None:
    """Ignores the message."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model that was opened once and predicts many times.

    Args:
        scores: prepared inputs -> float32 (n, classes).
        runtime: name and version of its runtime.
        inputs: the inputs that it accepts.
        target: what it predicts, with the label map.
        task: what the scores mean.
        folder: of the run it belongs to, if any.
        model: of a `.keras` file.
        wide: prepared inputs -> scores and, in columns behind them, features; None where its runtime gives no features.
    """

    scores: Scorer
    runtime: str
    inputs: Inputs
    target: Target
    task: Task = TASKS.get(DEFAULT)
    folder: Path | None = None
    model: keras.Model | None = None
    wide: Scorer | None = None

    def __post_init__(self) -> None:
        check_target(self.task, self.target)

    @property
    def labels(self) -> tuple[str, ...]:
        """The label map."""
        return self.target.labels

    def predict(self, inputs: Any, *, top_k: int | None = None) -> list[Prediction]:
        """Predicts images, texts or sequences.

        Args:
            inputs: one input or several, in any iterable. Images: paths, folders, patterns such as `"photos/*.jpg"`, encoded
                images (bytes), PIL images, or arrays, uint8 (height, width, channels) or (n, height, width, channels), 0-255.
                Texts: strings, or a `Path` to a file of texts. Sequences: paths, or arrays (time, features).
            top_k: only the best labels, best first; all labels when None.

        Returns:
            One prediction for each input, in their order.

        Raises:
            DataError: naming the first input that cannot be read.
            ConfigError: when `top_k` is less than 1.
        """
        answers = []
        for answer in self.predict_each(inputs, top_k=top_k):
            if answer.error is not None:
                raise DataError(answer.error)
            answers.append(answer)
        return answers

    def predict_each(self, inputs: Any, *, top_k: int | None = None, tell: Tell = _silent) -> Iterator[Prediction]:
        """Predicts one input after the other. An input that cannot be read gives an error, and prediction continues.

        Args:
            inputs: see `predict`.
            top_k: see `predict`.
            tell: called with a message about each skipped file.
        """
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k is {top_k}; expected 1 or more")
        listed = items(inputs, self.inputs, tell)
        while part := list(islice(listed, BATCH)):
            yield from self._answers(part, top_k)

    def _answers(self, part: Sequence[Item], top_k: int | None) -> Iterator[Prediction]:
        ready: list[np.ndarray] = []
        errors: list[str | None] = []
        for item in part:
            error = item.error
            if error is None:
                try:
                    ready.append(self.inputs.read(item.value, item.name))
                except DataError as problem:
                    error = str(problem)
            errors.append(error)
        answered = iter(self._scored(self.inputs.stack(ready)) if ready else ())
        for item, error in zip(part, errors, strict=True):
            yield self._answer(item.name, *next(answered), top_k) if error is None else Prediction(file=item.name, error=error)

    def _scored(self, inputs: np.ndarray) -> Iterator[tuple[np.ndarray, bool | None]]:
        """Yields the scores of each input, and whether it is known: as far as the runtime gives what that takes."""
        tell, width = known_of(self.task, self.target), len(self.target.labels)
        by_features = needs_features(self.target)
        if tell is None or by_features and self.wide is None:
            yield from ((scores, None) for scores in self.scores(inputs))
            return
        values = self.wide(inputs) if by_features and self.wide is not None else self.scores(inputs)
        scores, features = values[:, :width], values[:, width:]
        for own, known in zip(scores, np.asarray(tell(scores, features)), strict=True):
            yield own, bool(known)

    def _answer(self, name: str, scores: np.ndarray, known: bool | None, top_k: int | None) -> Prediction:
        return Prediction(file=name, known=known, **load_function(self.task.answer)(scores, self.target, top_k))


def keras_scores(
    model: keras.Model, inputs: np.ndarray, *, batch_size: int = 64, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Returns the scores of images (n, size, size, channels), 0-255, or of token ids (n, tokens), as float32 (n, classes).

    They are computed in full float32, not in TF32, because artifacts are compared with them.
    """
    parts = [np.empty((0, model.output_shape[-1]), "float32")]
    kind = model.inputs[0].dtype
    for start in range(0, len(inputs), batch_size):
        with tensor_float32(False):
            batch = np.asarray(inputs[start : start + batch_size], kind)
            parts.append(eager.answers(model, batch, steps=math.ceil(len(inputs) / batch_size)))
        if progress:
            progress(min(start + batch_size, len(inputs)), len(inputs))
    return np.concatenate(parts)


def wide_scores(model: keras.Model) -> Scorer | None:
    """Returns what gives scores and features of a Keras model; None where the model has no features."""
    extended = with_features(model)
    return None if extended is None else partial(keras_scores, extended)


def known_target(content: Mapping[str, Any], path: Path) -> Target:
    """Returns what the model of a manifest predicts.

    Raises:
        DataError: when it predicts nothing, because it was trained for no task.
    """
    target = target_of(content)
    if target is None:
        raise DataError(f"{str(path)!r} has no labels and cannot predict any: it was exported or pretrained without classes")
    return target
