"""An opened model that predicts: one reader of inputs and one kind of result, for runs, artifacts and entries of the zoo."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from tlkeras.errors import ConfigError, DataError
from tlkeras.modalities.inputs import Inputs
from tlkeras.modalities.items import Item, Tell, items
from tlkeras.registry import load_function
from tlkeras.startup import tensor_float32
from tlkeras.tasks.registry import DEFAULT, TASKS, Task

BATCH = 32  # inputs that are read and scored at a time


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction for one input, or the reason why there is none.

    Args:
        file: the input: a path, the text itself, or `input N`.
        label: the label with the highest score.
        score: its score.
        scores: label -> score, of every label in the order of the label map; with `top_k`, of the best ones, best first.
        error: why there is no prediction.
    """

    file: str = ""
    label: str = ""
    score: float = 0.0
    scores: dict[str, float] = field(default_factory=dict, repr=False)
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        return {"file": self.file, "label": self.label, "score": self.score, "scores": self.scores}


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
        labels: the label map; empty where the scores do not belong to labels.
        task: what the scores mean.
        folder: of the run it belongs to, if any.
        model: of a `.keras` file.
    """

    scores: Scorer
    runtime: str
    inputs: Inputs
    labels: tuple[str, ...]
    task: Task = TASKS.get(DEFAULT)
    folder: Path | None = None
    model: keras.Model | None = None

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
        scores = iter(self.scores(self.inputs.stack(ready))) if ready else iter(())
        for item, error in zip(part, errors, strict=True):
            yield self._answer(item.name, next(scores), top_k) if error is None else Prediction(file=item.name, error=error)

    def _answer(self, name: str, scores: np.ndarray, top_k: int | None) -> Prediction:
        return Prediction(file=name, **load_function(self.task.answer)(scores, self.labels, top_k))


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
            parts.append(np.asarray(model.predict_on_batch(np.asarray(inputs[start : start + batch_size], kind)), "float32"))
        if progress:
            progress(min(start + batch_size, len(inputs)), len(inputs))
    return np.concatenate(parts)


def label_map(labels: Any, path: Path, task: Task) -> tuple[str, ...]:
    """Returns the label map of a manifest; empty for a task whose scores do not belong to labels.

    Raises:
        DataError: when it has none and the task needs one, because the model is not a classifier.
    """
    if labels is None and task.labelled_outputs:
        raise DataError(f"{str(path)!r} has no labels and cannot predict any: it was exported or pretrained without classes")
    return tuple(labels or ())
