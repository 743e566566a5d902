"""The ladder of `mobile`: TFLite files from the cheapest on a phone to the safest; the first within the budget is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tlkeras.export import quantize
from tlkeras.export.calibration import Calibration
from tlkeras.export.graph import Graph
from tlkeras.export.options import TFLiteOptions

FLOAT_SHARES = (0.05, 0.15, 0.3)  # of the layers, the worst first, that stay float in the mixed rungs

NO_CALIBRATION = "needs calibration examples, and there are none"


def attempts(graph: Graph, calibration: Calibration | None, io: str) -> Iterator[tuple[str, TFLiteOptions | str]]:
    """Yields (rung, its options), or (rung, why it cannot be tried).

    Rungs are ordered by what they cost where a phone has an integer unit: full integer, integer with its worst layers in
    float, 16-bit activations, 8-bit weights only, 16-bit weights, float32.
    """
    if calibration is None:
        yield "int8", NO_CALIBRATION
    else:
        yield from _calibrated(graph, calibration, io)
    yield "dynamic", TFLiteOptions(quantize="dynamic")
    yield "fp16", TFLiteOptions(quantize="fp16")
    yield "float32", TFLiteOptions()


def _calibrated(graph: Graph, calibration: Calibration, io: Any) -> Iterator[tuple[str, TFLiteOptions | str]]:
    yield "int8", TFLiteOptions(quantize="int8", calibration=calibration, io=io)
    worst = quantize.worst_layers(graph, calibration)
    for share in FLOAT_SHARES:
        count = max(1, round(share * len(worst)))
        yield (
            f"int8, {count} layers in float",
            TFLiteOptions(quantize="int8", calibration=calibration, io=io, float_layers=tuple(worst[:count])),
        )
    yield "int16x8", TFLiteOptions(quantize="int16x8", calibration=calibration)
