"""Which engine computes the features of a frozen network fastest, conversion included: `python benchmarks/engines.py efficientnet minilm_l6`.

For TensorFlow's graph (weights as constants; several batch sizes, one and two batches at a time; with XLA where `--jit`), ONNX Runtime, LiteRT
with XNNPACK and OpenVINO where it is installed: seconds to make it ready, then wall and processor milliseconds per example, the least of
`--rounds` rounds, engines in turn. `differs` is the largest difference from TensorFlow, in parts of the largest feature. Then, from these,
the examples after which an engine has won back its conversion. Inputs are random; no convolution or product takes longer or shorter for it.
Writes engines.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tlkeras.startup import load_tensorflow

TOKENS = 48
COUNTS = (600, 3000)


def prefix_of(name):
    """Returns the network up to its features, and random inputs of it as a function of their number."""
    import keras

    from tlkeras import models
    from tlkeras.backbones import registry

    row = registry.find(name)
    task = models.build(row, 5, image_size=224 if row.modality == "image" else None)
    prefix = keras.Model(task.model.input, task.model.get_layer(models.FEATURES).output, name="prefix")
    shape = [TOKENS if side is None else side for side in prefix.input_shape[1:]]
    rng, high = np.random.default_rng(0), 256 if row.modality == "image" else 20000
    return prefix, lambda count: rng.integers(1, high, (count, *shape)).astype(prefix.inputs[0].dtype)


def graph_of(prefix):
    from tlkeras.export.graph import Graph
    from tlkeras.export.spec import ExportSpec

    return Graph(prefix, ExportSpec())


def tensorflow_forward(prefix, folder):
    from tlkeras.training.feature_cache import constant_function

    forward = constant_function(prefix)
    return lambda batch: forward(batch)[0]


def xla_forward(prefix, folder):
    import tensorflow as tf

    traced = tf.function(lambda x: prefix(x, training=False), jit_compile=True, autograph=False)
    return lambda batch: traced(tf.constant(batch)).numpy()


def onnx_forward(prefix, folder, threads=2):
    import onnxruntime

    from tlkeras.export import onnx_graph
    from tlkeras.export.options import OnnxOptions

    path = folder / "prefix.onnx"
    if not path.exists():
        onnx_graph.write(graph_of(prefix), path, OnnxOptions())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    return lambda batch: session.run(None, {entry.name: batch})[0]


def litert_forward(prefix, folder, threads=2):
    from ai_edge_litert.interpreter import Interpreter

    from tlkeras.export import tflite
    from tlkeras.export.options import TFLiteOptions

    path = folder / "prefix.tflite"
    if not path.exists():
        tflite.write(graph_of(prefix), path, TFLiteOptions())
    runner = Interpreter(model_path=str(path), num_threads=threads).get_signature_runner("serving_default")
    (name,) = runner.get_input_details()
    return lambda batch: next(iter(runner(**{name: batch}).values()))


def openvino_forward(prefix, folder):
    import openvino

    from tlkeras.export import onnx_graph
    from tlkeras.export.options import OnnxOptions

    path = folder / "prefix.onnx"
    if not path.exists():
        onnx_graph.write(graph_of(prefix), path, OnnxOptions())
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2})
    lock = __import__("threading").Lock()

    def forward(batch):
        with lock:
            return next(iter(compiled([batch]).values()))

    return forward


ENGINES = {"tensorflow": tensorflow_forward, "onnx": onnx_forward, "litert": litert_forward, "openvino": openvino_forward}
# engine -> (batch size, batches at a time)
WAYS = {
    "tensorflow": ((32, 1), (8, 1), (4, 1), (32, 2), (8, 2), (4, 2), (2, 2)),
    "xla": ((8, 1), (8, 2)),
    "onnx": ((8, 1), (8, 2), (2, 2)),
    "litert": ((8, 1), (2, 1)),
    "openvino": ((8, 1), (2, 1)),
}


def timed(forward, inputs, batch, at_once):
    """Returns wall and processor milliseconds per example."""
    starts = range(0, len(inputs), batch)
    wall, processor = time.perf_counter(), time.process_time()
    if at_once == 1:
        for start in starts:
            forward(inputs[start : start + batch])
    else:
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda start: forward(inputs[start : start + batch]), starts))
    return np.array([time.perf_counter() - wall, time.process_time() - processor]) * 1000 / len(inputs)


def measured(name, examples, rounds, engines):
    prefix, make = prefix_of(name)
    inputs = make(examples)
    reference = tensorflow_forward(prefix, None)(inputs[:8])
    rows, ready = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for engine in engines:
            wall, processor = time.perf_counter(), time.process_time()
            try:
                forward = ENGINES[engine](prefix, Path(folder))
                first = forward(inputs[:8])
            except ImportError as error:
                print(f"{name} {engine}: {error}")
                continue
            seconds = time.perf_counter() - wall, time.process_time() - processor
            differs = float(np.abs(first - reference).max() / np.abs(reference).max())
            ready[engine] = forward
            for batch, at_once in WAYS[engine]:
                row = {"engine": engine, "batch": batch, "at_once": at_once, "ready_s": [round(s, 2) for s in seconds], "differs": differs}
                rows[engine, batch, at_once] = {**row, "ms": np.full(2, np.inf)}
        for _ in range(rounds):
            for (engine, batch, at_once), row in rows.items():
                forward = ready[engine]
                row["ms"] = np.minimum(row["ms"], timed(forward, inputs, batch, at_once))
    for row in rows.values():
        row["ms"] = [round(float(value), 2) for value in row["ms"]]
    return list(rows.values())


def report(name, rows):
    print(f"{name:<14} engine      batch  at once  ready s (wall, cpu)  ms (wall, cpu)  differs")
    for row in rows:
        ready, ms = row["ready_s"], row["ms"]
        print(
            f"{'':<14} {row['engine']:<11} {row['batch']:>5}  {row['at_once']:>7}  {ready[0]:>9.2f} {ready[1]:>9.2f}"
            f"  {ms[0]:>6.2f} {ms[1]:>6.2f}  {row['differs']:.1e}"
        )
    base = min((row for row in rows if row["engine"] == "tensorflow"), key=lambda row: row["ms"][1])
    for engine in {row["engine"] for row in rows} - {"tensorflow"}:
        best = min((row for row in rows if row["engine"] == engine), key=lambda row: row["ms"][1])
        saved, cost = base["ms"][1] - best["ms"][1], best["ready_s"][1] - base["ready_s"][1]
        pays = f"pays from {max(cost, 0) * 1000 / saved:,.0f} examples" if saved > 0 else "never pays"
        seconds = {count: round(cost - saved * count / 1000, 1) for count in COUNTS}
        print(f"{'':<14} {engine}: {saved:+.2f} ms of processor per example, {pays}; processor seconds more for {seconds}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone", nargs="+")
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jit", action="store_true", help="TensorFlow with XLA, too")
    parser.add_argument("--engines", default=",".join(ENGINES))
    options = parser.parse_args()
    load_tensorflow()
    engines = options.engines.split(",")
    if options.jit:
        ENGINES["xla"] = xla_forward
        engines.append("xla")
    result = {}
    for name in options.backbone:
        result[name] = measured(name, options.examples, options.rounds, engines)
        report(name, result[name])
    Path("engines.json").write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
