"""The task model: raw RGB picture -> input contract -> backbone -> head, as one flat functional model."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from tlkeras import freezing
from tlkeras.backbones.load import load
from tlkeras.backbones.registry import BACKBONES, Backbone
from tlkeras.backbones.stages import stage_of
from tlkeras.heads.registry import HEADS, Head
from tlkeras.loading import load_function

FEATURES = "features"  # name of the layer whose output are the pooled features


@dataclass(frozen=True, kw_only=True)
class TaskModel:
    """A Keras model with what tlkeras knows of it.

    Args:
        model: raw RGB 0-255, float32 (batch, size, size, 3) -> scores, float32 (batch, classes).
        backbone: the row it was built from.
        head: the row of its head.
        stages: layer name -> stage name; the head's layers are of stage `"head"`.
    """

    model: keras.Model
    backbone: Backbone
    head: Head
    stages: dict[str, str]

    @property
    def stage_names(self) -> list[str]:
        """The backbone's stages, from input to output."""
        return [name for name, _ in self.backbone.stages]


def build(
    backbone: str,
    classes: int,
    *,
    image_size: int | None = None,
    weights: str = "imagenet",
    head: str = "classification",
    dropout: float = 0.2,
) -> TaskModel:
    """Builds a task model.

    Args:
        backbone: name or alias in the backbone registry.
        classes: number of outputs of the head, 2 or more.
        image_size: side of the square input in pixels; the backbone's default when None.
        weights: `imagenet`, `wheel`, `none` or a file.
        head: name in the head registry.
        dropout: fraction of the features dropped before the head, in training.

    Raises:
        UnknownName, ConfigError, WeightsError: as the parts raise them.
    """
    row, head_row = BACKBONES.get(backbone), HEADS.get(head)

    # === Contract and backbone ===
    base = load(row.name, image_size=image_size, weights=weights)
    below = [layer.name for layer in base.layers]

    # === Head ===
    pooled = keras.layers.GlobalAveragePooling2D(name=FEATURES)(base.output)  # (batch, h, w, width) -> (batch, width)
    scores = load_function(head_row.build)(pooled, classes, dropout)

    # === Functional model ===
    model = keras.Model(base.input, scores, name=f"{row.name}_{head_row.name}")
    stages = stage_of(below, row.stages)
    stages |= {layer.name: freezing.HEAD for layer in model.layers if layer.name not in below}
    return TaskModel(model=model, backbone=row, head=head_row, stages=stages)
