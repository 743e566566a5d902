"""What a trained model gives for the held-out examples: scores, and with the same pass the logits and features they are made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from tlkeras.models import FEATURES, TaskModel
from tlkeras.tasks import rejection
from tlkeras.tasks.certainty import certainty_of
from tlkeras.training import features
from tlkeras.training.features import Arrays
from tlkeras.training.options import Examples, Options
from tlkeras.training.states import State

SCORES = "scores"  # the last layer of a task model


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What the model gives for each split, float32 (n, columns), in the order of the split.

    Args:
        scores: of `val` and `test`.
        logits: of the same; empty where the task says nothing about its logits.
        features: of the same, and of some examples of `train`; empty where they were not asked for.
    """

    scores: Mapping[str, np.ndarray]
    logits: Mapping[str, np.ndarray] = field(default_factory=dict)
    features: Mapping[str, np.ndarray] = field(default_factory=dict)


def stored(seen: Observed) -> dict[str, list[np.ndarray]]:
    """Returns what was observed as the arrays of a state; see `restored`."""
    groups = {"scores": seen.scores, "logits": seen.logits, "features": seen.features}
    return {f"{group}-{split}": [array] for group, arrays in groups.items() for split, array in arrays.items()}


def restored(state: State) -> Observed:
    """Returns what `stored` made arrays of."""
    groups: dict[str, dict[str, np.ndarray]] = {"scores": {}, "logits": {}, "features": {}}
    for name, arrays in state.arrays.items():
        group, _, split = name.partition("-")
        if group in groups:
            groups[group][split] = arrays[0]
    return Observed(**groups)


def observe(task: TaskModel, model: keras.Model, arrays: Mapping[str, Arrays], parts: Mapping[str, Examples], options: Options) -> Observed:
    """Runs the trained model on the held-out examples, and on some training examples where their features are asked for.

    Args:
        task: the task model.
        model: its trained part with cached features, or the whole.
        arrays: what `model` receives, for `val` and `test`; of `train` too where it is cached.
        parts: the examples of each split.
        options: where the work runs, and whether features are asked for.
    """
    certainty = certainty_of(task.task)
    names = certainty.layers(task.target) if certainty else []
    names = names if all(tensor_of(task.model, name) is not None for name in names) else []
    with_the_features = bool(names) and options.features
    names += [FEATURES] if with_the_features else []
    tensors = [tensor for name in names if (tensor := tensor_of(model, name)) is not None]
    if len(tensors) < len(names):  # part of the head is frozen, and was computed once with what lies below
        model, arrays, tensors = task.model, {}, [tensor_of(task.model, name) for name in names]
    arrays = {name: arrays[name] if name in arrays else features.uncached(model, parts[name]) for name in ("val", "test", "train")}
    wide = with_tensors(model, tensors)
    widths = [int(model.output.shape[-1]), *(int(tensor.shape[-1]) for tensor in tensors)]
    values = {name: features.scores(wide, arrays[name], name, options) for name in ("val", "test")}
    if with_the_features and len(parts["val"]):
        rows = rejection.chosen(parts["train"].y, widths[-1], options.seed)
        values["train"] = features.scores(wide, _some(arrays["train"], rows), "train", options)
    columns = {name: np.split(array, np.cumsum(widths)[:-1], axis=1) for name, array in values.items()}
    held_out = {name: columns[name] for name in ("val", "test")}
    of_logits = slice(1, len(widths) - with_the_features)
    return Observed(
        scores={name: array[0] for name, array in held_out.items()},
        logits={name: np.concatenate(array[of_logits], axis=1) for name, array in held_out.items()} if names else {},
        features={name: array[-1] for name, array in columns.items()} if with_the_features else {},
    )


def _some(arrays: Arrays, rows: np.ndarray) -> Arrays:
    """Returns some of the examples, in their first view."""
    lengths = None if arrays.lengths is None else arrays.lengths[rows]
    inputs = [np.asarray(array[rows]) for array in arrays.inputs]
    return replace(arrays, inputs=inputs, y=arrays.y[rows], lengths=lengths, views=1, groups=None)


def with_tensors(model: keras.Model, tensors: Sequence[Any]) -> keras.Model:
    """Returns the model with further tensors of it in columns behind its scores, all float32; itself without any."""
    if not tensors:
        return model
    # Named, because Keras numbers operations anew in each process, and a stored model may hold a `cast` and a `concatenate` of its own.
    taken = {operation.name for operation in model.operations}
    name = next(name for name in map("wide_{}".format, itertools.count()) if not any(other.startswith(name) for other in taken))
    tensors = [model.output, *tensors]
    columns = [keras.layers.Identity(dtype="float32", name=f"{name}_of_{index}")(tensor) for index, tensor in enumerate(tensors)]
    return keras.Model(model.inputs, keras.layers.Concatenate(axis=1, dtype="float32", name=name)(columns))


def with_features(model: keras.Model) -> keras.Model | None:
    """Returns a task model with its features in columns behind its scores; None where it has no features."""
    tensor = tensor_of(model, FEATURES)
    return None if tensor is None else with_tensors(model, [tensor])


def tail(model: keras.Model, names: Sequence[str]) -> keras.Model:
    """Returns what turns the logits of some layers into the scores of a task model."""
    return keras.Model([tensor_of(model, name) for name in names], tensor_of(model, SCORES))


def tensor_of(model: keras.Model, name: str) -> Any:
    """Returns what a layer gives in a model, or what the model receives of it where it begins above; None where it has no such tensor."""
    for tensor in _tensors(model):
        if tensor._keras_history.operation.name == name:
            return tensor
    (first, *others) = model.inputs
    # Features pass through what only trains, such as dropout, before they are kept.
    return first if name == FEATURES and not others and len(first.shape) == 2 and first.dtype != "int32" else None


def _tensors(model: keras.Model) -> Iterator[Any]:
    yield from model.inputs
    for nodes in model._nodes_by_depth.values():
        for node in nodes:
            yield from node.outputs
