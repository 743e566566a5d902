"""The task model: raw input -> input contract -> backbone -> head, as one flat functional model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from tlkeras.backbones import adapters
from tlkeras.backbones.load import load
from tlkeras.backbones.pooling import FEATURES, POOLINGS
from tlkeras.backbones.registry import find
from tlkeras.backbones.row import Backbone
from tlkeras.backbones.sections import section_of
from tlkeras.modalities.texts.tokens import Tokens
from tlkeras.registry import load_function
from tlkeras.tasks.registry import HEADS, Head
from tlkeras.training import freezing

__all__ = ["FEATURES", "TaskModel", "build"]


@dataclass(frozen=True, kw_only=True)
class TaskModel:
    """A Keras model with its backbone, head and sections.

    Args:
        model: raw images 0-255, float32 (batch, size, size, channels), or token ids, int32 (batch, tokens) -> scores, float32
            (batch, classes).
        backbone: the row it was built from.
        head: the row of its head.
        sections: layer name -> section name; the head's layers are of section `"head"`.
        section_names: the backbone's sections, from input to output; before them `adapter`, where a channel adapter has weights.
        tokens: texts -> token ids, for models of texts.
        notes: notes on the weights.
    """

    model: keras.Model
    backbone: Backbone
    head: Head
    sections: dict[str, str]
    section_names: list[str]
    tokens: Tokens | None = None
    notes: tuple[str, ...] = ()


def build(
    backbone: str | Backbone,
    classes: int,
    *,
    image_size: int | None = None,
    channels: int = adapters.RGB,
    adapter: str | None = None,
    weights: str = "pretrained",
    head: str = "classification",
    dropout: float = 0.2,
    options: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> TaskModel:
    """Builds a task model.

    Args:
        backbone: its row, or its name or alias in the registry.
        classes: number of outputs of the head, 2 or more.
        image_size: side of the square input in pixels; the backbone's default when None.
        channels, adapter: of the images, and how other than 3 become 3; see `tlkeras.backbones.load.load`.
        weights: `pretrained`, `wheel`, `keras`, `hub`, `none`, a file, or the folder of a preset.
        head: name in the head registry.
        dropout: fraction of the features dropped before the head, in training.
        options, data: see `tlkeras.backbones.load.load`.

    Raises:
        UnknownName, ConfigError, WeightsError: as the parts raise them.
    """
    row, head_row = find(backbone) if isinstance(backbone, str) else backbone, HEADS.get(head)

    # === Contract and backbone ===
    base = load(row, image_size=image_size, channels=channels, adapter=adapter, weights=weights, options=options, data=data)
    below = [layer.name for layer in base.model.layers]

    # === Head ===
    pooled = POOLINGS.get(row.pooling).apply(base.model.output, base.mask)  # (batch, …, features) -> (batch, features)
    scores = load_function(head_row.build)(pooled, classes, dropout)

    # === Functional model ===
    model = keras.Model(base.model.input, scores, name=f"{base.model.name}_{head_row.name}")
    sections = {name: section for name, section in section_of(below, base.sections).items()}
    sections |= {layer.name: freezing.HEAD for layer in model.layers if layer.name not in below}
    sections = {layer.name: sections[layer.name] for layer in model.layers}
    first = [adapters.SECTION] if any(name == adapters.SECTION and model.get_layer(of).weights for of, name in sections.items()) else []
    names = [*first, *(name for name, _ in base.sections)]
    return TaskModel(model=model, backbone=row, head=head_row, sections=sections, section_names=names, tokens=base.tokens, notes=base.notes)
