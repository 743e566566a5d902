"""One backbone in the race: its features are computed once for each example, and an exact head is cross-validated on them."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras import models
from tlkeras.backbones.row import Backbone
from tlkeras.backbones.sections import HEAD
from tlkeras.config import RunConfig
from tlkeras.data.examples import Example
from tlkeras.data.row_cache import RowCache
from tlkeras.data.store import Store
from tlkeras.data.target import Target
from tlkeras.errors import DataError
from tlkeras.modalities.inputs import Inputs
from tlkeras.modalities.registry import MODALITIES
from tlkeras.registry import load_function
from tlkeras.selection import race, scores
from tlkeras.selection.examples import FOLDS, Compared, folds
from tlkeras.selection.race import Estimate
from tlkeras.startup import tensor_float32
from tlkeras.tasks.registry import TARGET, Options, Targets, Task
from tlkeras.training import exact, feature_cache, freezing
from tlkeras.training.exact import Solution
from tlkeras.training.feature_cache import Forward
from tlkeras.training.feature_rows import FeatureRows
from tlkeras.training.features import Arrays
from tlkeras.training.options import Options as TrainingOptions
from tlkeras.training.recipes.linear_probe import STRENGTHS

HEAD_ALONE = ((f"section:{HEAD}", True), ("*", False))
TIMED = 4  # examples in a batch that is timed
NEAR = (-1, 0, 1, 2)  # steps from the best strength on fewer examples that are tried on more, towards weaker ones


@dataclass(kw_only=True, eq=False)
class Reader:
    """The examples of a comparison, decoded by the step, once for each form of input that follows another.

    Args:
        examples: in the order of the race.
        cache: where decoded examples and features are kept between runs; None: nowhere.
        work: folder for what is too large for memory.
        progress: called with (name, done, total, text).
        seed: of the folds.
        count: of folds.
    """

    examples: Compared
    cache: RowCache | None
    work: Path
    progress: Callable[[str, int, int, str], None] = lambda name, done, total, text: None
    seed: int = 0
    count: int = FOLDS
    _readable: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    _folds: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    _last: tuple[Inputs, tuple[int, int], Store] | None = None

    def first(self, inputs: Inputs, count: int) -> Store:
        """Returns the first examples, without counting them as read."""
        return self._materialised(inputs, 0, min(count, len(self.examples)))[0]

    def store(self, inputs: Inputs, start: int, stop: int) -> Store:
        """Returns the examples of a step in the form that a model accepts.

        Raises:
            DataError: when other examples than in another form cannot be read.
        """
        step = (start, stop)
        if self._last is not None and self._last[0] == inputs and self._last[1] == step:
            return self._last[2]
        self._last = None  # before the next one is made: two of them may not fit into memory
        store, rows = self._materialised(inputs, start, stop)
        known = self._readable.setdefault(step, rows)
        if not np.array_equal(known, rows):
            (row, *_) = set(known.tolist()) ^ set(rows.tolist())
            raise DataError(f"{self.examples.dataset.examples[row].id} can be read in one size and not in another; remove it")
        self._last = (inputs, step, store)
        return store

    def _materialised(self, inputs: Inputs, start: int, stop: int) -> tuple[Store, np.ndarray]:
        """Returns the readable examples of a step and which they are."""
        dataset = self.examples.dataset
        # What is to be predicted is no business of a decoder, which refuses classes that lose all of their examples.
        plain = [dataclasses.replace(example, label=dataset.examples[0].label) for example in dataset.examples[start:stop]]
        store = inputs.materialise(
            dataclasses.replace(dataset, examples=tuple(plain)),
            cache_dir=self.work,
            progress=lambda done, total: self.progress("decode", start + done, len(self.examples), ""),
            cache=self.cache,
        )
        row_of = {id(example): start + row for row, example in enumerate(plain)}
        return store, np.array([row_of[id(example)] for example in store.examples], int)

    def rows(self, size: int) -> np.ndarray:
        """Returns which of the first examples could be read, once they were."""
        return np.concatenate([rows for (_, stop), rows in sorted(self._readable.items()) if stop <= size])

    def chosen(self, size: int) -> list[Example]:
        """Returns those of the first examples that could be read."""
        return [self.examples.dataset.examples[row] for row in self.rows(size)]

    def folds(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the fold of each of them, and what must not be separated; see `tlkeras.selection.examples.folds`."""
        if size not in self._folds:
            chosen = self.chosen(size)
            strata = self.examples.dataset.target.strata([example.label for example in chosen])
            digests = [self.examples.sha256[row] for row in self.rows(size)]
            self._folds[size] = folds(strata, digests, count=self.count, seed=self.seed, groups=[example.group for example in chosen])
        return self._folds[size]


