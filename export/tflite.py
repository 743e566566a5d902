"""TFLite for phones."""

from __future__ import annotations

import re
from pathlib import Path

import tensorflow as tf

from tlkeras.errors import ExportError, UnsupportedOps
from tlkeras.export.graph import Graph
from tlkeras.export.options import TFLiteOptions


def write(graph: Graph, path: Path, options: TFLiteOptions) -> None:
    """Writes a file of built-in operations, with a free batch axis and named inputs and outputs.

    Raises:
        UnsupportedOps: when an operation needs TensorFlow's own kernels ("Flex"), which phones and LiteRT lack.
    """
    graph.frozen  # refuses random operations  # noqa: B018
    with graph.plain_saved_model() as folder:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=["serving_default"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if options.allow_flex:
            converter.target_spec.supported_ops.append(tf.lite.OpsSet.SELECT_TF_OPS)
        try:
            content = converter.convert()
        except Exception as error:  # the converter raises its own, private class
            raise _explained(error) from error
    weights = sum(v.numpy().nbytes for v in graph.module.weights)
    if len(content) < 0.5 * weights:
        raise ExportError(f"the converter wrote {len(content):,} bytes for {weights:,} bytes of weights: it lost them; please report this")
    path.write_bytes(content)


def _explained(error: Exception) -> ExportError:
    """Names the operations that the converter could not place."""
    text = str(error)
    names = sorted(
        set(re.findall(r"tf\.(\w+)\(", text)) | set(re.findall(r"Flex ops: ([\w, ]+)", text)) | set(re.findall(r"'tf\.(\w+)' op", text))
    )
    if not names:
        return ExportError(f"TFLite conversion failed: {' '.join(text.split())[:300]}")
    return UnsupportedOps(
        f"TFLite has no built-in operation for {', '.join(names)}; replace the layer that uses them "
        "(resize with plain bilinear, without antialiasing, before the model), or export ONNX or SavedModel"
    )
