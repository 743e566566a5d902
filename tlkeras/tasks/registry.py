"""The tasks a model can be trained for: one row each. Reading this table imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tlkeras.errors import DataError, reason
from tlkeras.files import parse_json
from tlkeras.registry import Registry, load_function
from tlkeras.tasks.protocols import Labelled

if TYPE_CHECKING:
    from tlkeras.data.target import Target

Targets = Mapping[str, Any]  # name -> array (n, …), in the order of the examples
TARGET = "target"  # the entry that the loss receives, and the only one where one thing is predicted for each example


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a model answers, and how that is judged. Functions are named as `"module:function"`.

    The model has one output, `scores`, float32 (n, width); what its columns mean is known to the task alone. `target` is what is to be
    predicted, a `Target`, with the label map and the facts that the task has learnt about it.

    Args:
        name: name that users pass.
        help: one line of help text.
        target: the kind of target that it predicts: a name in `tlkeras.data.target.KINDS`.
        loss: Keras loss that trains the head: a name that Keras knows, or a function, named or itself: target -> loss.
        soft_loss: the same for targets that are probabilities, (n, width); empty where targets cannot be mixed or smoothed.
        metrics: Keras metrics shown while it trains, by the names that Keras knows.
        monitor: figure of the history that early stopping watches; smaller is better. `val_` is put before it where examples are held out.
        figure: what tables call the figure of an artifact on held-out examples (`Judgement.accuracy`).
        compared: entry of `Score.cells` by which backbones are compared, larger is better, where it is another one: what needs no threshold.
        class_weights: whether `class_weights` means anything to it.
        labelled_outputs: whether column `i` of the scores belongs to label `i`; only then artifacts contain the label map.
        encode_targets: (values of the examples, target) -> targets; the loss receives the entry `TARGET`.
        build_head: (features (batch, width), target, dropout, prefix of the layers' names) -> scores, of a layer called `scores`
            after the prefix.
        score: (targets, scores, target) -> `Score`.
        answer: (scores (width,) of one example, target, top_k or None) -> the fields of a `Prediction` but `file` and `error`.
        columns: (value of an example, its scores (width,), target) -> its columns in `predictions.csv`.
        measures: (targets, scores, target) -> name of the target -> `Measures`: every figure, for resampling; empty where there is nothing
            but the score.
        judge: (scores of an artifact, scores of the Keras model, targets or None, target) -> `Judgement`; None where neither can be
            judged.
        signature: (scores, which examples could be read bool (n,), target) -> further outputs of a SavedModel, in TensorFlow.
        report: (score, name of the split, target, conditions) -> (title, HTML) of each section of the report; the first, without
            title, is the headline.
        cases: (targets, scores, target) -> name -> `Cases`, how each example was answered: for galleries, maps and curves of the report.
            The name is that of one of several targets, and empty where there is one. Empty where the report has none of these.
        key: key of the split's record in `metrics.json` that is `figure`, by which runs are compared; empty: the first number of it.
        publish: (content of `metrics.json`, rows of `predictions.csv` of the held-out split, target) -> what the manifest of an
            entry records of it; `metrics` is in it.
        card: (manifest of an entry, what one input is called) -> (title, Markdown) of each section of the card; the first, without
            title, is a sentence on what the model predicts. `target_of` returns the target.
        weigh: targets of the training examples, where `class_weights` is set -> class id -> weight of its examples; empty where the
            task weighs in its loss.
        check: (target, options) -> None; raises ConfigError where they do not fit, before anything slow. Only tasks of several targets,
            whose losses can be weighed, have one.
        learn: (target, targets of the training examples, options) -> the target with facts that training needs; before training.
        prepare: (model, target, prefix) -> None; sets weights of the head from the facts; before training.
        calibrate: (target, targets of the validation examples, their scores) -> the target with facts that answers need; after
            training, also where nothing is held out (n = 0).
        transform: task model -> the task model that is trained, whose scores may have further columns at their end; empty where it is the
            same.
        finish: trained task model -> the one that is kept; empty where it is the same.
        losses: names of the losses that users may choose; the first is the default.
        spec: target -> further fields of the `ExportSpec` of its models. `columns`, how their scores are read, must be one of them where it can be
            part of several targets.
        attribute: attribute of a `Prediction` that is the answer, for the programs on cards.
        label_output: output of a SavedModel that is the answer as text, for the same; empty where all of its outputs are.
        mistakes: (targets, scores, target) -> `mistakes.Mistake`s, the most confident first; empty where the task has no error analysis.
        confused: (targets, scores, target) -> (what it is, what it is taken for, examples), the most frequent first; empty where
            nothing is taken for something else.
        label_errors: (values of the examples, targets, scores of models that have not seen them, target) -> `label_errors.Suspect`s, the
            most suspicious first; empty where the task has none.
        certainty: class without arguments, a `tlkeras.tasks.certainty.Certainty`; empty where scores are kept as the head gives them.
    """

    name: str
    help: str
    target: str = "class"
    loss: str | Callable[[Target], Any]
    soft_loss: str = ""
    metrics: tuple[str, ...]
    monitor: str
    figure: str
    compared: str = ""
    class_weights: bool
    labelled_outputs: bool
    encode_targets: str = "tlkeras.tasks.registry:encode"
    build_head: str
    score: str
    answer: str
    columns: str
    judge: str
    signature: str
    report: str
    cases: str = ""
    key: str = ""
    publish: str
    card: str
    weigh: str = ""
    check: str = ""
    learn: str = ""
    prepare: str = ""
    calibrate: str = ""
    transform: str = ""
    finish: str = ""
    losses: tuple[str, ...] = ()
    measures: str = ""
    spec: str = ""
    attribute: str = "label"
    label_output: str = ""
    mistakes: str = ""
    confused: str = ""
    label_errors: str = ""
    certainty: str = ""

    def keras_loss(self, target: Target, *, soft: bool = False) -> Any:
        """Returns the loss as Keras accepts it; `soft` for targets that are probabilities."""
        loss = self.soft_loss if soft else self.loss
        if callable(loss):
            return loss(target)
        return load_function(loss)(target) if ":" in loss else loss

    def targets_of(self, examples: Iterable[Labelled], target: Target) -> Targets:
        """Returns the targets of examples, from their values."""
        return load_function(self.encode_targets)([example.label for example in examples], target)

    def learnt(self, target: Target, targets: Targets, options: Options) -> Target:
        """Returns the target with what training needs to know of its examples."""
        return load_function(self.learn)(target, targets, options) if self.learn else target

    def prepared(self, model: Any, target: Target, prefix: str = "") -> None:
        """Sets weights of the head that follow from the facts of the target."""
        if self.prepare:
            load_function(self.prepare)(model, target, prefix)

    def calibrated(self, target: Target, targets: Targets, scores: Any) -> Target:
        """Returns the target with what answers need to know of examples that were held out."""
        return load_function(self.calibrate)(target, targets, scores) if self.calibrate else target


