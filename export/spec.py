"""What the exporters must be told beside the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ExportSpec:
    """How a model is called and what its answers mean.

    Args:
        labels: the label map; None for models that are no classifiers.
        decode: encoded picture (scalar string tensor) -> uint8 (size, size, 3), in core TensorFlow; traced into the
            SavedModel. None for models that take no pictures.
        features_layer: layer whose output is the signature `embed`.
        metadata: texts that travel with the artifacts (resize mode, backbone, …).
    """

    labels: tuple[str, ...] | None = None
    decode: Callable[[Any], Any] | None = None
    features_layer: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
