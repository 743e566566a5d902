"""ONNX by tf2onnx, from the frozen graph: the one route that covers every family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tf2onnx

from tlkeras import __version__
from tlkeras.errors import UnsupportedOps
from tlkeras.export.graph import Graph
from tlkeras.export.options import OnnxOptions


def write(graph: Graph, path: Path, options: OnnxOptions) -> None:
    """Writes a checked ONNX file with the axis name `batch`, clean names, and labels in its metadata.

    Raises:
        UnsupportedOps: when an operation is in no opset, or the file would ask for other inputs than the model.
    """
    function = graph.frozen
    outputs = {tensor.name: name for name, tensor in zip(sorted(graph.output_names), function.outputs, strict=True)}
    inputs = {tensor.name: spec.name for tensor, spec in zip(function.inputs, graph.inputs, strict=True)}
    proto, _ = tf2onnx.convert.from_graph_def(
        function.graph.as_graph_def(),
        input_names=list(inputs),
        output_names=list(outputs),
        opset=options.opset,
        custom_op_handlers={"Erfc": (_erfc, [])},
        tensors_to_rename={**inputs, **outputs},
        large_model=False,
    )
    _name_axes(proto, graph)
    _check(proto, [one.name for one in graph.inputs])
    _describe(proto, graph)
    onnx.save(proto, str(path))


def _erfc(context: Any, node: Any, name: str, args: Any) -> None:
    """Erfc(x) = 1 - Erf(x): TensorFlow's exact GELU uses it, tf2onnx 1.17 does not know it."""
    node.type = "Erf"
    out = node.output[0]
    dtype = tf2onnx.utils.map_onnx_to_numpy_type(context.get_dtype(out))
    one = context.make_const(tf2onnx.utils.make_name("one"), np.array(1, dtype))
    context.insert_new_node_on_output("Sub", out, name=tf2onnx.utils.make_name("erfc"), inputs=[one.output[0], out])


def _name_axes(proto: onnx.ModelProto, graph: Graph) -> None:
    """Calls the first free axis `batch` and further ones after their place, instead of a number of this process."""
    for value in [*proto.graph.input, *proto.graph.output]:
        for place, axis in enumerate(value.type.tensor_type.shape.dim):
            if not axis.HasField("dim_value"):
                axis.dim_param = "batch" if place == 0 else f"axis_{place}"


def _check(proto: onnx.ModelProto, inputs: list[str]) -> None:
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    for node in proto.graph.node:
        if not onnx.defs.has(node.op_type, opsets.get(node.domain, 1), node.domain):
            raise UnsupportedOps(
                f"ONNX has no operation {node.op_type!r} (in layer {node.name!r}); replace that layer, or export SavedModel or TFLite"
            )
    got = [value.name for value in proto.graph.input]
    if got != inputs:
        raise UnsupportedOps(f"the ONNX graph asks for the inputs {got}; the model has {inputs}; please report this")
    onnx.checker.check_model(proto)


def _describe(proto: onnx.ModelProto, graph: Graph) -> None:
    proto.producer_name, proto.producer_version = "tlkeras", __version__
    texts = dict(graph.spec.metadata)
    if graph.spec.labels is not None:
        texts["labels"] = json.dumps(graph.spec.labels, ensure_ascii=False)
    onnx.helper.set_model_props(proto, texts)
