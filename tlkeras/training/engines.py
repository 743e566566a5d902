"""Which engine computes the features of a frozen network: TensorFlow, or LiteRT where it is faster by more than its conversion costs.

On 2 processors LiteRT (XNNPACK) takes a fifth less than TensorFlow for EfficientNet-Lite0, and as long for MiniLM. ONNX Runtime and OpenVINO are
no faster than LiteRT there, their conversion takes twice as long for Lite0 and 35 s for MiniLM, and XLA takes fifteen times as long:
`benchmarks/engines.py`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import queue
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras import files
from tlkeras.startup import KNOWN_NOISE, filtered_stderr, stop_deferred
from tlkeras.training import feature_cache
from tlkeras.training.feature_cache import Engine, Sliceable
from tlkeras.training.feature_rows import digest

FEWEST = 1000  # examples, below which no conversion was ever worth its while
EXPECTED = 0.15  # share of TensorFlow's time that LiteRT is expected to save while nothing is known
CONVERSION = 2.0  # times as long as to trace and freeze the network, as long as nothing is known
FASTER = 0.9  # of TensorFlow's time, which LiteRT must need at most: a trial is no more exact
TOLERANCE = 1e-4  # of the largest feature
TRIAL, TRIED = 0.5, 32  # seconds for both engines together, and examples
INPUT_BYTES, LARGEST_BATCH = 1_250_000, 32  # of a batch of LiteRT, in float32: see SCORE_BYTES in export/runner.py
AT_ONCE = 4  # batches, at most
CHATTER = re.compile(
    KNOWN_NOISE.pattern + r"|MLIR V1 optimization pass|tf_tfl_flatbuffer_helpers|flatbuffer_export\.cc|Estimated count of arithmetic ops"
    r"|Created TensorFlow Lite XNNPACK|grappler|single_machine|devices\.cc|mlir_graph_optimization_pass|^loc\(|^error: |failed to legalize"
)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a trial found out, in milliseconds of one example.

    Args:
        tensorflow: of TensorFlow.
        litert: of LiteRT; None where it could not be used.
        conversion: seconds.
        reason: why it could not be used.
    """

    tensorflow: float
    litert: float | None = None
    conversion: float = 0.0
    reason: str = ""

    def pays(self, count: int) -> bool:
        """Whether LiteRT is ready and done before TensorFlow is, for so many examples."""
        if self.litert is None or self.litert > FASTER * self.tensorflow:
            return False
        return count * (self.tensorflow - self.litert) / 1000 > self.conversion


@dataclass(kw_only=True)
class Engines:
    """Chooses the engine for a number of examples; what it made once it uses again.

    Args:
        prefix: model of one input.
        images: examples, to try engines on.
        eligible: whether anything but TensorFlow comes into question; see `eligible`.
        folder: where choices are remembered; None to forget them.
        say: called with a line about what was chosen.
    """

    prefix: keras.Model
    images: Sliceable
    eligible: bool = False
    folder: Path | None = None
    say: Callable[[str], None] = lambda text: None
    _tensorflow: Engine | None = None
    _function: Any = None
    _litert: Engine | None = None
    _failed: bool = False
    _seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, count: int) -> Engine:
        """Returns the engine for so many examples."""
        if self._litert is not None:
            return self._litert
        if not self.eligible or self._failed or count < FEWEST:
            return self.tensorflow()
        path = None if self.folder is None else self.folder / f"{_key(self.prefix)}.json"
        record = None if path is None else _remembered(path)
        if record is not None:
            return self._converted(record) if record.pays(count) else self.tensorflow()
        return self._tried(count, path)

    def tensorflow(self) -> Engine:
        """Returns TensorFlow's engine."""
        if self._tensorflow is None:
            started = time.perf_counter()
            self._function = feature_cache.traced(self.prefix)
            self._seconds["trace"] = time.perf_counter() - started
            run = feature_cache.as_forward(self._function)
            self._tensorflow = Engine(run=run, batch_size=feature_cache.batch_size_of(self.prefix))
        return self._tensorflow

    def _tried(self, count: int, path: Path | None) -> Engine:
        """Times TensorFlow and, where that may pay, LiteRT; remembers and reports the result."""
        examples = np.asarray(self.images[slice(0, TRIED)], self.prefix.inputs[0].dtype)
        tensorflow = self.tensorflow()
        milliseconds = _milliseconds(tensorflow, examples)
        if count * milliseconds * EXPECTED / 1000 < CONVERSION * self._seconds["trace"]:
            return tensorflow
        started = time.perf_counter()
        try:
            litert = self._convert()
            self._check(litert, examples)
        except _FAILURES as error:
            record = Record(tensorflow=milliseconds, conversion=time.perf_counter() - started, reason=" ".join(str(error).split())[:200])
            return self._rejected(record, path)
        conversion = time.perf_counter() - started
        record = Record(tensorflow=milliseconds, litert=_milliseconds(litert, examples), conversion=conversion)
        _remember(path, record)
        faster = record.litert is not None and record.litert <= FASTER * record.tensorflow  # it is converted now
        self.say(
            f"features: {'LiteRT' if faster else 'TensorFlow'} (TensorFlow {record.tensorflow:.2f} ms per example here, "
            f"LiteRT {record.litert:.2f}, after {conversion:.1f} s of conversion)"
        )
        self._litert, self._failed = (litert, False) if faster else (None, True)
        return self._litert or tensorflow

    def _converted(self, record: Record) -> Engine:
        """Returns LiteRT's engine, which an earlier run found to be faster."""
        tensorflow = self.tensorflow()
        examples = np.asarray(self.images[slice(0, TRIED)], self.prefix.inputs[0].dtype)
        try:
            self._litert = self._convert()
            self._check(self._litert, examples)
        except _FAILURES as error:
            self._litert = None
            return self._rejected(Record(tensorflow=record.tensorflow, reason=" ".join(str(error).split())[:200]), None)
        self.say(
            f"features: LiteRT (an earlier run measured {record.tensorflow:.2f} ms per example in TensorFlow, {record.litert:.2f} in LiteRT)"
        )
        return self._litert or tensorflow

    def _rejected(self, record: Record, path: Path | None) -> Engine:
        _remember(path, record)
        self._failed = True
        self.say(f"features: TensorFlow, as LiteRT cannot be used: {record.reason}")
        return self.tensorflow()

    def _convert(self) -> Engine:
        self.tensorflow()
        return litert(self._function, self.prefix)

    def _check(self, litert: Engine, examples: np.ndarray) -> None:
        """Raises where LiteRT's features differ from TensorFlow's."""
        own = self.tensorflow()
        some = examples[: litert.batch_size]
        filled = feature_cache.filled(some, own.batch_size)
        for ours, theirs in zip(own(filled), litert(feature_cache.filled(some, litert.batch_size)), strict=True):
            ours, theirs = ours[: len(some)], theirs[: len(some)]
            if ours.shape != theirs.shape:
                raise ValueError(f"its features have the shape {theirs.shape}, expected {ours.shape}")
            difference = float(np.abs(ours - theirs).max() / (np.abs(ours).max() or 1.0))
            if not difference <= TOLERANCE:
                raise ValueError(f"its features differ by {difference:.1e} of the largest, more than {TOLERANCE:g}")


