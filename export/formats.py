"""The formats: one row each."""

from __future__ import annotations

from dataclasses import dataclass

from tlkeras.export import options
from tlkeras.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Format:
    """One export format.

    Args:
        name: how it is asked for; also what `runner.py` calls its reader.
        path: name of the file or folder.
        write: `"module:function"`, called with (traced graph, path, options).
        options: its options class.
        tolerance: largest difference of the outputs, relative to the largest output of the Keras model.
        runtime: what runs it.
        help: one line for people.
    """

    name: str
    path: str
    write: str
    options: type
    tolerance: float
    runtime: str
    help: str


# Float formats differ by the order of additions; ResNet50 and InceptionV3 reach 7e-5 of their largest output.
FLOAT = 1e-3

FORMATS: Registry[Format] = Registry(
    "export format",
    [
        Format(
            name="saved_model",
            path="saved_model",
            write="tlkeras.export.saved_model:write",
            options=options.SavedModelOptions,
            tolerance=FLOAT,
            runtime="tensorflow",
            help="For TensorFlow Serving: encoded pictures in; label, scores and class id out.",
        ),
        Format(
            name="tflite",
            path="model.tflite",
            write="tlkeras.export.tflite:write",
            options=options.TFLiteOptions,
            tolerance=FLOAT,
            runtime="ai_edge_litert",
            help="For phones: float32, built-in operations only.",
        ),
        Format(
            name="onnx",
            path="model.onnx",
            write="tlkeras.export.onnx_graph:write",
            options=options.OnnxOptions,
            tolerance=FLOAT,
            runtime="onnxruntime",
            help="For ONNX Runtime and its kin.",
        ),
    ],
)
