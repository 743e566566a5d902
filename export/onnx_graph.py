"""ONNX by tf2onnx, from the frozen graph: the one route that covers every family."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tf2onnx
from onnxruntime.quantization import CalibrationDataReader
from tf2onnx import constants
from tf2onnx.graph import Node
from tf2onnx.optimizer import back_to_back_optimizer

from tlkeras import __version__
from tlkeras.errors import ExportError, UnsupportedOps
from tlkeras.export import float_tail
from tlkeras.export.calibration import Calibration
from tlkeras.export.graph import Graph
from tlkeras.export.options import OnnxOptions

STEP_ERRORS = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, AssertionError)


def write(graph: Graph, path: Path, options: OnnxOptions) -> None:
    """Writes a checked ONNX file with the axis name `batch`, clean names, and labels in its metadata.

    Raises:
        UnsupportedOps: when an operation is in no opset, or the file would ask for other inputs than the model.
    """
    function = graph.frozen
    outputs = {tensor.name: name for name, tensor in zip(sorted(graph.output_names), function.outputs, strict=True)}
    inputs = {tensor.name: spec.name for tensor, spec in zip(function.inputs, graph.inputs, strict=True)}
    convert = partial(
        tf2onnx.convert.from_graph_def,
        function.graph.as_graph_def(),
        input_names=list(inputs),
        output_names=list(outputs),
        opset=options.opset,
        custom_op_handlers={"Erfc": (_erfc, [])},
        tensors_to_rename={**inputs, **outputs},
        large_model=False,
    )
    with _reshapes_kept():
        try:
            with _in_place():
                proto, _ = convert()
        except STEP_ERRORS:  # a step of the optimisation failed, which the copies are for; or the conversion, which then says so
            proto, _ = convert()
    _name_axes(proto, graph)
    _round_up_scales(proto)
    _check(proto, [one.name for one in graph.inputs])
    QUANTIZE[options.quantize](proto, path, options)
    _finish(path, graph)


# === The ways to quantise ===


def _float32(proto: onnx.ModelProto, path: Path, options: OnnxOptions) -> None:
    onnx.save(proto, str(path))


def _fp16(proto: onnx.ModelProto, path: Path, options: OnnxOptions) -> None:
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = ONNXModel(convert_float_to_float16(float_tail.cut_onnx(proto), keep_io_types=True))
    try:
        half.topological_sort()  # the converter appends its casts at the end: microsoft/onnxconverter-common#240
    except AssertionError as error:  # "Graph is not a DAG"
        raise UnsupportedOps("ONNX Runtime's converter to float16 cannot sort graphs with loops; export onnx instead") from error
    # Left out, and not in the list of blocked nodes: the converter passes what is between blocked nodes through float16.
    float_tail.put_back_onnx(half.model, proto)
    onnx.save(half.model, str(path))


def _int8(proto: onnx.ModelProto, path: Path, options: OnnxOptions) -> None:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    calibration = options.calibration
    if calibration is None:  # the options have seen to that
        raise ExportError("int8 needs calibration examples")
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared = Path(folder) / "plain.onnx", Path(folder) / "prepared.onnx"
        onnx.save(proto, str(plain))
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)  # folds BatchNorm into convolutions
        quantization.quantize_static(
            str(prepared),
            str(path),
            _Feeds(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            nodes_to_exclude=[node.name for node in float_tail.onnx_nodes(onnx.load(str(prepared)))],
            # ONNX Runtime's own first choice; unsigned activations saturate on processors without VNNI.
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    if not any(node.op_type == "QuantizeLinear" for node in onnx.load(str(path)).graph.node):
        raise ExportError("the quantiser of ONNX Runtime quantised no layer; it supports none of this model's operations")


class _Feeds(CalibrationDataReader):
    """Hands calibration examples to ONNX Runtime, one at a time."""

    def __init__(self, calibration: Calibration):
        self._feeds = calibration.feeds()

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


QUANTIZE = {None: _float32, "fp16": _fp16, "int8": _int8}


def _finish(path: Path, graph: Graph) -> None:
    """Checks what was written as a whole, shapes too, and adds names and labels."""
    proto = onnx.load(str(path))
    _describe(proto, graph)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, str(path))


# === The graph ===


def _erfc(context: Any, node: Any, name: str, args: Any) -> None:
    """Erfc(x) = 1 - Erf(x): TensorFlow's exact GELU uses it, tf2onnx 1.17 does not know it (onnx/tensorflow-onnx#2463)."""
    node.type = "Erf"
    out = node.output[0]
    dtype = tf2onnx.utils.map_onnx_to_numpy_type(context.get_dtype(out))
    constant = context.make_const(tf2onnx.utils.make_name("one"), np.array(1, dtype))
    context.insert_new_node_on_output("Sub", out, name=tf2onnx.utils.make_name("erfc"), inputs=[constant.output[0], out])


