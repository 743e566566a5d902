"""TFLite for phones: float32, or quantised in one of four ways."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tlkeras.errors import ExportError, UnsupportedOps, reason
from tlkeras.export import float_tail, metadata, quantize, repair
from tlkeras.export.graph import Graph
from tlkeras.export.options import TFLiteOptions

# What to do about operations that TFLite lacks: pattern of their names -> advice.
REMEDIES = {
    r"Resize|ScaleAndTranslate": "resize with plain bilinear, without antialiasing, or before the model",
    r"TensorList|While": "build the recurrent layer with unroll=True and a fixed length",
    r"FFT|Complex": "replace the Fourier transform with a multiplication by its matrix",
}

# What holds most of the weights, by what the file says it is; FLOAT32 weights under fp16 would be a file twice its name.
HOLDS = {None: "FLOAT32", "fp16": "FLOAT16", "dynamic": "INT8", "int8": "INT8", "int16x8": "INT8"}
TARGET = "target"  # key of the metadata that is a file of its own here
# Biases, batch-norm leftovers and small layers stay in other types.
SMALL = 1024  # elements
INTEGERS = ("int8", "int16x8")
INTS = {"int8": tf.int8, "uint8": tf.uint8, "float32": tf.float32}


def write(graph: Graph, path: Path, options: TFLiteOptions) -> None:
    """Writes a file of built-in operations, with a free batch axis and named inputs and outputs, labels and metadata.

    Raises:
        UnsupportedOps: when an operation needs TensorFlow's own kernels ("Flex"), which phones and LiteRT lack.
        ExportError: when the converter fails, or the file does not contain what its options ask for.
    """
    tail = float_tail.of(graph) if options.quantize in (*INTEGERS, "fp16") and options.io == "float32" else None
    function = repair.for_tflite(graph, integers=options.quantize in INTEGERS, until=tail.tensor if tail else None)
    with (
        graph.plain_saved_model(function) as folder,
        quantize.deprecated_interpreter(),
    ):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=["serving_default"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        MODES[options.quantize](converter, graph, options)
        if options.allow_flex:
            converter.target_spec.supported_ops = [*converter.target_spec.supported_ops, tf.lite.OpsSet.SELECT_TF_OPS]
        try:
            content = _mixed(converter, options) if options.float_layers else converter.convert()
        except Exception as error:  # the converter raises its own, private class
            raise _explained(error) from error
    _check_holds(content, graph, options)
    if tail is not None:
        content = float_tail.append(content, tail)
    path.write_bytes(metadata.attach(content, _described(graph)))


def _described(graph: Graph) -> metadata.Described:
    shape = graph.inputs[0].shape
    single = len(graph.output_names) == 1
    return metadata.Described(
        name=graph.model.name,
        description=", ".join(f"{key} {value}" for key, value in graph.spec.metadata.items() if key != TARGET),
        target=graph.spec.metadata.get(TARGET),
        labels=graph.spec.labels if single else None,
        thresholds=graph.spec.thresholds if single else None,
        colours=metadata.COLOURS.get(shape[3]) if len(graph.inputs) == 1 and len(shape) == 4 else None,
        vocabulary=graph.spec.vocabulary,
    )


# === The ways to quantise ===


def _float32(converter: Any, graph: Graph, options: TFLiteOptions) -> None:
    pass


def _fp16(converter: Any, graph: Graph, options: TFLiteOptions) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _dynamic(converter: Any, graph: Graph, options: TFLiteOptions) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _int8(converter: Any, graph: Graph, options: TFLiteOptions) -> None:
    quantize.calibrate(converter, graph, options.calibration)
    converter.inference_input_type = converter.inference_output_type = INTS[options.io]


def _int16x8(converter: Any, graph: Graph, options: TFLiteOptions) -> None:
    quantize.calibrate(converter, graph, options.calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]


MODES = {None: _float32, "fp16": _fp16, "dynamic": _dynamic, "int8": _int8, "int16x8": _int16x8}


def _mixed(converter: Any, options: TFLiteOptions) -> bytes:
    """Converts to int8 with some layers left in float; only the debugger of the converter can name them."""
    # Layers left in float need the float kernels too.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    chosen = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=list(options.float_layers))
    return tf.lite.experimental.QuantizationDebugger(converter=converter, debug_options=chosen).get_nondebug_quantized_model()


# === A file is what its name says ===


def composition(content: bytes) -> dict[str, int]:
    """Returns type -> number of elements, over the constants of a TFLite file that are no small ones."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
    model = schema.Model.GetRootAs(content, 0)
    counts: Counter[str] = Counter()
    for subgraph_index in range(model.SubgraphsLength()):
        graph = model.Subgraphs(subgraph_index)
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            elements = int(np.prod(tensor.ShapeAsNumpy())) if tensor.ShapeLength() else 1
            if model.Buffers(tensor.Buffer()).DataLength() and elements > SMALL:
                counts[names[tensor.Type()]] += elements
    return dict(counts)


def activations(content: bytes) -> Counter[str]:
    """Returns type -> number of tensors that are computed (no constants)."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    tensors = (graph.Tensors(index) for index in range(graph.TensorsLength()))
    return Counter(names[one.Type()] for one in tensors if not model.Buffers(one.Buffer()).DataLength())


def _check_holds(content: bytes, graph: Graph, options: TFLiteOptions) -> None:
    weights = sum(int(np.prod(v.shape)) for v in graph.module.weights if v.dtype.is_floating)
    held = composition(content)
    total = sum(held.values())
    if total < 0.5 * weights - SMALL * len(graph.module.weights):
        raise ExportError(f"the converter wrote only {total:,} of {weights:,} weights; please report this")
    weight_type = HOLDS[options.quantize]
    if total and not options.float_layers and held.get(weight_type, 0) < 0.5 * total:
        raise ExportError(
            f"a {options.quantize or 'float32'} file should contain mostly {weight_type} weights; this one contains {_text(held)}"
        )
    if options.quantize == "int8" and not options.float_layers:
        floats = activations(content)["FLOAT32"]
        if floats > len(graph.inputs) + len(graph.output_names):
            raise ExportError(f"an int8 file should compute in integers; this one has {floats} float32 activations")


def _text(held: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in held.items())


def _explained(error: Exception) -> ExportError:
    """Names the operations that the converter could not place."""
    text = str(error)
    names = sorted(
        set(re.findall(r"tf\.(\w+)\(", text)) | set(re.findall(r"Flex ops: ([\w, ]+)", text)) | set(re.findall(r"'tf\.(\w+)' op", text))
    )
    if not names:
        return ExportError(f"TFLite conversion failed: {reason(error)}")
    advice = [remedy for pattern, remedy in REMEDIES.items() if any(re.search(pattern, name) for name in names)]
    todo = "; ".join(advice) or "replace the layer that uses them"
    return UnsupportedOps(f"TFLite has no built-in operation for {', '.join(names)}; {todo}, or export another format")
