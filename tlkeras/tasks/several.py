"""Several targets at once: one head for each on the same backbone, and one loss that weighs theirs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tlkeras.data.target import Target
from tlkeras.registry import load_function
from tlkeras.tasks.judgement import Judgement
from tlkeras.tasks.measures import Measures
from tlkeras.tasks.protocols import Score as PartScore
from tlkeras.tasks.registry import TARGET, Options, Targets, Task, task_for
from tlkeras.tasks.weighting import UNCERTAINTY, weights_of

VARIANCES = "log_variances"  # the layer that holds them while training
SPEED = 10.0  # how much faster they move than the weights of a head: their optimum is a few units away, and a head's a fraction of one


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of several targets, and where it stands.

    Args:
        target: of the part.
        task: the row of the task that predicts it.
        prefix: of the names of its layers and outputs.
        scores: its columns of the scores.
        targets: its columns of the targets.
    """

    target: Target
    task: Task
    prefix: str
    scores: slice
    targets: slice

    def targets_in(self, targets: Targets) -> Targets:
        """Returns the targets of this part, as its task expects them."""
        columns = targets[TARGET][:, self.targets]
        kind = self.target.encode([])
        return {TARGET: columns[:, 0].astype(kind.dtype) if kind.ndim == 1 else columns}


def parts_of(target: Target) -> Iterator[Part]:
    """Yields the parts of several targets, in the order of their columns."""
    score_start = target_start = 0
    prefixes: set[str] = set()
    for index, part in enumerate(target.parts):
        prefix = re.sub(r"[^A-Za-z0-9]+", "_", part.name).strip("_") or f"target{index}"
        while prefix in prefixes:
            prefix = f"{prefix}{index}"
        prefixes.add(prefix)
        encoded = part.encode([])
        score_end, target_end = score_start + len(part.labels), target_start + (1 if encoded.ndim == 1 else encoded.shape[1])
        yield Part(
            target=part,
            task=task_for(part.kind),
            prefix=f"{prefix}_",
            scores=slice(score_start, score_end),
            targets=slice(target_start, target_end),
        )
        score_start, target_start = score_end, target_end


# === Head and loss ===


def build_head(features: keras.KerasTensor, target: Target, dropout: float, prefix: str = "") -> keras.KerasTensor:
    """Returns the scores of all parts, one after the other: (batch, width) -> (batch, columns), float32."""
    scores = [load_function(part.task.build_head)(features, part.target, dropout, f"{prefix}{part.prefix}") for part in parts_of(target)]
    return keras.layers.Concatenate(name=f"{prefix}scores", dtype="float32")(scores)


def learn(target: Target, targets: Targets, options: Options) -> Target:
    """Returns the target with what the task of each part has learnt of the training examples, and the weights of their losses."""
    parts = []
    for part in parts_of(target):
        own = part.targets_in(targets)
        learnt = part.task.learnt(part.target, own, options)
        if options.class_weights and part.task.weigh:
            weights = load_function(part.task.weigh)(own)
            learnt = learnt.with_facts(class_weights=[weights.get(index, 1.0) for index in range(len(learnt.labels))])
        parts.append(learnt)
    return Target.several(parts, {**target.facts, "weights": weights_of(target, options)})


def prepare(model: keras.Model, target: Target, prefix: str = "") -> None:
    """Prepares the head of each part."""
    for part in parts_of(target):
        part.task.prepared(model, part.target, f"{prefix}{part.prefix}")


def loss(target: Target) -> Any:
    """Returns the loss of all parts: (targets (batch, columns), scores (batch, columns)) -> (batch,).

    It is the sum of their losses, each times its weight; or with weights by uncertainty, in the manner of Kendall, Gal and Cipolla 2018
    (https://arxiv.org/abs/1705.07115), the sum of exp(-s) loss + s / 2, where s, the logarithm of a variance, is learnt for each part
    and stands in a column behind the scores.
    """
    parts = list(parts_of(target))
    losses = [keras.losses.get(part.task.keras_loss(part.target)) for part in parts]
    weights = target.facts.get("weights", {})

    def weighed(y: Any, scores: Any) -> Any:
        total = 0.0
        for index, (part, own_loss) in enumerate(zip(parts, losses, strict=True)):
            value = _part_loss(part, own_loss, y, scores)
            if weights == UNCERTAINTY:
                variance = scores[:, len(target.labels) + index]
                total += keras.ops.exp(-variance) * value + variance / 2
            else:
                total += weights.get(part.target.name, 1.0) * value
        return total

    return weighed


def _part_loss(part: Part, own_loss: Any, y: Any, scores: Any) -> Any:
    """Returns the loss of a part for each example, (batch,)."""
    columns, kind = y[:, part.targets], part.target.encode([])
    own = keras.ops.cast(columns[:, 0], kind.dtype.name) if kind.ndim == 1 else columns
    value = own_loss(own, scores[:, part.scores])
    weights = part.target.facts.get("class_weights")
    return value if weights is None else value * keras.ops.take(keras.ops.convert_to_tensor(weights, "float32"), own)


def transform(task: Any) -> Any:
    """Returns the task model with a learnt logarithm of a variance for each part behind the scores, where losses are weighed by them."""
    if task.target.facts.get("weights") != UNCERTAINTY:
        return task
    scores = task.model.output
    nothing = keras.ops.zeros_like(scores[:, :1])
    variances = keras.layers.Dense(len(task.target.parts), kernel_initializer="zeros", name=VARIANCES, dtype="float32")(nothing)
    outputs = keras.layers.Concatenate(name="scores_and_variances", dtype="float32")([scores, SPEED * variances])
    model = keras.Model(task.model.input, outputs, name=task.model.name)
    head = task.sections[task.model.output._keras_history.operation.name]
    return dataclasses.replace(task, model=model, sections={layer.name: task.sections.get(layer.name, head) for layer in model.layers})


