"""The formats: one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlkeras.export import options
from tlkeras.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Format:
    """One export format.

    Args:
        name: name that users pass.
        path: name of the file or folder.
        write: `"module:function"`, called with (traced graph, path, options).
        options: its options class.
        defaults: options that make this row what it is.
        calibrated: whether its options accept calibration examples.
        attempts: `"module:function"` that yields (name, options) from the cheapest to the safest; the first inside the
            accuracy budget is used. None for a format without alternatives.
        tolerance: largest difference of the outputs, relative to the largest output of the Keras model.
        quantised: whether a classifier of this format is evaluated by its accuracy on held-out examples, instead of the
            tolerance.
        reader: what `runner.py` calls its reader.
        also: further readers that must give the same answers, where installed.
        texts: whether its runtime has operations on texts.
        served: whether TensorFlow Serving loads it: a version folder of the zoo is such a folder.
        help: one line of help text.
    """

    name: str
    path: str
    write: str
    options: type
    defaults: Mapping[str, Any] = field(default_factory=dict)
    calibrated: bool = False
    attempts: str | None = None
    tolerance: float
    quantised: bool = False
    reader: str
    also: tuple[str, ...] = ()
    texts: bool = False
    served: bool = False
    help: str

    @property
    def runtime(self) -> str:
        """The package that runs it."""
        return PACKAGES[self.reader]


# Reader in runner.py -> the package it needs.
PACKAGES = {"saved_model": "tensorflow", "c_api": "tensorflow", "tflite": "ai_edge_litert", "onnx": "onnxruntime", "openvino": "openvino"}

# Float formats differ by the order of additions; ResNet50 and InceptionV3 reach 7e-5 of their largest output.
FLOAT = 1e-3
# Used only where there are no classes to compare: half precision keeps 11 bits, 8-bit activations add up over layers.
HALF, EIGHT_BIT = 2e-2, 0.3

# The rungs of `mobile`, from the cheapest on a phone to the safest; `quantization_search.py` walks down them.
RUNGS = ("int8", "int8 with some layers in float", "int16x8", "dynamic", "fp16", "float32")

WRITE_TFLITE = "tlkeras.export.tflite:write"
WRITE_ONNX = "tlkeras.export.onnx_graph:write"

FORMATS: Registry[Format] = Registry(
    "export format",
    [
        Format(
            name="saved_model",
            path="saved_model",
            write="tlkeras.export.saved_model:write",
            options=options.SavedModelOptions,
            tolerance=FLOAT,
            reader="saved_model",
            also=("c_api",),
            texts=True,
            served=True,
            help="For TensorFlow Serving: encoded images in; label, scores, class id and status out.",
        ),
        Format(
            name="tflite",
            path="model.tflite",
            write=WRITE_TFLITE,
            options=options.TFLiteOptions,
            tolerance=FLOAT,
            reader="tflite",
            help="For phones: float32, built-in operations only.",
        ),
        Format(
            name="tflite-fp16",
            path="model_fp16.tflite",
            write=WRITE_TFLITE,
            options=options.TFLiteOptions,
            defaults={"quantize": "fp16"},
            tolerance=HALF,
            quantised=True,
            reader="tflite",
            help="For phones: float16 weights, half the size.",
        ),
        Format(
            name="tflite-dynamic",
            path="model_dynamic.tflite",
            write=WRITE_TFLITE,
            options=options.TFLiteOptions,
            defaults={"quantize": "dynamic"},
            tolerance=EIGHT_BIT,
            quantised=True,
            reader="tflite",
            help="For phones: 8-bit weights, float activations; a quarter of the size, no calibration.",
        ),
        Format(
            name="tflite-int8",
            path="model_int8.tflite",
            write=WRITE_TFLITE,
            options=options.TFLiteOptions,
            defaults={"quantize": "int8"},
            calibrated=True,
            tolerance=EIGHT_BIT,
            quantised=True,
            reader="tflite",
            help="For phones and their accelerators: 8-bit weights and activations, calibrated on training examples.",
        ),
        Format(
            name="mobile",
            path="model_mobile.tflite",
            write=WRITE_TFLITE,
            options=options.TFLiteOptions,
            attempts="tlkeras.export.quantization_search:attempts",
            tolerance=EIGHT_BIT,
            quantised=True,
            reader="tflite",
            help="For phones: the smallest TFLite file within --max-drop, found by trying them in order of size.",
        ),
        Format(
            name="onnx",
            path="model.onnx",
            write=WRITE_ONNX,
            options=options.OnnxOptions,
            tolerance=FLOAT,
            reader="onnx",
            also=("openvino",),
            help="For ONNX Runtime, OpenVINO and other ONNX runtimes.",
        ),
        Format(
            name="onnx-fp16",
            path="model_fp16.onnx",
            write=WRITE_ONNX,
            options=options.OnnxOptions,
            defaults={"quantize": "fp16"},
            tolerance=HALF,
            quantised=True,
            reader="onnx",
            also=("openvino",),
            help="For GPUs with ONNX Runtime: float16 inside, float32 inputs and outputs.",
        ),
        Format(
            name="onnx-int8",
            path="model_int8.onnx",
            write=WRITE_ONNX,
            options=options.OnnxOptions,
            defaults={"quantize": "int8"},
            calibrated=True,
            tolerance=EIGHT_BIT,
            quantised=True,
            reader="onnx",
            also=("openvino",),
            help="For ONNX Runtime and OpenVINO: QDQ, 8-bit weights and activations, calibrated on training examples.",
        ),
    ],
    aliases={
        "savedmodel": "saved_model",
        "saved-model": "saved_model",
        "lite": "tflite",
        "tflite-float32": "tflite",
        "tflite-float16": "tflite-fp16",
        "onnx-float16": "onnx-fp16",
    },
)

ENDINGS = {Path(row.path).suffix for row in FORMATS} - {""}  # of artifacts that are files
SERVING = next(row for row in FORMATS if row.served)
SMALLEST = next(row for row in FORMATS if row.attempts)  # the smallest file within the budget, as phones want it
