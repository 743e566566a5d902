"""How long a backbone alone takes on this computer, as float and as int8 TFLite file in LiteRT: measured once, and kept by machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras.backbones.row import Backbone
from tlkeras.errors import ExportError
from tlkeras.export import tflite
from tlkeras.export.benchmark import Candidate, Workload, benchmark
from tlkeras.export.calibration import FEWEST, Calibration
from tlkeras.export.graph import Graph
from tlkeras.export.options import TFLiteOptions
from tlkeras.export.quiet import quiet_converters
from tlkeras.export.spec import SCORES, ExportSpec
from tlkeras.selection import cost

THREADS = 1  # as runtimes of phones are set by default, and as what else runs on a server leaves
CALIBRATION = 16  # examples: ranges for a latency, not for an artifact
READER = "tflite"


def measured(row: Backbone, prefix: keras.Model, samples: np.ndarray) -> dict[str, Any]:
    """Returns size and latency of a backbone by type, and why one of them could not be had.

    Args:
        row: of the backbone.
        prefix: input -> features, with the weights that it is compared with.
        samples: real inputs, (n, …), 8 or more; the first are timed, all calibrate.

    Returns:
        `float32` and `int8`, each with `bytes` and `ms`, or with `refused`; `machine` and `threads`.
    """
    path = cost.latency_file(row, samples.shape[1:], THREADS)
    record = cost.read_latency(path)
    if record is not None:
        return record
    record = {"backbone": row.name, "machine": cost.machine(), "threads": THREADS, **_run(prefix, samples)}
    cost.write_latency(path, record)
    return record


def _run(prefix: keras.Model, samples: np.ndarray) -> dict[str, Any]:
    """Exports and times both types."""
    if len(prefix.outputs) > 1:
        return {kind: {"refused": f"its features are {len(prefix.outputs)} tensors"} for kind in cost.BYTES}
    graph = Graph(prefix, ExportSpec())
    (entry,) = graph.inputs
    inputs = np.asarray(samples, entry.dtype)
    options = {"float32": TFLiteOptions()}
    results: dict[str, Any] = {}
    if len(inputs) >= FEWEST:
        options["int8"] = TFLiteOptions(quantize="int8", calibration=Calibration(inputs={entry.name: inputs[:CALIBRATION]}))
    else:
        results["int8"] = {"refused": f"{len(inputs)} examples are too few to calibrate; expected {FEWEST} or more"}
    with tempfile.TemporaryDirectory(prefix="tlkeras-latency-") as folder:
        files = {kind: Path(folder) / f"{kind}.tflite" for kind in options}
        for kind, settings in options.items():
            try:
                with quiet_converters():
                    tflite.write(graph, files[kind], settings)
            except ExportError as error:
                results[kind] = {"refused": str(error)}
        candidates = [
            Candidate(name=kind, path=file, reader=READER, bytes=file.stat().st_size) for kind, file in files.items() if file.is_file()
        ]
        expected = np.asarray(prefix.predict_on_batch(inputs[:2]), "float32")
        workload = Workload(inputs={entry.name: inputs[:2]}, output=SCORES, expected=expected)
        for result in benchmark(candidates, workload, threads=(THREADS,)) if candidates else []:
            done = {"bytes": result.bytes, "ms": result.p50_ms, "p95_ms": result.p95_ms, "max_abs_diff": result.max_abs_diff}
            results[result.format] = done if result.status == "ok" else {"bytes": result.bytes, "refused": result.status}
    return {kind: results[kind] for kind in cost.BYTES}
