"""One options class per kind of file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tlkeras.errors import ConfigError
from tlkeras.export.calibration import Calibration

HIGHEST_OPSET = 18  # tf2onnx 1.17 refuses 19
NEEDS_CALIBRATION = ("int8", "int16x8")


@dataclass(frozen=True, kw_only=True)
class SavedModelOptions:
    """SavedModel has no options."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the record for the manifest."""
        return {}


@dataclass(frozen=True, kw_only=True)
class TFLiteOptions:
    """How a TFLite file is made.

    Args:
        quantize: None for float32; `fp16` (weights), `dynamic` (8-bit weights, activations quantised on the fly), `int8`
            (full integer, weights per channel), `int16x8` (16-bit activations, 8-bit weights).
        calibration: real examples; needed by `int8` and `int16x8`.
        io: type of the input and output tensors of a full-integer file.
        float_layers: tensors of the layers that stay float in an `int8` file; `quantize.worst_layers` finds them.
        allow_flex: write a file that needs TensorFlow's own operations; it cannot be run here, and its record states so.
    """

    quantize: Literal["fp16", "dynamic", "int8", "int16x8"] | None = None
    calibration: Calibration | None = None
    io: Literal["float32", "int8", "uint8"] = "float32"
    float_layers: tuple[str, ...] = ()
    allow_flex: bool = False

    def __post_init__(self) -> None:
        _one_of("quantize", self.quantize, (None, "fp16", "dynamic", "int8", "int16x8"))
        _one_of("io", self.io, ("float32", "int8", "uint8"))
        _check_calibration(self.quantize, self.calibration)
        if self.io != "float32" and self.quantize != "int8":
            raise ConfigError(f"io is {self.io!r} and quantize {self.quantize!r}; only int8 files have integer inputs and outputs")
        if self.float_layers and self.quantize != "int8":
            raise ConfigError(f"float_layers are given and quantize is {self.quantize!r}; only int8 files mix float layers in")

    def to_dict(self) -> dict[str, Any]:
        """Returns the record for the manifest."""
        calibration = self.calibration.to_dict() if self.calibration else None
        return {"quantize": self.quantize, "io": self.io, "float_layers": list(self.float_layers), "calibration": calibration}


@dataclass(frozen=True, kw_only=True)
class OnnxOptions:
    """How an ONNX file is made.

    Args:
        opset: 13 to 18.
        quantize: None for float32, `fp16` (float32 in and out), `int8` (QDQ, weights per channel).
        calibration: real examples; needed by `int8`.
    """

    opset: int = HIGHEST_OPSET
    quantize: Literal["fp16", "int8"] | None = None
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if not 13 <= self.opset <= HIGHEST_OPSET:
            raise ConfigError(f"opset is {self.opset}; expected 13 to {HIGHEST_OPSET}, which the converter supports")
        _one_of("quantize", self.quantize, (None, "fp16", "int8"))
        _check_calibration(self.quantize, self.calibration)

    def to_dict(self) -> dict[str, Any]:
        """Returns the record for the manifest."""
        return {
            "quantize": self.quantize,
            "opset": self.opset,
            "calibration": self.calibration.to_dict() if self.calibration else None,
        }


def _one_of(name: str, value: Any, known: tuple[Any, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(str(one) for one in known)}")


def _check_calibration(quantize: str | None, calibration: Calibration | None) -> None:
    if quantize in NEEDS_CALIBRATION and calibration is None:
        raise ConfigError(
            f"{quantize} needs calibration: pass real training examples, with --calibration FOLDER for a model from elsewhere"
        )
    if quantize not in NEEDS_CALIBRATION and calibration is not None:
        raise ConfigError(f"calibration is given and quantize is {quantize!r}; only {' and '.join(NEEDS_CALIBRATION)} accept it")