@contextmanager
def _reshapes_kept() -> Iterator[None]:
    """Makes tf2onnx 1.17 merge two `Reshape` only where the second does not copy a side (0) of what the first one gives.

    It drops the first of any two; a 0 then copies another side, and SegFormer's attention fails at batches above 1. Not reported upstream when
    written.
    """
    key = ("Reshape",)
    merge = back_to_back_optimizer._func_map[key]

    def guarded(graph: Any, node: Any, consumers: Any) -> Any:
        sides = consumers[0].inputs[1] if len(consumers) == 1 and consumers[0].type == "Reshape" else None
        if sides is not None and not (sides.is_const() and (sides.get_tensor_value(as_list=False) != 0).all()):
            return []
        return merge(graph, node, consumers)

    back_to_back_optimizer._func_map[key] = guarded
    try:
        yield
    finally:
        back_to_back_optimizer._func_map[key] = merge


@contextmanager
def _in_place() -> Iterator[None]:
    """Makes tf2onnx 1.17 optimise a graph in place, as it does for large models, and leave the weights where they are.

    By default it copies the graph for each of about 30 steps, and after each writes every constant into a message again, which no file
    needs, and which keeps what was written before: 14 GB for the 220 MB of InceptionResNetV2. What a failed step leaves cannot be used: whoever
    calls this converts again without it. Any value of the variable switches the copies off (its name is compared with "TRUE"). Not
    reported upstream when written.
    """
    update, before = Node.update_proto, os.environ.get(constants.ENV_TF2ONNX_CATCH_ERRORS)

    def updated(node: Any, storage: Any = None) -> None:
        if not node.is_const():  # constants become initialisers, which are made of the node's own attributes
            update(node, storage)

    Node.update_proto = updated
    os.environ[constants.ENV_TF2ONNX_CATCH_ERRORS] = "FALSE"
    try:
        yield
    finally:
        Node.update_proto = update
        del os.environ[constants.ENV_TF2ONNX_CATCH_ERRORS]
        if before is not None:
            os.environ[constants.ENV_TF2ONNX_CATCH_ERRORS] = before


def _name_axes(proto: onnx.ModelProto, graph: Graph) -> None:
    """Calls the first free axis `batch` and further ones after their place, instead of a number of this process."""
    for value in [*proto.graph.input, *proto.graph.output]:
        for index, axis in enumerate(value.type.tensor_type.shape.dim):
            if not axis.HasField("dim_value"):
                axis.dim_param = "batch" if index == 0 else f"axis_{index}"


def _round_up_scales(proto: onnx.ModelProto) -> None:
    """Makes `Resize` give the size that was asked for: 37 x float32(24/37) is below 24, and would give 23 columns.

    ONNX takes the floor of that product: onnx/onnx#4919. Two units in the last place move a sample by less than 1e-4 of a pixel; axes that
    keep their size keep exactly 1.
    """
    used = {node.input[2] for node in _nodes(proto.graph) if node.op_type == "Resize" and len(node.input) > 2}
    for constant in proto.graph.initializer:
        if constant.name in used:
            scales = onnx.numpy_helper.to_array(constant)
            raised = np.where(scales == 1, scales, scales * np.float32(1 + 2**-22))
            constant.CopyFrom(onnx.numpy_helper.from_array(raised.astype("float32"), constant.name))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yields all nodes, those inside of loops and branches too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)


def _check(proto: onnx.ModelProto, inputs: list[str]) -> None:
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    for node in _nodes(proto.graph):
        if not onnx.defs.has(node.op_type, opsets.get(node.domain, 1), node.domain):
            raise UnsupportedOps(
                f"ONNX has no operation {node.op_type!r} (in layer {node.name!r}); replace that layer, or export SavedModel or TFLite"
            )
    got = [value.name for value in proto.graph.input]
    if got != inputs:
        raise UnsupportedOps(f"the ONNX graph expects the inputs {got}; the model has {inputs}; please report this")
    onnx.checker.check_model(proto, full_check=True)


def _describe(proto: onnx.ModelProto, graph: Graph) -> None:
    proto.producer_name, proto.producer_version = "tlkeras", __version__
    texts = {**graph.spec.metadata, "tlkeras": __version__}
    if graph.spec.labels is not None:
        texts["labels"] = json.dumps(graph.spec.labels, ensure_ascii=False)
    onnx.helper.set_model_props(proto, texts)