# What a converter or an interpreter raises; anything else is an error of ours.
_FAILURES = (
    ValueError,
    RuntimeError,
    TypeError,
    ImportError,
    MemoryError,
    tf.errors.OpError,
)


def eligible(prefix: keras.Model, lengths: np.ndarray | None, *, one_device: bool) -> bool:
    """Whether LiteRT comes into question: on a CPU, in float32, for convolutions over inputs of one size.

    Args:
        prefix: model of one input.
        lengths: of the examples, where they differ.
        one_device: whether one process on one device does the work.
    """
    fixed = lengths is None and None not in prefix.inputs[0].shape[1:]
    accelerator = any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
    floats = all(tensor.dtype == "float32" for tensor in (*prefix.inputs, *prefix.outputs))
    whole = all(layer.dtype_policy.compute_dtype in ("float32", None) for layer in prefix._flatten_layers())
    return one_device and fixed and not accelerator and floats and whole and feature_cache.has_convolutions(prefix)


def litert(function: Any, prefix: keras.Model) -> Engine:
    """Converts a network and returns LiteRT's engine: an interpreter for each processor, of one thread, with small batches.

    Args:
        function: its inference, with weights as constants.
        prefix: the network, of one input whose size is fixed.
    """
    from ai_edge_litert.interpreter import Interpreter

    with stop_deferred(), filtered_stderr(CHATTER):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            content = converter.convert()
        except Exception as error:  # the converter raises its own, private class
            raise ValueError(str(error).strip().splitlines()[0][:200]) from error
        shape = prefix.inputs[0].shape[1:]
        batch_size = max(1, min(LARGEST_BATCH, INPUT_BYTES // (4 * int(np.prod(shape)))))
        processors = feature_cache.processors()
        at_once = min(AT_ONCE, processors)
        idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(at_once):
            interpreter = Interpreter(model_content=content, num_threads=max(1, processors // at_once))
            interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (batch_size, *shape))
            interpreter.allocate_tensors()
            idle.put(interpreter)

    def run(batch: np.ndarray) -> list[np.ndarray]:
        interpreter = idle.get()
        try:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], batch)
            interpreter.invoke()
            return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]
        finally:
            idle.put(interpreter)

    return Engine(run=run, batch_size=batch_size, at_once=at_once)


def _milliseconds(engine: Engine, examples: np.ndarray) -> float:
    """Returns the wall milliseconds of an example, after a batch that does not count."""
    parts = [
        feature_cache.filled(examples[i : i + engine.batch_size], engine.batch_size) for i in range(0, len(examples), engine.batch_size)
    ]
    for _ in range(engine.at_once):
        engine(parts[0])
    started, count = time.perf_counter(), 0
    with ThreadPoolExecutor(engine.at_once) as pool:
        while count == 0 or time.perf_counter() - started < TRIAL / 2:
            count += sum(len(values[0]) for values in pool.map(engine, parts))
    return (time.perf_counter() - started) * 1000 / count


# === Memory ===


def _key(prefix: keras.Model) -> str:
    """Returns what a choice depends on: the network, and the machine."""
    versions = [tf.__version__, importlib.metadata.version("ai-edge-litert"), platform.platform(), platform.processor()]
    machine = [*versions, _processor(), str(feature_cache.processors())]
    return hashlib.sha256("\n".join([digest(prefix), *machine]).encode()).hexdigest()[:32]


def _processor() -> str:
    """Returns the name of the processor, where the system states it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("model name")), "")


def _remembered(path: Path) -> Record | None:
    try:
        return Record(**files.read_json(path))
    except (OSError, ValueError, TypeError):  # none, or of another version: it is measured again
        return None


def _remember(path: Path | None, record: Record) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, vars(record))
