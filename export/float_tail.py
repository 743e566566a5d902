"""The last step of models that answer in units of the data: a factor and an offset for each output, which quantised files compute in float.

One scale of 8 bits for an output tensor would be as coarse as its largest number: years around 2000 in steps of 8, and numbers of two
magnitudes not at all. float16 ends at 65504.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from flatbuffers import Builder
from onnx import numpy_helper

from tlkeras.export import metadata
from tlkeras.export.graph import Graph
from tlkeras.export.names import node_of


@dataclass(frozen=True, kw_only=True)
class Tail:
    """What follows a tensor: `tensor * scale + offset` is the output of the model.

    Args:
        tensor: name of the tensor in the frozen graph.
        scale, offset: float32, a number or one for each column.
    """

    tensor: str
    scale: np.ndarray
    offset: np.ndarray


def of(graph: Graph) -> Tail | None:
    """Returns the last step of a model with one output, or None where it ends in another way."""
    frozen = graph.frozen
    if len(frozen.outputs) != 1:
        return None
    nodes = {node.name: node for node in frozen.graph.as_graph_def().node}
    last = frozen.outputs[0].op.name
    while nodes[last].op == "Identity":
        last = node_of(nodes[last].input[0])
    offset = _with_constant(nodes, last, ("AddV2", "Add"))
    scale = _with_constant(nodes, node_of(offset[0]), ("Mul",)) if offset else None
    if offset is None or scale is None:
        return None
    return Tail(tensor=scale[0] if ":" in scale[0] else f"{scale[0]}:0", scale=scale[1], offset=offset[1])


def _with_constant(nodes: Mapping[str, Any], name: str, operations: tuple[str, ...]) -> tuple[str, np.ndarray] | None:
    """Returns the input of an operation, and the other one where that is a constant: a number or one for each column."""
    node = nodes[name]
    if node.op not in operations:
        return None
    for position, other in ((0, 1), (1, 0)):
        constant = nodes[node_of(node.input[position])]
        value = tf.make_ndarray(constant.attr["value"].tensor) if constant.op == "Const" else None
        if value is not None and value.ndim <= 1 and value.dtype == np.float32:
            return node.input[other], value
    return None


# === TFLite ===


def append(content: bytes, tail: Tail) -> bytes:
    """Returns a TFLite file that ends with the factor and the offset in float32."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (subgraph, *_), (signature, *_) = model.subgraphs, model.signatureDefs
    (before,) = subgraph.outputs
    name = subgraph.tensors[before].name
    subgraph.tensors[before].name = bytes(name) + b"/standardised" if isinstance(name, bytes) else f"{name}/standardised"
    steps = (("MUL", schema.MulOptionsT(), tail.scale), ("ADD", schema.AddOptionsT(), tail.offset))
    last = before
    for index, (operation, options, value) in enumerate(steps):
        constant = _constant(schema, model, subgraph, f"{operation.lower()}_constant", value)
        result = copy.deepcopy(subgraph.tensors[before])
        result.name, result.buffer, result.quantization = name if index else f"{operation.lower()}_result", 0, None
        subgraph.tensors.append(result)
        operator = schema.OperatorT()
        operator.opcodeIndex = _opcode(schema, model, getattr(schema.BuiltinOperator, operation))
        operator.inputs, operator.outputs = [last, constant], [len(subgraph.tensors) - 1]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{operation.capitalize()}Options")
        operator.builtinOptions = options
        subgraph.operators.append(operator)
        last = len(subgraph.tensors) - 1
    subgraph.outputs = [last]
    for output in signature.outputs:
        output.tensorIndex = last
    builder = Builder(len(content) + 4096)
    builder.Finish(metadata.packed(model, builder), b"TFL3")
    return bytes(builder.Output())


def _constant(schema: Any, model: Any, subgraph: Any, name: str, value: np.ndarray) -> int:
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = list(value.astype("<f4").tobytes())
    model.buffers.append(buffer)
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(value.shape), schema.TensorType.FLOAT32, len(model.buffers) - 1
    tensor.hasRank = True
    subgraph.tensors.append(tensor)
    return len(subgraph.tensors) - 1


def _opcode(schema: Any, model: Any, builtin: int) -> int:
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == 1:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


# === ONNX ===


def onnx_nodes(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Returns the nodes of an ONNX model that are its last step, from last to first; empty where it ends in another way."""
    if len(proto.graph.output) != 1:
        return []
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    producers = {output: node for node in proto.graph.node for output in node.output}
    tensor, nodes = proto.graph.output[0].name, []
    for operation in ("Add", "Mul"):
        node = producers.get(tensor)
        while node is not None and node.op_type == "Identity":
            nodes.append(node)
            node = producers.get(node.input[0])
        small = [name for name in node.input if name in constants and constants[name].ndim <= 1] if node is not None else []
        if node is None or node.op_type != operation or len(small) != 1:
            return []
        nodes.append(node)
        (tensor,) = (name for name in node.input if name not in small)
    return nodes


def cut_onnx(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Returns an ONNX model without its last step; the same where it ends in another way."""
    nodes = onnx_nodes(proto)
    if not nodes:
        return proto
    shorter = onnx.ModelProto()
    shorter.CopyFrom(proto)
    constants = {tensor.name for tensor in proto.graph.initializer}
    for node in nodes:
        shorter.graph.node.remove(node)
    used = {name for node in shorter.graph.node for name in node.input}
    for tensor in [one for one in shorter.graph.initializer if one.name not in used]:
        shorter.graph.initializer.remove(tensor)
    (shorter.graph.output[0].name,) = (name for name in nodes[-1].input if name not in constants)
    return shorter


def put_back_onnx(shorter: onnx.ModelProto, proto: onnx.ModelProto) -> None:
    """Adds the last step of a model to what was made of `cut_onnx`, in place."""
    nodes = onnx_nodes(proto)
    if not nodes:
        return
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in reversed(nodes):
        step = shorter.graph.node.add()
        step.CopyFrom(node)
        for position, name in enumerate(node.input):
            if name in constants:  # under a name of its own: another node may use a converted copy
                step.input[position] = f"{name}/float"
                tensor = shorter.graph.initializer.add()
                tensor.CopyFrom(constants[name])
                tensor.name = step.input[position]
    shorter.graph.output[0].CopyFrom(proto.graph.output[0])
