"""What a SavedModel may do: compute. Operations that touch files, devices or Python are found before it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tlkeras.errors import ConfigError, ExportError

# Operations that write, read or delete files, call Python, or reach other machines. TensorFlow names its writers so.
UNSAFE = re.compile(
    r"WriteFile|ReadFile|MatchingFiles|Save(V2|Slices|Dataset(V2)?)?|MergeV2Checkpoints|PrintV2|(Eager)?PyFunc(Stateless)?"
    r"|(Write|Create|Import|Flush|Close)\w*Summary\w*|SummaryWriter|WriteGraphSummary|(Experimental)?DatasetToTFRecord|SnapshotDataset(V2)?"
    r"|CacheDataset(V2)?|(Fixed)?\w*ReaderV?2?|\w*RecordDataset(V2)?|TextLineDataset(V2)?|(Experimental)?LoadDataset|SqlDataset|ImmutableConst"
    r"|CSVDataset(V2)?|DataServiceDataset\w*|RegisterDataset(V2)?|Rpc\w*|Debug(Identity|NumericSummary)(V\d)?|DumpTensor|LoadLibrary|LMDB\w*|IO>.*"
)


def check_saved_model(path: str | Path) -> None:
    """Refuses a SavedModel that does more than compute, without loading it.

    Every operation counts that a signature, an initialiser or a method can reach; of those that only saving reaches, which
    every SavedModel has, none is ever run.

    Raises:
        ConfigError: when it has such operations; the message lists them.
        ExportError: when it is not a SavedModel.
    """
    operations = unsafe_operations(parse(path))
    if operations:
        raise ConfigError(
            f"{str(path)!r} reads or writes files or runs code ({', '.join(operations)}), which no model needs for its computation; "
            "pass --trust to `tlkeras export` if you know who wrote it"
        )


def check_onnx(path: str | Path) -> None:
    """Refuses an ONNX file whose weights are in files outside of its folder, without running it.

    Raises:
        ConfigError: naming the files.
        ExportError: when it is not an ONNX file.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ExportError(f"cannot read {str(path)!r}: {error}") from error
    home = Path(path).resolve().parent
    stored = [
        entry.value
        for tensor in _get_all_tensors(model)
        if uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    ]
    outside = sorted({name for name in stored if not (home / name).resolve().is_relative_to(home)})
    if outside:
        raise ConfigError(
            f"{str(path)!r} has weights in files outside of its folder ({', '.join(map(repr, outside[:3]))}); expected them beside the file; "
            "do not use it unless you know who wrote it"
        )


def parse(path: str | Path) -> Any:
    """Returns the protocol buffer of a SavedModel.

    Raises:
        ExportError: when there is none, or it is damaged.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    file = Path(path) / "saved_model.pb"
    if not file.is_file():
        raise ExportError(f"{str(path)!r} is not a SavedModel: it has no saved_model.pb")
    try:
        return saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except (DecodeError, OSError) as error:
        raise ExportError(f"cannot read {str(file)!r}: {error}") from error


def unsafe_operations(proto: Any) -> list[str]:
    """Returns the names of operations that do more than compute, of those that can be reached."""
    return sorted({node.op for meta in proto.meta_graphs for node in _reached(meta) if UNSAFE.fullmatch(node.op)})


def _reached(meta: Any) -> Iterator[Any]:
    """Yields the nodes that a signature, an initialiser or a method can run."""
    library = {function.signature.name: function for function in meta.graph_def.library.function}
    nodes = {node.name: node for node in meta.graph_def.node}
    top = list(_upstream(nodes, _roots(meta)))
    yield from top
    # Loading runs methods of the objects, whatever no signature reaches: all of them count.
    names = set(meta.object_graph_def.concrete_functions)
    pending = [*names, *(name for node in top for name in _called(node, library))]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen or name not in library:
            continue
        seen.add(name)
        for node in library[name].node_def:
            yield node
            pending.extend(_called(node, library))


def _roots(meta: Any) -> list[str]:
    """Returns the names of the tensors and operations that are fetched: outputs of signatures, initialisers, restoring."""
    roots = [
        tensor.name
        for signature in meta.signature_def.values()
        for tensor in (*signature.outputs.values(), *signature.inputs.values())
        if tensor.name
    ]
    roots += [info.name for signature in meta.signature_def.values() for info in _composite(signature)]
    for key, collection in meta.collection_def.items():
        if "init" in key or "main_op" in key:
            roots += [*collection.node_list.value, *(value.decode("utf-8", "replace") for value in collection.bytes_list.value)]
    if meta.saver_def.restore_op_name:
        roots.append(meta.saver_def.restore_op_name)
    return roots


def _composite(signature: Any) -> Iterator[Any]:
    for tensor in (*signature.outputs.values(), *signature.inputs.values()):
        yield from tensor.composite_tensor.components
        if tensor.HasField("coo_sparse"):
            for name in ("values_tensor_name", "indices_tensor_name", "dense_shape_tensor_name"):
                yield _Named(getattr(tensor.coo_sparse, name))


class _Named:
    def __init__(self, name: str):
        self.name = name


def _upstream(nodes: dict[str, Any], roots: Iterable[str]) -> Iterator[Any]:
    """Yields the nodes that the roots need, control inputs among them."""
    pending, seen = [_plain(name) for name in roots], set()
    while pending:
        name = pending.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        yield nodes[name]
        pending.extend(_plain(one) for one in nodes[name].input)


def _plain(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]


def _called(node: Any, library: dict[str, Any]) -> Iterator[str]:
    """Yields the functions that a node may call."""
    if node.op in library:
        yield node.op
    for value in node.attr.values():
        if value.func.name:
            yield value.func.name
        yield from (function.name for function in value.list.func)


# What is looked at before an artifact is opened, by its reader.
CHECKS = {"saved_model": check_saved_model, "onnx": check_onnx}
