"""Runs artifacts in a process of its own runtime: `python -I runner.py READER`, one job as a line of JSON at a time.

Imports NumPy and that runtime, nothing of tlkeras and no Keras: what works here works elsewhere.
A job names the artifact, arrays of inputs, and what to do with them; the outputs go to an .npz file, the record is the answer.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

Feeds = dict[str, np.ndarray]
Call = Callable[[Feeds], Feeds]

# Held-out examples are scored in batches of so many bytes of inputs; small batches stay in the caches of a processor, and TensorFlow's calls
# cost more. With EfficientNet-Lite0, 224 pixels, batches of 2 cost LiteRT a quarter less than of 32, and of 8 cost TensorFlow a quarter less than of 2.
SCORE_BYTES, LARGEST_BATCH = 1_250_000, 32
CONCURRENT = min(4, os.cpu_count() or 1)  # batches that a runtime which allows it scores at a time: cheaper than more threads for one batch


def saved_model(path: str, names: list[str], threads: int | None = None) -> tuple[Call, str]:
    """Returns a function for the raw-tensor signature, and the version of TensorFlow."""
    tf = tensorflow()
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    loaded = load_saved_model(path)
    signature = loaded.signatures["predict_tensor"]

    def call(feeds: Feeds) -> Feeds:
        return {name: value.numpy() for name, value in signature(**{key: tf.constant(value) for key, value in feeds.items()}).items()}

    def encoded(name: str, content: list[bytes]) -> Feeds:
        (input_name,) = loaded.signatures[name].structured_input_signature[1]
        answers = loaded.signatures[name](**{input_name: tf.constant(content, tf.string)})
        return {key: value.numpy() for key, value in answers.items()}

    if "embed_tensor" in loaded.signatures:
        wide = loaded.signatures["embed_tensor"]
        call.wide = lambda feeds: {  # type: ignore[attr-defined]
            name: value.numpy() for name, value in wide(**{key: tf.constant(value) for key, value in feeds.items()}).items()
        }
    call.encoded, call.signatures = encoded, set(loaded.signatures)  # type: ignore[attr-defined]
    call.takes = list(loaded.signatures["serving_default"].structured_input_signature[1])  # type: ignore[attr-defined]
    call.concurrent, call.score_bytes = CONCURRENT, 4 * SCORE_BYTES  # type: ignore[attr-defined]
    return call, f"tensorflow {tf.__version__}"


def without(hidden: str, name: str) -> Any:
    """Imports a module that would import another one by itself, but can do without, while that one cannot be found."""
    if hidden in sys.modules:
        return importlib.import_module(name)
    sys.modules[hidden] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[hidden]


def tensorflow() -> Any:
    """Imports TensorFlow without Keras: no exported file needs it, and it takes 40% of the import."""
    return without("keras", "tensorflow")


def openvino_module() -> Any:
    """Imports OpenVINO without what reports its use: to verify a file is to use no network."""
    return without("openvino_telemetry", "openvino")


def load_saved_model(path: str) -> Any:
    """Loads a SavedModel, with the operations of TensorFlow Text where it splits texts."""
    tf = tensorflow()
    try:
        return tf.saved_model.load(path)
    except (FileNotFoundError, RuntimeError, tf.errors.OpError) as error:
        if "not registered" not in str(error):
            raise
        try:
            import tensorflow_text  # noqa: F401 - registers the operations
        except ImportError as missing:
            raise ImportError(
                f"it tokenises texts with TensorFlow Text, which cannot be imported ({missing}); "
                "pip install tensorflow-text of the version of your TensorFlow"
            ) from error
        return tf.saved_model.load(path)


@functools.cache
def c_api_module() -> Any:
    """Returns the module `c_api.py`, which stands beside this one."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("c_api", Path(__file__).with_name("c_api.py"))
    if spec is None or spec.loader is None:
        raise ImportError("c_api.py is not beside runner.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def c_api(path: str, names: list[str], threads: int | None = None) -> tuple[Call, str]:
    """Returns a function for the raw-tensor signature by TensorFlow's C API, and its version."""
    module = c_api_module()
    try:
        session = module.Session(path, threads=threads)
    except RuntimeError as error:
        if "not registered" not in str(error):
            raise
        session = module.Session(path, text_libraries(), threads=threads)

    def call(feeds: Feeds) -> Feeds:
        return session.run("predict_tensor", feeds)

    def encoded(name: str, content: list[bytes]) -> Feeds:
        (input_name,) = session.signatures[name][0]
        return session.run(name, {input_name: content})

    call.encoded, call.signatures = encoded, set(session.signatures)  # type: ignore[attr-defined]
    call.takes = list(session.signatures["serving_default"][0])  # type: ignore[attr-defined]
    return call, f"TensorFlow's C API {session.version}"


def text_libraries() -> list[str]:
    """Returns the shared libraries of TensorFlow Text; no Python of it is loaded."""
    import importlib.util

    spec = importlib.util.find_spec("tensorflow_text")
    folders = [Path(one) for one in (spec.submodule_search_locations or [])] if spec else []
    return [str(file) for folder in folders for file in sorted(folder.rglob("*.so"))]


def tflite(path: str, names: list[str], threads: int | None = None) -> tuple[Call, str]:
    """Returns a function for the file's signature, and the version of LiteRT.

    Inputs and outputs are floats here whatever the file has: integer ones are converted by the scale stored in the file.
    """
    import importlib.metadata

    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=path, num_threads=threads).get_signature_runner("serving_default")
    inputs, outputs = runner.get_input_details(), runner.get_output_details()

    def call(feeds: Feeds) -> Feeds:
        if set(inputs) == {"ids", "mask", "segment_ids"} and len(feeds) == 1:  # BERT's three inputs, as MediaPipe wants them
            (ids,) = feeds.values()
            feeds = {"ids": ids, "mask": (ids != 0).astype("int32"), "segment_ids": np.zeros_like(ids)}
        answers = runner(**{name: to_integer(array, inputs[name]) for name, array in feeds.items()})
        return {name: to_float(array, outputs[name]) for name, array in answers.items()}

    return call, f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"


