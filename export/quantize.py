"""Full-integer TFLite: calibrated once for a model, and which layers lose most by it."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import tensorflow as tf

from tlkeras.export import float_tail, repair
from tlkeras.export.calibration import Calibration
from tlkeras.export.graph import Graph
from tlkeras.export.quiet import quiet_converters

SCAN_EXAMPLES = 16  # float and integer layers are compared on so many calibration examples; 0.7 s for EfficientNet-Lite0


@contextmanager
def deprecated_interpreter() -> Iterator[None]:
    """TensorFlow's own converter still calibrates with the interpreter that it announces the end of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"[\s\S]*tf\.lite\.Interpreter is deprecated", category=UserWarning)
        warnings.filterwarnings("ignore", message="Mean of empty slice", category=RuntimeWarning)  # layers with nothing to compare
        yield


def calibrate(converter: Any, graph: Graph, calibration: Calibration) -> None:
    """Passes the calibration examples to a converter, for full-integer conversion."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = partial(feeds, graph, calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def feeds(graph: Graph, calibration: Calibration) -> Iterator[dict[str, Any]]:
    """Yields one calibration example at a time, in the form that the function to convert accepts."""
    for example in calibration.feeds():
        yield example if graph.spec.vocabulary is None else repair.bert_feeds(next(iter(example.values())))


def worst_layers(graph: Graph, calibration: Calibration) -> list[str]:
    """Returns the tensors of all quantised layers, those with the largest error first.

    The error of a layer is its root mean squared difference between float and integer arithmetic on the same inputs, in
    steps of its output's scale, as TensorFlow's quantisation debugger reports it; a layer that rounds well has 1/sqrt(12).
    """
    order = [one.name for one in graph.inputs] if graph.spec.vocabulary is None else repair.BERT

    def examples() -> Iterator[list[Any]]:
        for index, feed in enumerate(feeds(graph, calibration)):
            if index < SCAN_EXAMPLES:
                yield [feed[name] for name in order]

    tail = float_tail.of(graph)
    function = repair.for_tflite(graph, integers=True, until=tail.tensor if tail else None)
    with graph.plain_saved_model(function) as folder, deprecated_interpreter(), quiet_converters():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=["serving_default"])
        calibrate(converter, graph, calibration)
        debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_dataset=examples)
        debugger.run()
    table = io.StringIO()
    debugger.layer_statistics_dump(table)
    rows = list(csv.DictReader(io.StringIO(table.getvalue())))
    return [row["tensor_name"] for row in sorted(rows, key=_error, reverse=True)]


def _error(row: dict[str, str]) -> float:
    scale = float(row["scale"])
    return float(row["mean_squared_error"]) / scale**2 if scale else 0.0
