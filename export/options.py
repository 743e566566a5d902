"""One options class per format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tlkeras.errors import ConfigError

HIGHEST_OPSET = 18  # tf2onnx 1.17 refuses 19


@dataclass(frozen=True, kw_only=True)
class SavedModelOptions:
    """SavedModel has no options yet."""


@dataclass(frozen=True, kw_only=True)
class TFLiteOptions:
    """How a TFLite file is made.

    Args:
        quantize: only None, that is float32, so far.
        allow_flex: write a file that needs TensorFlow's own operations; it cannot be run here, and says so.
    """

    quantize: Literal[None] = None
    allow_flex: bool = False

    def __post_init__(self) -> None:
        if self.quantize is not None:
            raise ConfigError(f"quantize is {self.quantize!r}; only None (float32) is available in this version")


@dataclass(frozen=True, kw_only=True)
class OnnxOptions:
    """How an ONNX file is made.

    Args:
        opset: 13 to 18.
    """

    opset: int = HIGHEST_OPSET

    def __post_init__(self) -> None:
        if not 13 <= self.opset <= HIGHEST_OPSET:
            raise ConfigError(f"opset is {self.opset}; expected 13 to {HIGHEST_OPSET}, which the converter supports")
