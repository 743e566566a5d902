"""The tasks a model can be trained for: one row each. Reading this table imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tlkeras.registry import Registry, load_function

Targets = Mapping[str, Any]  # name -> array (n, …), in the order of the examples
TARGET = "target"  # the entry that the loss receives, and the only one where one thing is predicted for each example
DEFAULT = "classification"  # also the task of files that were written before tasks had names


class Labelled(Protocol):
    """An example, as the sources give it."""

    @property
    def label(self) -> str: ...


class Score(Protocol):
    """The figures of a model on some examples; see `Task.score`."""

    @property
    def n(self) -> int:
        """Number of examples."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the record of a split in `metrics.json`; `n` is in it."""

    def detailed(self) -> dict[str, Any]:
        """Returns the same and more, as `tlkeras evaluate --json` prints it."""

    def cells(self) -> dict[str, float | int | None]:
        """Returns column -> figure, for the table of scores."""

    def headline(self, split: str) -> str:
        """Returns one sentence about a split; empty without examples."""

    def lines(self) -> list[str]:
        """Returns the details that `tlkeras evaluate` prints below the headline."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a model answers, and how that is judged. Functions are named as `"module:function"`.

    The model has one output, `scores`, float32 (n, width); what its columns mean is known to the task alone. A label map is the
    tuple of the names of all classes; it may be empty where targets are not classes.

    Args:
        name: name that users pass.
        help: one line of help text.
        loss: Keras loss that trains the head: a name that Keras knows, or `"module:function"`.
        metrics: Keras metrics shown while it trains, named in the same way.
        monitor: figure of the history that early stopping watches; smaller is better. `val_` is put before it where examples are held out.
        figure: what tables call the figure of an artifact on held-out examples (`Judgement.accuracy`).
        class_weights: whether the targets are class ids, so that classes can be weighed.
        labelled_outputs: whether column `i` of the scores belongs to label `i`; only then artifacts contain the label map.
        encode_targets: (label of each example, label map) -> targets; the loss receives the entry `TARGET`.
        build_head: (features (batch, width), size of the label map, dropout) -> scores.
        score: (targets, scores, label map) -> `Score`.
        answer: (scores (width,) of one example, label map, top_k or None) -> the fields `label`, `score` and `scores` of a prediction.
        columns: (label of an example, its scores (width,), label map) -> its columns in `predictions.csv`.
        judge: (scores of an artifact, scores of the Keras model, targets or None) -> `Judgement`; None where neither can be judged.
        signature: (scores, which examples could be read bool (n,), label map) -> further outputs of a SavedModel, in TensorFlow.
        report: (score, name of the split, label map, conditions) -> (title, HTML) of each section of the report; the first, without
            title, is the headline.
        publish: (content of `metrics.json`, rows of `predictions.csv` of the held-out split, label map) -> what the manifest of an
            entry records of it; `metrics` is in it.
        card: (manifest of an entry, what one input is called) -> (title, Markdown) of each section of the card; the first, without
            title, is a sentence on what the model predicts.
    """

    name: str
    help: str
    loss: str
    metrics: tuple[str, ...]
    monitor: str
    figure: str
    class_weights: bool
    labelled_outputs: bool
    encode_targets: str
    build_head: str
    score: str
    answer: str
    columns: str
    judge: str
    signature: str
    report: str
    publish: str
    card: str

    @property
    def keras_loss(self) -> Any:
        """The loss as Keras accepts it."""
        return _for_keras(self.loss)

    @property
    def keras_metrics(self) -> list[Any]:
        """The metrics as Keras accepts them."""
        return [_for_keras(metric) for metric in self.metrics]

    def targets_of(self, examples: Iterable[Labelled], labels: Sequence[str]) -> Targets:
        """Returns the targets of examples, from their labels and the label map."""
        return load_function(self.encode_targets)([example.label for example in examples], labels)


def _for_keras(name: str) -> Any:
    return load_function(name) if ":" in name else name


TASKS: Registry[Task] = Registry(
    "task",
    [
        Task(
            name="classification",
            help="One label per example.",
            loss="sparse_categorical_crossentropy",
            metrics=("accuracy",),
            monitor="loss",
            figure="accuracy",
            class_weights=True,
            labelled_outputs=True,
            encode_targets="tlkeras.tasks.classification:encode_targets",
            build_head="tlkeras.tasks.classification:build_head",
            score="tlkeras.tasks.classification:score",
            answer="tlkeras.tasks.classification:answer",
            columns="tlkeras.tasks.classification:columns",
            judge="tlkeras.tasks.classification:judge",
            signature="tlkeras.tasks.classification:signature",
            report="tlkeras.tasks.classification_pages:report",
            publish="tlkeras.tasks.classification_pages:publish",
            card="tlkeras.tasks.classification_pages:card",
        ),
    ],
)


def task_of(metadata: Mapping[str, Any]) -> Task:
    """Returns the task of a model from the metadata of its artifacts or from its config."""
    return TASKS.get(str(metadata.get("task", DEFAULT)))


def take(targets: Targets, index: Any) -> dict[str, Any]:
    """Returns the targets of some examples."""
    return {name: values[index] for name, values in targets.items()}