@dataclass(kw_only=True)
class Probe:
    """A backbone with an exact head on its features.

    Args:
        row: of the backbone.
        task: its task model.
        split: the model, cut below the head.
        inputs: what it accepts.
        seconds: that its features of one example take, as measured.
    """

    row: Backbone
    task: models.TaskModel
    split: feature_cache.Split
    inputs: Inputs
    seconds: float = 0.0
    features: list[np.ndarray] = field(default_factory=list)
    computed: int = 0  # examples that were asked for so far
    solution: Solution | None = None
    transfer: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def prefix(self) -> keras.Model:
        """Input -> features.

        Raises:
            DataError: when nothing of the network is fixed.
        """
        if self.split.prefix is None:
            raise DataError(f"{self.row.name} has no fixed features to compare")
        return self.split.prefix

    @functools.cached_property
    def forward(self) -> Forward:
        """The inference of the features."""
        return feature_cache.constant_function(self.prefix)

    def time(self, reader: Reader) -> float:
        """Measures how long the features of one example take."""
        store = reader.first(self.inputs, TIMED)
        batch = np.asarray(store.inputs, self.prefix.inputs[0].dtype)
        if store.lengths is not None:
            batch = batch[:, : int(store.lengths.max())]
        self.forward(batch)  # traces and allocates
        started = time.perf_counter()
        self.forward(batch)
        self.seconds = (time.perf_counter() - started) / max(len(batch), 1)
        return self.seconds

    def extend(self, reader: Reader, size: int) -> None:
        """Computes the features of the examples up to a number."""
        if size <= self.computed:
            return
        store = reader.store(self.inputs, self.computed, size)
        start = len(self.features[0]) if self.features else 0
        settings: dict[str, Any] = {
            "lengths": store.lengths,
            "folder": reader.work,
            "progress": lambda done, total: reader.progress(self.row.name, start + done, start + total, ""),
        }
        if reader.cache is None:
            more = feature_cache.compute(self.prefix, store.inputs, self.forward, **settings)
        else:
            more = FeatureRows(prefix=self.prefix, cache=reader.cache, forward=lambda count: self.forward).compute(store.inputs, **settings)
        self.features = [np.concatenate(pair) for pair in zip(self.features, more, strict=True)] if self.features else list(more)
        self.computed = size

    def measure(self, reader: Reader, size: int) -> Estimate:
        """Returns the cross-validated figure of an exact head on so many examples."""
        self.extend(reader, size)
        examples, (fold_of, units) = reader.chosen(size), reader.folds(size)
        target, task = reader.examples.dataset.target, self.task.task
        targets = task.targets_of(examples, target)
        target = task.learnt(target, targets, Options())
        task.prepared(self.task.model, target)
        own = dataclasses.replace(self.task, target=target)
        arrays = Arrays(inputs=self.features, y=targets[TARGET])
        options = TrainingOptions(checkpoints=reader.work, seed=reader.seed)
        with tensor_float32(False):
            validated = exact.cross_validated(own, self.split.suffix, arrays, fold_of, self._strengths(), options)
        if not self.transfer:  # all candidates take part in the first step, so that these can be compared
            self.transfer = transferability(self.features, target, [example.label for example in examples])
        self.solution = validated.solution
        self.details = load_function(task.score)(targets, validated.scores, target).to_dict()
        return race.estimate(partial(figure, task, target, targets, validated.scores), fold_of, units)

    def release(self) -> None:
        """Gives back the memory of what a candidate that goes no further does not need: its features, and its weights as constants."""
        self.features = []
        self.__dict__.pop("forward", None)

    def _strengths(self) -> Sequence[float]:
        if self.solution is None:
            return STRENGTHS
        best = STRENGTHS.index(self.solution.strength)
        return [STRENGTHS[best + step] for step in NEAR if 0 <= best + step < len(STRENGTHS)]


def opened(row: Backbone, examples: Compared, config: RunConfig, task: str) -> Probe:
    """Builds a backbone with the head of a task, with its pretrained weights.

    Args:
        row: of the backbone.
        examples: that it is compared on.
        config: of the run that it is chosen for: image size, channels, length of texts.
        task: name of the task.

    Raises:
        ConfigError, WeightsError: see `tlkeras.models.build`.
    """
    model = config.model
    built = models.build(
        row, examples.dataset.target, image_size=model.image_size, channels=model.channels, adapter=model.channel_adapter, task=task
    )
    freezing.apply(built.model, HEAD_ALONE, sections=built.sections)
    inputs, _ = load_function(MODALITIES.get(row.modality).of_task)(built.model, built.tokens, config, examples.dataset)
    return Probe(row=row, task=built, split=feature_cache.split(built.model), inputs=inputs)


def figure(task: Task, target: Target, targets: Targets, answers: np.ndarray, index: np.ndarray) -> float:
    """Returns the figure by which backbones are compared, of some examples; 0 where it is not defined for them."""
    own = {name: values[index] for name, values in targets.items()}
    if task.compared:
        value = load_function(task.score)(own, answers[index], target).cells()[task.compared]
    else:
        judged = load_function(task.judge)(answers[index], answers[index], own, target)
        value = None if judged is None else judged.accuracy
    return 0.0 if value is None else float(value)


def transferability(features: Sequence[np.ndarray], target: Target, values: Sequence[Any]) -> dict[str, Any]:
    """Returns LogME and H-score of features; None for the H-score where numbers are predicted."""
    x = np.concatenate([np.asarray(array).reshape(len(array), -1) for array in features], axis=1)
    return {
        "logme": scores.logme(x, scores.responses(target, values)),
        "h_score": scores.mean_h_score(x, list(scores.partitions(target, values))),
        "examples": len(x),
    }