def encode(values: Sequence[Any], target: Target) -> Targets:
    """Returns the one entry of targets that are trained on as they are encoded."""
    return {TARGET: target.encode(values)}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What users decide about the loss of a task.

    Args:
        loss: name of the loss, where a task offers several; None: its default.
        class_weights: whether rare classes or labels count as much as frequent ones.
        target_weights: of several targets, as the config says it; None: equal ones.
    """

    loss: str | None = None
    class_weights: bool = False
    target_weights: str | None = None


TASKS: Registry[Task] = Registry(
    "task",
    [
        Task(
            name="classification",
            help="One label per example.",
            target="class",
            loss="sparse_categorical_crossentropy",
            soft_loss="categorical_crossentropy",
            metrics=("accuracy",),
            monitor="loss",
            figure="accuracy",
            class_weights=True,
            labelled_outputs=True,
            build_head="tlkeras.tasks.classification:build_head",
            score="tlkeras.tasks.classification:score",
            measures="tlkeras.tasks.classification_measures:measures",
            answer="tlkeras.tasks.classification:answer",
            columns="tlkeras.tasks.classification:columns",
            judge="tlkeras.tasks.classification:judge",
            signature="tlkeras.tasks.classification:signature",
            report="tlkeras.tasks.classification_pages:report",
            cases="tlkeras.tasks.classification_pages:cases",
            key="accuracy",
            publish="tlkeras.tasks.classification_pages:publish",
            card="tlkeras.tasks.classification_pages:card",
            spec="tlkeras.tasks.classification:spec",
            weigh="tlkeras.tasks.classification:class_weights",
            label_output="label",
            mistakes="tlkeras.tasks.mistakes:of_classes",
            confused="tlkeras.tasks.mistakes:confused_classes",
            label_errors="tlkeras.tasks.label_errors:of_classes",
            certainty="tlkeras.tasks.certainty:OfClasses",
        ),
        Task(
            name="multilabel",
            help="Any number of labels per example.",
            target="labels",
            loss="tlkeras.tasks.multilabel:loss",
            soft_loss="tlkeras.tasks.multilabel:loss",
            metrics=("binary_accuracy",),
            monitor="loss",
            figure="micro-F1",
            compared="mAP",
            class_weights=True,
            labelled_outputs=True,
            attribute="labels",
            build_head="tlkeras.tasks.multilabel:build_head",
            score="tlkeras.tasks.multilabel:score",
            measures="tlkeras.tasks.multilabel_measures:measures",
            answer="tlkeras.tasks.multilabel:answer",
            columns="tlkeras.tasks.multilabel:columns",
            judge="tlkeras.tasks.multilabel:judge",
            signature="tlkeras.tasks.multilabel:signature",
            report="tlkeras.tasks.multilabel_pages:report",
            cases="tlkeras.tasks.multilabel_pages:cases",
            key="micro_f1",
            publish="tlkeras.tasks.multilabel_pages:publish",
            card="tlkeras.tasks.multilabel_pages:card",
            learn="tlkeras.tasks.multilabel:learn",
            calibrate="tlkeras.tasks.thresholds:calibrate",
            spec="tlkeras.tasks.thresholds:spec",
            mistakes="tlkeras.tasks.mistakes:of_sets",
            confused="tlkeras.tasks.mistakes:confused_labels",
            label_errors="tlkeras.tasks.label_errors:of_sets",
            certainty="tlkeras.tasks.certainty:OfLabels",
        ),
        Task(
            name="regression",
            help="One or several numbers per example.",
            target="numbers",
            loss="tlkeras.tasks.regression:loss",
            metrics=(),
            monitor="loss",
            figure="R²",
            class_weights=False,
            labelled_outputs=False,
            build_head="tlkeras.tasks.regression:build_head",
            score="tlkeras.tasks.regression:score",
            measures="tlkeras.tasks.regression_measures:measures",
            answer="tlkeras.tasks.regression:answer",
            columns="tlkeras.tasks.regression:columns",
            judge="tlkeras.tasks.regression:judge",
            signature="tlkeras.tasks.regression:signature",
            report="tlkeras.tasks.regression_pages:report",
            cases="tlkeras.tasks.regression_pages:cases",
            key="r2",
            publish="tlkeras.tasks.regression_pages:publish",
            card="tlkeras.tasks.regression_pages:card",
            spec="tlkeras.tasks.regression:spec",
            learn="tlkeras.tasks.regression:learn",
            prepare="tlkeras.tasks.regression:prepare",
            calibrate="tlkeras.tasks.regression:calibrate",
            losses=("squared", "huber"),
            attribute="values",
            mistakes="tlkeras.tasks.mistakes:of_numbers",
            label_errors="tlkeras.tasks.label_errors:of_numbers",
            certainty="tlkeras.tasks.certainty:OfNumbers",
        ),
        Task(
            name="several",
            help="Several targets at once: classes, sets of labels and numbers, by name.",
            target="several",
            loss="tlkeras.tasks.several:loss",
            metrics=(),
            monitor="loss",
            figure="mean figure",
            class_weights=True,
            labelled_outputs=False,
            build_head="tlkeras.tasks.several:build_head",
            score="tlkeras.tasks.several:score",
            measures="tlkeras.tasks.several:measures",
            answer="tlkeras.tasks.several:answer",
            columns="tlkeras.tasks.several:columns",
            judge="tlkeras.tasks.several:judge",
            signature="tlkeras.tasks.several:signature",
            report="tlkeras.tasks.several_pages:report",
            cases="tlkeras.tasks.several_pages:cases",
            publish="tlkeras.tasks.several_pages:publish",
            card="tlkeras.tasks.several_pages:card",
            spec="tlkeras.tasks.several:spec",
            check="tlkeras.tasks.weighting:check",
            learn="tlkeras.tasks.several:learn",
            prepare="tlkeras.tasks.several:prepare",
            calibrate="tlkeras.tasks.several:calibrate",
            certainty="tlkeras.tasks.certainty:OfSeveral",
            transform="tlkeras.tasks.several:transform",
            finish="tlkeras.tasks.several:finish",
            losses=("squared", "huber"),
            attribute="targets",
            mistakes="tlkeras.tasks.mistakes:of_parts",
            confused="tlkeras.tasks.mistakes:confused_parts",
            label_errors="tlkeras.tasks.label_errors:of_parts",
        ),
    ],
)

DEFAULT = TASKS.names()[0]  # also the task of files that were written before tasks had names


def task_of(metadata: Mapping[str, Any]) -> Task:
    """Returns the task of a model from the metadata of its artifacts or from its config."""
    return TASKS.get(str(metadata.get("task", DEFAULT)))


def task_named(name: str | None) -> Task:
    """Returns the task that a config names; classification where it names none, as configs did before there were others."""
    return TASKS.get(name or DEFAULT)


def target_of(content: Mapping[str, Any]) -> Target | None:
    """Returns what a model predicts, from the manifest of its artifacts or of its entry; None where it was trained for no task."""
    from tlkeras.data.target import Target

    metadata, labels = content["metadata"], content["labels"]
    if "target" in metadata:
        try:
            target = Target.from_dict(parse_json(metadata["target"]))
            if "reference" in metadata:  # see `tlkeras.tasks.rejection.without_reference`
                target = target.with_facts(rejection={**target.facts["rejection"], "reference": parse_json(metadata["reference"])})
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"the metadata of the model do not say what it predicts ({reason(error)}); export or publish it again"
            ) from error
        return target
    task = task_of(metadata)
    return None if labels is None and task.labelled_outputs else Target(kind=task.target, labels=tuple(labels or ()))


def task_for(kind: str) -> Task:
    """Returns the task that predicts a kind of target: the first one, where several do."""
    return next(task for task in TASKS if task.target == kind)


def take(targets: Targets, index: Any) -> dict[str, Any]:
    """Returns the targets of some examples."""
    return {name: values[index] for name, values in targets.items()}
