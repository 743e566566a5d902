"""Rewrites operations of a traced model that TFLite lacks for some type as operations that it has.

`tests/test_patches.py` reports which of them the converter no longer needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tlkeras.export.graph import Graph
from tlkeras.export.names import node_of

# TFLite has both, but not for int64; DeBERTa's relative positions use them. Not reported upstream for int64 when written (TensorFlow 2.21).
NO_INT64 = ("Abs", "Sign")


def for_tflite(graph: Graph, *, integers: bool = False, until: str | None = None) -> Any:
    """Returns the function to convert: the traced one, or one that computes the same in other operations.

    int64 `Abs` and `Sign` go through float32, exact up to 2**24, far above any position in a text. `Roll`, by which Swin shifts its
    windows, becomes slices that are put together the other way round. A slice that only adds axes becomes `ExpandDims`, where TFLite
    lacks it: the masks of T5 and Gemma. For integer arithmetic,
    `Neg`, which has no 8-bit kernel and stands in every layer normalisation, becomes a multiplication by -1.
    If the spec has the vocabulary of a BERT tokeniser, the function accepts the outputs of `bert_feeds`.
    With the name of a tensor as `until`, that one is its output.
    """
    repaired = _repaired(graph, integers, until)
    return repaired if graph.spec.vocabulary is None else _as_bert(graph, repaired)


BERT = ("ids", "mask", "segment_ids")


def bert_feeds(token_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Returns token ids (n, tokens), filled up with 0, as BERT's three inputs."""
    return dict(zip(BERT, (token_ids, (token_ids != 0).astype("int32"), np.zeros_like(token_ids)), strict=True))


def _as_bert(graph: Graph, function: Any) -> Any:
    """Wraps a function of token ids: the model sees no position whose mask is 0; it knows one segment only."""
    (token_ids,) = graph.inputs

    def bert(ids: tf.Tensor, mask: tf.Tensor, segment_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: tf.identity(value, name=name) for name, value in function(ids * mask).items()}

    signature = [tf.TensorSpec(token_ids.shape, token_ids.dtype, name=name) for name in BERT]
    return tf.function(bert, input_signature=signature, autograph=False).get_concrete_function()


def _repaired(graph: Graph, integers: bool, until: str | None) -> Any:
    frozen = graph.frozen  # also refuses random operations
    proto = frozen.graph.as_graph_def()
    wide = [node for node in proto.node if node.op in NO_INT64 and node.attr["T"].type == tf.int64.as_datatype_enum]
    negated = _negated(proto) if integers else []
    rolled = [node for node in proto.node if node.op == "Roll"]
    added = _added_axes(proto)
    if not wide and not negated and not rolled and not added and until is None:
        return graph.constant
    constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in proto.node if node.op == "Const"}
    for node in rolled:
        _as_slices(proto, node, frozen.graph.get_tensor_by_name(f"{node.name}:0").shape, constants)
    for node, axes in added:
        _expand(proto, node, axes)
    for node in wide:
        _through_float32(proto, node)
    for node in negated:
        _times_minus_one(proto, node)
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(proto, name=""), [])
    inputs = [wrapped.graph.get_tensor_by_name(tensor.name) for tensor in frozen.inputs]
    outputs = [wrapped.graph.get_tensor_by_name(until or tensor.name) for tensor in frozen.outputs]
    pruned = wrapped.prune(inputs, outputs)
    return graph.named(pruned)


def _negated(proto: tf.compat.v1.GraphDef) -> list[Any]:
    """Returns the float `Neg` nodes, but for those of GELU: TFLite knows that one by its pattern, `Neg` included.

    TFLite has no `Neg` in 8 bits: tensorflow/tensorflow#39014.
    """
    inputs = {node.name: [node_of(name) for name in node.input] for node in proto.node}
    gelu = [node.name for node in proto.node if node.op == "Erfc"]
    near = {name for one in gelu for direct in inputs[one] for name in (direct, *inputs[direct])}
    return [
        node for node in proto.node if node.op == "Neg" and node.name not in near and node.attr["T"].type == tf.float32.as_datatype_enum
    ]


def _added_axes(proto: tf.compat.v1.GraphDef) -> list[tuple[Any, list[int]]]:
    """Returns the slices that take everything and add axes, where TFLite lacks them, with the places of these axes.

    The converter refuses them for integers and truth values: tensorflow/tensorflow#63025.
    """
    constants = {node.name: node for node in proto.node if node.op == "Const"}
    slices = []
    for node in proto.node:
        strides = constants.get(node_of(node.input[3])) if node.op == "StridedSlice" else None
        if strides is None or tf.as_dtype(node.attr["T"].type).is_floating:
            continue
        axes = _axes(node, len(tf.make_ndarray(strides.attr["value"].tensor)))
        if axes:
            slices.append((node, axes))
    return slices