def finish(task: Any) -> Any:
    """Returns the task model without what `transform` added, and the weights that it learnt as facts."""
    if task.target.facts.get("weights") != UNCERTAINTY:
        return task
    variances = SPEED * np.asarray(task.model.get_layer(VARIANCES).bias)
    learnt = {part.name: float(np.exp(-variance)) for part, variance in zip(task.target.parts, variances, strict=True)}
    model = keras.Model(task.model.input, task.model.get_layer("scores").output, name=task.model.name)
    sections = {layer.name: task.sections[layer.name] for layer in model.layers}
    return dataclasses.replace(task, model=model, sections=sections, target=task.target.with_facts(learnt_weights=learnt))


def calibrate(target: Target, targets: Targets, scores: np.ndarray) -> Target:
    """Returns the target with what the task of each part has learnt of the validation examples."""
    parts = [part.task.calibrated(part.target, part.targets_in(targets), scores[:, part.scores]) for part in parts_of(target)]
    return Target.several(parts, target.facts)


# === Scores ===


@dataclass(frozen=True, kw_only=True)
class Score:
    """The figures of each part on the same examples."""

    n: int
    parts: dict[str, PartScore]

    def to_dict(self) -> dict[str, Any]:
        """Returns the record of a split in `metrics.json`."""
        return {"n": self.n, "targets": {name: score.to_dict() for name, score in self.parts.items()}}

    def detailed(self) -> dict[str, Any]:
        """Returns the record with the details of each part."""
        return {"n": self.n, "targets": {name: score.detailed() for name, score in self.parts.items()}}

    def cells(self) -> dict[str, float | int | None]:
        """Returns the columns of the table of scores: the first two figures of each part."""
        figures = {name: [pair for pair in score.cells().items() if pair[0] != "n"][:2] for name, score in self.parts.items()}
        return {**{f"{name} {title}": value for name, pairs in figures.items() for title, value in pairs}, "n": self.n}

    def headline(self, split: str) -> str:
        """Returns a sentence about each part."""
        return "; ".join(filter(None, (score.headline(f"{split}, {name}") for name, score in self.parts.items())))

    def lines(self) -> list[str]:
        """Returns the details of each part as text."""
        return [line for name, score in self.parts.items() for line in (f"  {name}:", *(f"  {text}" for text in score.lines()))]


def score(targets: Targets, scores: np.ndarray, target: Target) -> Score:
    """Scores predictions of several targets; see `Task.score`."""
    figures = {
        part.target.name: load_function(part.task.score)(part.targets_in(targets), scores[:, part.scores], part.target)
        for part in parts_of(target)
    }
    return Score(n=len(scores), parts=figures)


def measures(targets: Targets, scores: np.ndarray, target: Target) -> dict[str, Measures]:
    """Returns the figures of each part, by the name of its target; see `Task.measures`."""
    figures: dict[str, Measures] = {}
    for part in parts_of(target):
        if part.task.measures:
            figures |= load_function(part.task.measures)(part.targets_in(targets), scores[:, part.scores], part.target)
    return figures


def judge(scores: np.ndarray, reference: np.ndarray, targets: Targets | None, target: Target) -> Judgement | None:
    """Judges an artifact by the part that loses most: so the budget holds for each. Agreement and figure are means over the parts."""
    judged = []
    for part in parts_of(target):
        own = None if targets is None else part.targets_in(targets)
        verdict = load_function(part.task.judge)(scores[:, part.scores], reference[:, part.scores], own, part.target)
        if verdict is not None:
            judged.append((part.target.name, verdict))
    if not judged:
        return None
    known = [(name, verdict) for name, verdict in judged if verdict.drop is not None]
    worst = max(known, key=lambda pair: pair[1].drop, default=None)
    return Judgement(
        agreement=_mean([verdict.agreement for _, verdict in judged]),
        accuracy=_mean([verdict.accuracy for _, verdict in judged]),
        drop=worst[1].drop if worst else None,
        sentence=f"{worst[1].sentence} (target {worst[0]!r})" if worst else "",
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


# === Answers ===


def answer(scores: np.ndarray, target: Target, top_k: int | None) -> dict[str, Any]:
    """Returns the answer for each part, by name."""
    return {
        "targets": {part.target.name: load_function(part.task.answer)(scores[part.scores], part.target, top_k) for part in parts_of(target)}
    }


def columns(value: Sequence[Any], scores: np.ndarray, target: Target) -> dict[str, Any]:
    """Returns the columns of one example in `predictions.csv`: those of each part, after its name."""
    return {
        f"{part.target.name}/{title}": cell
        for part, own in zip(parts_of(target), value, strict=True)
        for title, cell in load_function(part.task.columns)(own, scores[part.scores], part.target).items()
    }


def spec(target: Target) -> dict[str, Any]:
    """Returns how the scores of each part are read, for the exporters, under the name of the part."""
    groups = [
        {**group, "name": part.target.name} for part in parts_of(target) for group in load_function(part.task.spec)(part.target)["columns"]
    ]
    return {"columns": tuple(groups)}


def signature(scores: Any, readable: Any, target: Target) -> dict[str, Any]:
    """Returns what the SavedModel answers for each part, in TensorFlow; names begin with that of the part."""
    return {
        f"{part.prefix}{name}": values
        for part in parts_of(target)
        for name, values in load_function(part.task.signature)(scores[:, part.scores], readable, part.target).items()
    }