def to_integer(array: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Returns an input as the tensor wants it: quantised where the tensor has a scale."""
    scale, zero = detail["quantization"]
    if array.dtype == detail["dtype"] or not scale:
        return array
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(array / scale + zero), limits.min, limits.max).astype(detail["dtype"])


def to_float(array: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Returns an output as floats."""
    scale, zero = detail["quantization"]
    return (array.astype("float32") - zero) * np.float32(scale) if scale else array


def onnx(path: str, names: list[str], threads: int | None = None) -> tuple[Call, str]:
    """Returns a function for the session, and the version of ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait would take the time of other processes
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    input_names = [value.name for value in session.get_inputs()]
    if input_names != names:
        raise ValueError(f"the file asks for {input_names}, expected {names}")
    out = [value.name for value in session.get_outputs()]

    def call(feeds: Feeds) -> Feeds:
        return dict(zip(out, session.run(out, feeds), strict=True))

    call.concurrent = CONCURRENT  # type: ignore[attr-defined]
    return call, f"onnxruntime {onnxruntime.__version__}"


def openvino(path: str, names: list[str], threads: int | None = None) -> tuple[Call, str]:
    """Returns a function for an ONNX file in OpenVINO, and its version."""
    ov = openvino_module()
    limits = {"INFERENCE_PRECISION_HINT": "f32"} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    compiled = ov.Core().compile_model(path, "CPU", limits)
    # A tensor can have several names in OpenVINO; the output's own is that of its result, `scores/sink_port_0`.
    out = [port.get_node().get_friendly_name().split("/sink_port")[0] for port in compiled.outputs]
    return lambda feeds: dict(zip(out, compiled(feeds).values(), strict=True)), f"openvino {ov.__version__.split('-')[0]}"


READERS = {"saved_model": saved_model, "c_api": c_api, "tflite": tflite, "onnx": onnx, "openvino": openvino}

# What each reader imports: done before the first job comes.
IMPORTS = {
    "saved_model": tensorflow,
    "c_api": lambda: c_api_module().library(),
    "tflite": lambda: importlib.import_module("ai_edge_litert.interpreter"),
    "onnx": lambda: importlib.import_module("onnxruntime"),
    "openvino": openvino_module,
}


class Artifacts:
    """The artifacts that are open in this process, by path."""

    def __init__(self, reader: str):
        self.read = READERS[reader]
        self.calls: dict[str, Call] = {}

    def verify(self, job: dict[str, Any]) -> dict[str, Any]:
        """Opens an artifact and runs it: batches, the same request twice, encoded images, the whole split."""
        samples = dict(np.load(job["samples"]))
        started = time.perf_counter()
        call, runtime = self.read(job["path"], list(samples))
        if job["keep"]:
            self.calls[job["path"]] = call
        answers: Feeds = {}
        for batch in job["batches"]:
            for name, value in call({key: array[:batch] for key, array in samples.items()}).items():
                answers[f"batch{batch}/{name}"] = np.array(value)
        record = {"runtime": runtime, "load_s": time.perf_counter() - started}
        for name, value in call({key: array[: job["batches"][-1]] for key, array in samples.items()}).items():
            answers[f"again/{name}"] = np.array(value)
        if hasattr(call, "wide"):
            answers |= {f"tensor/{name}": np.array(value) for name, value in call.wide(samples).items()}
        if job["short"]:
            for name, value in call({key: array[:1, : job["short"]] for key, array in samples.items()}).items():
                answers[f"short/{name}"] = np.array(value)
        if job["encoded"]:
            answers |= encoded(call, job["encoded"])
        if job["score"]:
            started = time.perf_counter()
            inputs = np.load(job["score"], mmap_mode="r")
            answers["score"] = np.concatenate(list(scored(call, next(iter(samples)), inputs, job["output"], job["dtype"])))
            record["score_s"] = time.perf_counter() - started
        np.savez(job["answers"], **answers)  # type: ignore[arg-type]
        return record

    def time(self, job: dict[str, Any]) -> dict[str, Any]:
        """Measures the latency of an artifact, and closes it; where `verify` did so in a process that has ended, opens it again."""
        samples = dict(np.load(job["samples"]))
        call = self.calls.pop(job["path"], None) or self.read(job["path"], list(samples))[0]
        return {"latency_ms": latency(call, {key: array[:1] for key, array in samples.items()})}

    def forget(self, job: dict[str, Any]) -> dict[str, Any]:
        """Closes all artifacts."""
        self.calls.clear()
        return {}


def encoded(call: Call, paths: list[str]) -> Feeds:
    """Sends encoded examples to `serving_default` and `embed`; images again with a damaged one among them; then none at all."""
    send, known = call.encoded, call.signatures  # type: ignore[attr-defined]
    content = [Path(path).read_bytes() for path in paths]
    requests = {"encoded": content, "empty": []}
    if "image_bytes" in call.takes:  # type: ignore[attr-defined]
        requests["damaged"] = [content[0], b"damaged", *content[1:]]
    answers: Feeds = {}
    for request, examples in requests.items():
        answers |= {f"{request}/{name}": readable(value) for name, value in send("serving_default", examples).items()}
    if "embed" in known:
        answers |= {f"embed/{name}": readable(value) for name, value in send("embed", content).items()}
    return answers


def readable(array: np.ndarray) -> np.ndarray:
    """Returns texts as texts instead of bytes."""
    return np.array([one.decode() for one in array.ravel()], dtype="U").reshape(array.shape) if array.dtype == object else array


def scored(call: Call, name: str, inputs: np.ndarray, output: str, dtype: str) -> Iterator[np.ndarray]:
    """Yields an output for an array of inputs, a batch at a time, in order."""
    example = inputs[0].size * np.dtype(dtype).itemsize
    batch = max(1, min(LARGEST_BATCH, getattr(call, "score_bytes", SCORE_BYTES) // max(1, example)))

    def part(start: int) -> np.ndarray:
        return np.array(call({name: np.asarray(inputs[start : start + batch], dtype)})[output])

    with ThreadPoolExecutor(getattr(call, "concurrent", 1)) as pool:
        yield from pool.map(part, range(0, len(inputs), batch))


def latency(call: Call, feeds: Feeds, rounds: int = 15) -> float:
    """Returns the median milliseconds of a single example."""
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        call(feeds)
        took.append(time.perf_counter() - started)
    return float(np.median(took[3:]) * 1000)


def main(reader: str) -> None:
    """Does the jobs of standard input until there are no more, or until the first error."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(record: dict[str, Any]) -> None:
        answers.write(json.dumps(record) + "\n")
        answers.flush()

    artifacts = Artifacts(reader)
    if reader in IMPORTS:
        IMPORTS[reader]()
    for line in sys.stdin:
        job = json.loads(line)
        try:
            record = getattr(artifacts, job["do"])(job)
        except Exception as error:  # each runtime has errors of its own
            text = "".join(traceback.format_exception_only(error)).rstrip()
            answer({"error": text.splitlines()[-1]})
            raise SystemExit(1) from error
        answer(record)


if __name__ == "__main__":
    main(sys.argv[1])
