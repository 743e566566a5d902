"""The calibration of quantised formats, and what they may lose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tlkeras.errors import ConfigError, ExportMismatch
from tlkeras.export.calibration import Calibration
from tlkeras.export.formats import Format
from tlkeras.export.graph import Graph
from tlkeras.export.options import HIGHEST_OPSET, OnnxOptions, TFLiteOptions
from tlkeras.export.parity import Verdict
from tlkeras.registry import load_function

MAX_DROP = 0.02  # accuracy that a quantised file may lose on the held-out split


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The calibration of quantised formats, and what they may lose.

    Args:
        max_drop: what a quantised file may lose on the held-out split, as the judge of the model measures it.
        calibration: training examples for full-integer formats.
        options: format name -> its options, instead of the row's own.
        io: type of the input and output tensors of full-integer TFLite files.
        opset: of ONNX files.
    """

    max_drop: float = MAX_DROP
    calibration: Calibration | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    io: str = "float32"
    opset: int = HIGHEST_OPSET

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 1:
            raise ConfigError(f"max_drop is {self.max_drop}; expected a share of accuracy from 0 to 1")

    def attempts(self, row: Format, graph: Graph) -> Iterable[tuple[str, Any]]:
        """Yields (name, options) of each attempt for a format; a text instead of options is the reason to skip it."""
        if row.name in self.options:
            return [(row.name, self.options[row.name])]
        if row.attempts:
            return load_function(row.attempts)(graph, self.calibration, self.io)
        return [(row.name, self._of(row))]

    def _of(self, row: Format) -> Any:
        options = dict(row.defaults)
        if row.calibrated:
            options["calibration"] = self.calibration
        if row.calibrated and row.options is TFLiteOptions:
            options["io"] = self.io
        if row.options is OnnxOptions:
            options.setdefault("opset", self.opset)
        return row.options(**options)


def figures(verdict: Verdict | None) -> dict[str, Any]:
    """Returns the record of a verdict for an attempt."""
    if verdict is None:
        return {}
    names = ("accuracy", "agreement", "drop", "relative_diff", "latency_ms")
    return {name: getattr(verdict, name) for name in names}


def check_within(row: Format, verdict: Verdict, size: int, max_drop: float) -> None:
    """Rejects a quantised file that lost more than allowed, in the words of its judge.

    Raises:
        ExportMismatch: with the figures.
    """
    if verdict.drop is None or verdict.drop <= max_drop + 1e-9:
        return
    error = ExportMismatch(
        f"{row.name} {verdict.sentence}: a drop of {verdict.drop:.3f}, allowed {max_drop:g}; "
        "use tflite-fp16 or tflite-dynamic, let `mobile` choose, or raise --max-drop"
    )
    error.figures = {"bytes": size, **figures(verdict)}
    raise error