def _axes(node: Any, parts: int) -> list[int]:
    """Returns where a slice of `parts` parts adds axes, if that is all it does; `[..., None]` adds at the end."""
    masks = {name: node.attr[name].i for name in ("begin_mask", "end_mask", "new_axis_mask", "ellipsis_mask", "shrink_axis_mask")}
    new = [place for place in range(parts) if masks["new_axis_mask"] >> place & 1]
    if masks["ellipsis_mask"]:
        return [-1] * len(new) if masks["ellipsis_mask"] == 1 and len(new) == parts - 1 else []
    whole = [place for place in range(parts) if masks["begin_mask"] & masks["end_mask"] >> place & 1 and place not in new]
    return new if not masks["shrink_axis_mask"] and len(new) + len(whole) == parts else []


def _expand(proto: tf.compat.v1.GraphDef, node: Any, axes: list[int]) -> None:
    """Turns a slice into as many `ExpandDims` as it adds axes; the last has its name."""
    kind, name, input_name = node.attr["T"].type, node.name, node.input[0]
    for key in list(node.attr):
        del node.attr[key]
    for index, axis in enumerate(axes):
        constant = proto.node.add(op="Const", name=f"{name}/axis{index}")
        constant.attr["dtype"].type = tf.int32.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(axis, tf.int32))
        last = index == len(axes) - 1
        expand_dims = node if last else proto.node.add(name=f"{name}/expanded{index}")
        expand_dims.op = "ExpandDims"
        del expand_dims.input[:]
        expand_dims.input.extend([input_name, constant.name])
        expand_dims.attr["T"].type, expand_dims.attr["Tdim"].type = kind, tf.int32.as_datatype_enum
        input_name = expand_dims.name


def _through_float32(proto: tf.compat.v1.GraphDef, node: Any) -> None:
    name, input_name = node.name, node.input[0]
    node.name, node.input[0] = f"{name}/float", f"{name}/to_float"
    node.attr["T"].type = tf.float32.as_datatype_enum
    _add_cast(proto, f"{name}/to_float", input_name, tf.int64, tf.float32)
    _add_cast(proto, name, f"{name}/float", tf.float32, tf.int64)


def _add_cast(proto: tf.compat.v1.GraphDef, name: str, input_name: str, source: tf.DType, target: tf.DType) -> None:
    cast = proto.node.add(op="Cast", name=name)
    cast.input.append(input_name)
    cast.attr["SrcT"].type, cast.attr["DstT"].type = source.as_datatype_enum, target.as_datatype_enum


def _as_slices(proto: tf.compat.v1.GraphDef, node: Any, shape: tf.TensorShape, constants: dict[str, np.ndarray]) -> None:
    """Makes one axis after the other a concatenation of what is behind and what is before the place where it is cut.

    TFLite has no `Roll`: tensorflow/tensorflow#51459.
    """
    input_name, shifts, axes = node.input
    if shifts not in constants or axes not in constants:
        return  # by amounts that the graph computes: the converter will say that it has no Roll
    name, last = node.name, input_name
    pairs = list(zip(constants[shifts].ravel().tolist(), constants[axes].ravel().tolist(), strict=True))
    for index, (shift, axis) in enumerate(pairs):
        cut = -shift % shape[axis]
        begin, size = np.zeros(len(shape), "int32"), np.full(len(shape), -1, "int32")
        parts = []
        for part, where in (("behind", {"begin": begin.copy(), "size": size}), ("before", {"begin": begin, "size": size.copy()})):
            where["begin" if part == "behind" else "size"][axis] = cut
            slice_node = proto.node.add(op="Slice", name=f"{name}/{index}/{part}")
            slice_node.input.extend([last, *(_add_constant(proto, f"{slice_node.name}/{key}", value) for key, value in where.items())])
            slice_node.attr["T"].type, slice_node.attr["Index"].type = node.attr["T"].type, tf.int32.as_datatype_enum
            parts.append(slice_node.name)
        joined = proto.node.add(op="ConcatV2", name=name if index == len(pairs) - 1 else f"{name}/{index}")
        joined.input.extend([*parts, _add_constant(proto, f"{name}/{index}/axis", np.array(axis, "int32"))])
        joined.attr["T"].type, joined.attr["Tidx"].type, joined.attr["N"].i = node.attr["T"].type, tf.int32.as_datatype_enum, 2
        last = joined.name
    proto.node.remove(node)


def _add_constant(proto: tf.compat.v1.GraphDef, name: str, value: np.ndarray) -> str:
    constant = proto.node.add(op="Const", name=name)
    constant.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return name


def _times_minus_one(proto: tf.compat.v1.GraphDef, node: Any) -> None:
    node.op = "Mul"
    node.input.insert(1, _add_constant(proto, f"{node.name}/minus_one", np.array(-1, "float32")))
