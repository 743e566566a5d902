"""Runs one artifact in a process of its own: `python -I runner.py JOB.json`.

Imports NumPy and the artifact's own runtime, nothing of tlkeras and no Keras: what works here works elsewhere.
The job names the artifact, arrays of inputs, and what to do with them; the answers go to an .npz and a JSON file.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Feeds = dict[str, np.ndarray]
Call = Callable[[Feeds], Feeds]


def saved_model(path: str, names: list[str]) -> tuple[Call, str]:
    """Returns a function for the raw-tensor signature, and the version of TensorFlow."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    signature = loaded.signatures["predict_tensor"]

    def call(feeds: Feeds) -> Feeds:
        return {name: value.numpy() for name, value in signature(**{key: tf.constant(value) for key, value in feeds.items()}).items()}

    call.loaded = loaded  # type: ignore[attr-defined]
    return call, f"tensorflow {tf.__version__}"


def tflite(path: str, names: list[str]) -> tuple[Call, str]:
    """Returns a function for the file's signature, and the version of LiteRT."""
    import importlib.metadata

    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=path).get_signature_runner("serving_default")
    return lambda feeds: runner(**feeds), f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"


def onnx(path: str, names: list[str]) -> tuple[Call, str]:
    """Returns a function for the session, and the version of ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = [value.name for value in session.get_inputs()]
    if given != names:
        raise ValueError(f"the file asks for {given}, expected {names}")
    out = [value.name for value in session.get_outputs()]
    return lambda feeds: dict(zip(out, session.run(out, feeds), strict=True)), f"onnxruntime {onnxruntime.__version__}"


READERS = {"saved_model": saved_model, "tflite": tflite, "onnx": onnx}


def run(job: dict[str, Any]) -> None:
    """Does one job: batches, the same request twice, encoded pictures, the whole split, the latency."""
    samples = dict(np.load(job["samples"]))
    started = time.perf_counter()
    call, runtime = READERS[job["reader"]](job["path"], list(samples))
    answers: Feeds = {}
    for batch in job["batches"]:
        for name, value in call({key: array[:batch] for key, array in samples.items()}).items():
            answers[f"batch{batch}/{name}"] = np.array(value)
    record = {"runtime": runtime, "load_s": time.perf_counter() - started}
    for name, value in call({key: array[: job["batches"][-1]] for key, array in samples.items()}).items():
        answers[f"again/{name}"] = np.array(value)
    if job["pictures"]:
        answers |= pictures(call, job["pictures"])
    if job["score"]:
        answers["score"] = score(call, next(iter(samples)), job["score"], job["output"])
    record["latency_ms"] = latency(call, {key: array[:1] for key, array in samples.items()}) if job["latency"] else None
    np.savez(job["answers"], **answers)  # type: ignore[arg-type]
    Path(job["record"]).write_text(json.dumps(record))


def pictures(call: Call, paths: list[str]) -> Feeds:
    """Sends encoded pictures to `serving_default`, and one of them to `embed`."""
    import tensorflow as tf

    signatures = call.loaded.signatures  # type: ignore[attr-defined]
    encoded = tf.constant([Path(path).read_bytes() for path in paths])
    answers = {f"pictures/{name}": value.numpy() for name, value in signatures["serving_default"](image_bytes=encoded).items()}
    answers["pictures/label"] = np.char.decode(answers["pictures/label"].astype("S"), "utf-8")
    if "embed" in signatures:
        answers |= {f"embed/{name}": value.numpy() for name, value in signatures["embed"](image_bytes=encoded).items()}
    return answers


def score(call: Call, name: str, path: str, output: str, batch: int = 32) -> np.ndarray:
    """Runs a whole memory-mapped array of inputs."""
    inputs = np.load(path, mmap_mode="r")
    parts = [call({name: np.asarray(inputs[i : i + batch], "float32")})[output] for i in range(0, len(inputs), batch)]
    return np.concatenate([np.array(part) for part in parts])


def latency(call: Call, feeds: Feeds, rounds: int = 15) -> float:
    """Returns the median milliseconds of a single example."""
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        call(feeds)
        took.append(time.perf_counter() - started)
    return float(np.median(took[3:]) * 1000)


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text()))
