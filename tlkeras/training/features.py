"""What the two parts of a split model compute once per example: the features below the freeze boundary, the scores above it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tlkeras.data.store import rows
from tlkeras.modalities.images import augment
from tlkeras.training import eager, engines, feature_cache
from tlkeras.training.engines import Engines
from tlkeras.training.feature_cache import Sliceable
from tlkeras.training.feature_rows import FeatureRows, digest
from tlkeras.training.half_precision import TooCoarse
from tlkeras.training.options import Examples, Options, SharedFeatures

SCORED = 64  # examples that are scored in a step
# Bytes of features of the training examples, in float32, above which they are kept in float16 where that hides nothing: half the memory, half the
# cache. Held-out examples keep all digits, as their scores are compared with those of artifacts.
HALF_ABOVE = 256 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """What the trained part of a model receives for the examples of one split.

    Args:
        inputs: one array for each input of the model, (views * n, …); the views of one example stand n rows apart.
        y: int (n,).
        lengths: int (n,), how far each example goes along the free axis; None where there is no such axis.
        views: augmented views of each example; pass e over the examples reads view e modulo `views`.
        groups: int (n,), of the examples; see `Examples`.
    """

    inputs: Sequence[np.ndarray]
    y: np.ndarray
    lengths: np.ndarray | None = None
    views: int = 1
    groups: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Views:
    """Several views of the same images, one view after the other, made when they are read."""

    views: Sequence[augment.AugmentedView]

    def __len__(self) -> int:
        return sum(len(view) for view in self.views)

    def __getitem__(self, index: slice) -> np.ndarray:
        start, stop, _ = index.indices(len(self))
        parts = []
        for view in self.views:
            if start < len(view) and stop > 0:
                parts.append(view[max(start, 0) : min(stop, len(view))])
            start, stop = start - len(view), stop - len(view)
        return np.concatenate(parts)


def compute(
    split: feature_cache.Split, parts: Mapping[str, Examples], names: Sequence[str], views: int, options: Options
) -> dict[str, Arrays]:
    """Returns what the suffix receives; the prefix, if there is one, runs once for each example and view, each worker on its part.

    Args:
        split: the model, cut at its freeze boundary.
        parts: name of a split -> its examples.
        names: the splits to compute; of `train`, as many views as asked for.
        views: augmented views of each training example.
        options: seed, augmentation, where features are mapped, where the work runs.
    """
    if split.prefix is None:
        return {name: uncached(split.suffix, parts[name]) for name in names}
    if options.shared is not None:
        return _rows_of_shared(split, parts, names, views, options, options.shared)
    model = split.prefix
    inputs = {name: _views(parts[name], views, options) if name == "train" else parts[name].inputs for name in names}
    largest = max(names, key=lambda name: len(inputs[name]))
    forward = _engines(model, inputs[largest], parts[largest].lengths, options)
    stored = None if options.cache is None else FeatureRows(prefix=model, cache=options.cache, forward=forward)
    total = sum(len(images) for images in inputs.values())
    computed = 0

    def progress(done: int, _: int) -> None:
        options.progress("features", computed + done, total, "")

    arrays = {}
    # The largest first: an engine that is worth its conversion there serves the others too.
    for name, images in sorted(inputs.items(), key=lambda item: -len(item[1])):
        settings: dict[str, Any] = {"folder": options.work, "progress": progress, "distribution": options.distribution}

        def run(half: bool, name: str = name, images: Sliceable = images, settings: dict[str, Any] = settings) -> list[np.ndarray]:
            if stored is not None:
                return stored.compute(images, lengths=parts[name].lengths, half=half, **settings)
            return feature_cache.compute(model, images, forward(len(images)), lengths=parts[name].lengths, half=half, **settings)

        half = name == "train" and options.distribution.workers == 1 and _size(model, images) > HALF_ABOVE
        try:
            features = run(half)
        except TooCoarse as error:
            options.say(f"features stay in float32: {error}")
            features = run(False)
        computed += len(images)
        arrays[name] = _arrays(split.suffix, features, parts[name], views if name == "train" else 1)
    return arrays


def _rows_of_shared(
    split: feature_cache.Split,
    parts: Mapping[str, Examples],
    names: Sequence[str],
    views: int,
    options: Options,
    shared: SharedFeatures,
) -> dict[str, Arrays]:
    """Returns the same as `compute`, as rows of the features of all examples, which are computed where they are not known yet."""
    alone, prefix = dataclasses.replace(options, shared=None), digest(split.prefix)
    arrays: dict[str, Arrays] = {}
    for name in names:
        part, augmented = parts[name], name == "train" and options.augmented
        key = (prefix, views if augmented else 0)
        if key not in shared.known and shared.takes(key):
            which = "train" if augmented else "all"
            of_all = compute(split, {which: shared.everything}, (which,), views, dataclasses.replace(alone, seed=shared.seed))
            shared.known[key] = list(of_all[which].inputs)
        if key not in shared.known or part.rows is None:
            arrays |= compute(split, parts, (name,), views, alone)
            continue
        count = len(shared.everything)
        index = np.concatenate([part.rows + view * count for view in range(views if augmented else 1)])
        inputs = [rows(array, index) for array in shared.known[key]]
        arrays[name] = _arrays(split.suffix, inputs, part, views if name == "train" else 1)
    return arrays


def _size(prefix: keras.Model, images: Sliceable) -> int:
    """Returns the bytes of the features in float32; of inputs that differ in length, those of one step."""
    return 4 * len(images) * sum(math.prod(side or 1 for side in tensor.shape[1:]) for tensor in prefix.outputs)


def _engines(prefix: keras.Model, images: Sliceable, lengths: np.ndarray | None, options: Options) -> Engines:
    one_device = options.distribution.strategy is None and options.distribution.workers == 1
    return Engines(
        prefix=prefix,
        images=images,
        eligible=options.engines and engines.eligible(prefix, lengths, one_device=one_device),
        folder=None if options.cache is None else options.cache.folder.parent / "engines",
        say=options.say,
    )


def uncached(model: keras.Model, part: Examples) -> Arrays:
    """Returns the examples themselves, for a model that computes everything anew."""
    return _arrays(model, [part.inputs], part, 1)


def _arrays(model: keras.Model, inputs: Sequence[np.ndarray], part: Examples, views: int) -> Arrays:
    """Returns what a model receives for a split: its features, and what is known of its examples."""
    return Arrays(inputs=inputs, y=part.y, lengths=_lengths(model, part), views=views, groups=part.groups)


def joined(first: Arrays, second: Arrays) -> Arrays:
    """Returns two splits as one; of the second, which has one view of each example, that view stands for all views.

    Args:
        first: with any number of views.
        second: with one view.
    """
    count = len(first.y)
    parts = [
        [part for view in range(first.views) for part in (array[view * count : (view + 1) * count], other)]
        for array, other in zip(first.inputs, second.inputs, strict=True)
    ]
    lengths = None if first.lengths is None or second.lengths is None else np.concatenate([first.lengths, second.lengths])
    inputs = [np.concatenate([np.asarray(part) for part in views]) for views in parts]
    groups = None if first.groups is None or second.groups is None else np.concatenate([first.groups, second.groups])
    return Arrays(inputs=inputs, y=np.concatenate([first.y, second.y]), lengths=lengths, views=first.views, groups=groups)


def _views(train: Examples, views: int, options: Options) -> Sliceable:
    if not options.augmented:
        return train.inputs
    return Views(
        views=[augment.AugmentedView(images=train.inputs, name=options.augment, seed=options.seed, epoch=epoch) for epoch in range(views)]
    )


def scores(model: keras.Model, arrays: Arrays, name: str, options: Options) -> np.ndarray:
    """Returns the scores of one split, each example run exactly once, each worker on its part.

    Args:
        model: the suffix with features, or a whole model with examples: the same function.
        arrays: what the model receives.
        name: of the split, for progress.
        options: where the work runs.
    """
    count = len(arrays.y)
    own = np.arange(count)[options.distribution.rows(count)]
    values = np.empty((len(own), model.output_shape[-1]), "float32")
    order = np.arange(len(own)) if arrays.lengths is None else np.argsort(arrays.lengths[own], kind="stable")
    for start in range(0, len(own), SCORED):
        rows = order[start : start + SCORED]
        index = own[rows]
        end = None if arrays.lengths is None else int(arrays.lengths[index].max())
        batch = [
            np.asarray(array[index], tensor.dtype)[:, :end] if has_free_axis(tensor) else np.asarray(array[index], tensor.dtype)
            for array, tensor in zip(arrays.inputs, model.inputs, strict=True)
        ]
        values[rows] = eager.answers(model, batch[0] if len(batch) == 1 else batch, steps=math.ceil(len(own) / SCORED))
        options.progress(f"score {name}", min(start + SCORED, len(own)), len(own), "")
    return options.distribution.together(values, count)


def _lengths(model: keras.Model, part: Examples) -> np.ndarray | None:
    """Returns the lengths of a split if an input of the model has a free axis."""
    return part.lengths if any(has_free_axis(tensor) for tensor in model.inputs) else None


def has_free_axis(tensor: keras.KerasTensor) -> bool:
    """Whether examples may differ in length along the second axis."""
    return len(tensor.shape) > 1 and tensor.shape[1] is None
