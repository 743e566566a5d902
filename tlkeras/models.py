"""The task model: raw input -> input contract -> backbone -> head, as one flat functional model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras

from tlkeras.backbones import adapters
from tlkeras.backbones.load import load
from tlkeras.backbones.pooling import FEATURES, POOLINGS
from tlkeras.backbones.registry import find
from tlkeras.backbones.row import Backbone
from tlkeras.backbones.sections import HEAD, section_of
from tlkeras.data.target import Target
from tlkeras.modalities.texts.tokens import Tokens
from tlkeras.registry import load_function
from tlkeras.tasks.registry import DEFAULT, TASKS, Task

__all__ = ["FEATURES", "TaskModel", "build", "untrained"]


@dataclass(frozen=True, kw_only=True)
class TaskModel:
    """A Keras model with its backbone, task and sections.

    Args:
        model: raw images 0-255, float32 (batch, size, size, channels), or token ids, int32 (batch, tokens) -> scores, float32
            (batch, width); the task knows what the columns mean.
        backbone: the row it was built from.
        task: the row of its task.
        target: what it predicts.
        sections: layer name -> section name; the head's layers are of section `"head"`.
        section_names: the backbone's sections, from input to output; before them `adapter`, where a channel adapter has weights.
        tokens: texts -> token ids, for models of texts.
        notes: notes on the weights.
    """

    model: keras.Model
    backbone: Backbone
    task: Task
    target: Target
    sections: dict[str, str]
    section_names: list[str]
    tokens: Tokens | None = None
    notes: tuple[str, ...] = ()


def build(
    backbone: str | Backbone,
    target: Target | int,
    *,
    image_size: int | None = None,
    channels: int = adapters.RGB,
    adapter: str | None = None,
    weights: str = "pretrained",
    task: str = DEFAULT,
    dropout: float = 0.2,
    options: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> TaskModel:
    """Builds a task model.

    Args:
        backbone: its row, or its name or alias in the registry.
        target: what is to be predicted, or the number of classes; the head of the task decides how many outputs that makes.
        image_size: side of the square input in pixels; the backbone's default when None.
        channels, adapter: of the images, and how other than 3 become 3; see `tlkeras.backbones.load.load`.
        weights: `pretrained`, `wheel`, `keras`, `hub`, `none`, a file, or the folder of a preset.
        task: name in the task registry.
        dropout: fraction of the features dropped before the head, in training.
        options, data: see `tlkeras.backbones.load.load`.

    Raises:
        UnknownName, ConfigError, WeightsError: as the parts raise them.
    """
    row, task_row = find(backbone) if isinstance(backbone, str) else backbone, TASKS.get(task)
    if isinstance(target, int):
        target = Target(kind=task_row.target, labels=tuple(map(str, range(target))))

    # === Input contract and backbone: raw input -> features; the contract goes with the weights, so one function builds both ===
    base = load(row, image_size=image_size, channels=channels, adapter=adapter, weights=weights, options=options, data=data)
    below = [layer.name for layer in base.model.layers]

    # === Head of the task: features -> scores ===
    pooled = POOLINGS.get(row.pooling).apply(base.model.output, base.mask)  # (batch, …, features) -> (batch, features)
    scores = load_function(task_row.build_head)(pooled, target, dropout)  # (batch, features) -> (batch, width)

    # === Functional model and its sections ===
    model = keras.Model(base.model.input, scores, name=f"{base.model.name}_{task_row.name}")
    sections = dict(section_of(below, base.sections))
    sections |= {layer.name: HEAD for layer in model.layers if layer.name not in below}
    sections = {layer.name: sections[layer.name] for layer in model.layers}
    first = [adapters.SECTION] if any(name == adapters.SECTION and model.get_layer(of).weights for of, name in sections.items()) else []
    names = [*first, *(name for name, _ in base.sections)]
    return TaskModel(
        model=model,
        backbone=row,
        task=task_row,
        target=target,
        sections=sections,
        section_names=names,
        tokens=base.tokens,
        notes=base.notes,
    )


def untrained(task: TaskModel) -> TaskModel:
    """Returns the same model with new random weights, as its layers were initialised; input contract and vocabulary stay."""
    return replace(task, model=keras.models.clone_model(task.model), notes=())
