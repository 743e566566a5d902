"""What an artifact may do: compute. Operations that touch files, devices or Python are found before it is loaded."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tlkeras.errors import ConfigError, ExportError, printable, reason
from tlkeras.export.names import decoded, node_of
from tlkeras.export.saved_model_paths import READERS, Node, check_folder, check_links, foreign_assets, foreign_reads
from tlkeras.files import open_regular, read_regular

LARGEST_GRAPH = 2 * 1024**3  # bytes of saved_model.pb: protobuf writes no more
# Operations that write, read or delete files, call Python or a compiled program, end the process, or reach other machines.
# tests/export/test_safety.py compares them with all operations of the installed TensorFlow.
UNSAFE = re.compile(
    r"(Experimental)?("
    # Files, and the file systems themselves; protocol buffers are described in a file.
    r"WriteFile|ReadFile|MatchingFiles(Dataset)?|FileSystemSetConfiguration|ImmutableConst|(De|En)codeProto(V2)?|PrintV2"
    # Checkpoints and vocabularies.
    r"|Save(V2|Slices)?|DistributedSave|MergeV2Checkpoints|\w+Restore(V2|Variable)|LoadAndRemapMatrix|GenerateVocabRemapping"
    r"|FixedUnigramCandidateSampler|Skipgram|CalibrationStatisticsSaver"
    # Data sets. One from a graph brings operations that are seen nowhere else.
    r"|(Save|Load|Cache)Dataset(V2)?|(List)?Snapshot\w+|\w*RecordDataset(V2)?|TextLineDataset(V2)?|(Sql|CSV)Dataset(V2)?|LMDB\w*|DatasetToTFRecord"
    r"|DatasetFromGraph|DeserializeIterator|\w*Reader(V2)?|RecordInput"
    # Summaries and debugging.
    r"|(Write|Create|Import|Flush|Close)\w*Summary\w*|SummaryWriter|ImportEvent|Debug(Identity|NanCount|NumericSummary)(V\d)?|DumpTensor|Copy(Host)?"
    # Other machines, other programs, and the end of this one.
    r"|DataServiceDataset\w*|RegisterDataset(V2)?|Rpc\w*|Remote\w+|(Eager)?PyFunc(Stateless)?|LoadLibrary|\w*TRT\w*|MlirPassthroughOp"
    r"|XlaCustomCall(V2)?|Abort|WorkerHeartbeat"
    r")|IO>.*"
)


def check_saved_model(path: str | Path) -> None:
    """Refuses a SavedModel that does more than compute, without loading it.

    Every operation counts that a signature, an initialiser or a method can reach; of those that only saving reaches, which
    every SavedModel has, none is ever run.

    Raises:
        ConfigError: when it has such operations, or files outside of its folder; the message lists them.
        ExportError: when it is not a SavedModel.
    """
    from google.protobuf.message import DecodeError

    proto = parse(path)
    check_links(Path(path))
    try:
        outside = sorted({name for meta in proto.meta_graphs for name in foreign_assets(meta)})
    except DecodeError as error:
        raise ExportError(f"cannot read the assets of {str(path)!r}: {reason(error)}") from error
    if outside:
        raise ConfigError(
            f"{str(path)!r} has assets outside of its folder ({', '.join(map(repr, outside[:3]))}); expected names of files in assets/; "
            "do not use it unless you know who wrote it"
        )
    operations = unsafe_operations(proto)
    if operations:
        raise ConfigError(
            f"{str(path)!r} reads or writes files or runs code ({', '.join(operations)}), which no model needs for its computation; "
            "pass --trust to `tlkeras export` if you know who wrote it"
        )


# Operations outside of these sets come from libraries that a program loads into ONNX Runtime: what they do, no file says.
ONNX_SETS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft", "com.microsoft.nchwc")
# Of ONNX Runtime's own set: they call Python, run what another tool has compiled, or read further files.
ONNX_UNSAFE = re.compile(r"Python\w*|ATen\w*|Triton\w*|EPContext|Snpe|ExternalFunction\w*")


def check_onnx(path: str | Path) -> None:
    """Refuses an ONNX file that does more than compute, or whose weights are in files outside of its folder, without running it.

    Raises:
        ConfigError: naming the operations, or the files.
        ExportError: when it is not an ONNX file.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import uses_external_data

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ExportError(f"cannot read {str(path)!r}: {error}") from error
    nodes, tensors = _onnx_parts(model)
    known = {*ONNX_SETS, *(function.domain for function in model.functions)}  # the bodies of functions are among the nodes
    names = {(decoded(node.domain), decoded(node.op_type)) for node in nodes}
    foreign = {f"{domain}.{name}" for domain, name in names if domain not in known or ONNX_UNSAFE.fullmatch(name)}
    if foreign:
        raise ConfigError(_beyond(path, foreign, "ONNX"))
    home = Path(path).resolve().parent
    entries = [entry for tensor in tensors if uses_external_data(tensor) for entry in tensor.external_data]
    stored = [decoded(entry.value) for entry in entries if entry.key == "location"]
    outside = sorted({name for name in stored if not _is_inside(home, name)})
    if outside:
        raise ConfigError(
            f"{str(path)!r} has weights in files outside of its folder ({', '.join(repr(name[:60]) for name in outside[:3])}); "
            "expected them beside the file; do not use it unless you know who wrote it"
        )


def _is_inside(home: Path, name: str) -> bool:
    try:
        return (home / name).resolve().is_relative_to(home)
    except (OSError, ValueError):  # a NUL, or too long for any file system
        return False


def _onnx_parts(model: Any) -> tuple[list[Any], list[Any]]:
    """Returns all nodes and tensors of an ONNX model: those of functions, of training and of graphs inside of nodes among them."""
    nodes, tensors = [], []
    pending = [model.graph, *model.functions]
    pending += [graph for info in model.training_info for graph in (info.initialization, info.algorithm)]
    while pending:
        graph = pending.pop()  # or a function, which has no initialisers
        tensors += [*getattr(graph, "initializer", ())]
        tensors += [part for sparse in getattr(graph, "sparse_initializer", ()) for part in (sparse.values, sparse.indices)]
        for attribute in [*getattr(graph, "attribute_proto", ()), *(one for node in graph.node for one in node.attribute)]:
            tensors += [attribute.t, *attribute.tensors]
            sparse = [attribute.sparse_tensor, *attribute.sparse_tensors]
            tensors += [part for one in sparse for part in (one.values, one.indices)]
            pending += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
        nodes += graph.node
    return nodes, tensors


# Custom operations that LiteRT 2 itself has, all of which compute.
TFLITE_CUSTOM = re.compile(
    r"AudioSpectrogram|Mfcc|NumericVerify|TFLite_Detection_PostProcess|Convolution2DTransposeBias|MaxPoolingWithArgmax2D|MaxUnpooling2D"
    r"|Random(Uniform|StandardNormal)|Multinomial|aeq\.\w+|odml\.\w+|stablehlo\.\w+"
)
FLEX = "Flex"  # how the names of TensorFlow's own operations begin in a TFLite file


def check_tflite(path: str | Path) -> None:
    """Refuses a TFLite file that does more than compute, without running it.

    Raises:
        ConfigError: naming the operations: custom ones that LiteRT does not have, and those of TensorFlow that touch files or call Python.
        ExportError: when it is not a TFLite file.
    """
    try:
        with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            custom = _custom_operations(content)
    # What comes of offsets that point outside of the file.
    except (OSError, struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise ExportError(f"cannot read {str(path)!r}: {reason(error)}") from error
    beyond = {
        name for name in custom if (_reads_files(name.removeprefix(FLEX)) if name.startswith(FLEX) else not TFLITE_CUSTOM.fullmatch(name))
    }
    if beyond:
        raise ConfigError(_beyond(path, beyond, "TFLite"))


MOST_CODES, LONGEST_CODES = 10_000, 1 << 20  # kinds of operations of a TFLite file, of which TFLite has 210; bytes of their names


def _custom_operations(content: Any) -> set[str]:
    """Returns the names of the operations of a TFLite file that are none of TFLite's own."""
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        raise ValueError("it is not a TFLite file")
    model = schema.Model.GetRootAs(content, 0)
    count = model.OperatorCodesLength()
    if not 0 <= count <= min(MOST_CODES, len(content)):
        raise ValueError(f"it states {count:,} kinds of operations; expected at most {MOST_CODES:,}")
    names, length = set(), 0
    for index in range(count):
        name = model.OperatorCodes(index).CustomCode()
        if name is not None:
            names.add(name)
            length += len(name)
        if length > LONGEST_CODES:  # all of them may be one long text
            raise ValueError(f"the names of its operations have more than {LONGEST_CODES:,} bytes")
    return {name.decode("utf-8", "replace") for name in names}


def _reads_files(name: str) -> bool:
    return bool(UNSAFE.fullmatch(name) or READERS.fullmatch(name))


def _beyond(path: str | Path, operations: Iterable[str], kind: str) -> str:
    names = sorted(printable(name)[:60] for name in operations)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (
        f"{str(path)!r} has operations that are no part of {kind} or do more than compute ({', '.join(names[:5])}{more}); no runtime here has them; "
        "do not run it elsewhere unless you know who wrote it"
    )


def parse(path: str | Path) -> Any:
    """Returns the protocol buffer of a SavedModel, of which nothing else was opened.

    Raises:
        ExportError: when there is none, it is damaged, or there is something besides files and folders.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    file = Path(path) / "saved_model.pb"
    if not file.is_file():
        raise ExportError(f"{str(path)!r} is not a SavedModel: it has no saved_model.pb")
    check_folder(Path(path))
    try:
        return saved_model_pb2.SavedModel.FromString(read_regular(file, LARGEST_GRAPH))
    except (DecodeError, OSError) as error:
        raise ExportError(f"cannot read {str(file)!r}: {error}") from error


def unsafe_operations(proto: Any) -> list[str]:
    """Returns the names of operations that do more than compute, of those that can be reached."""
    operations: set[str] = set()
    for meta in proto.meta_graphs:
        reached = list(_reached(meta))
        operations |= {node.op for _, node in reached if UNSAFE.fullmatch(node.op)} | foreign_reads(meta, reached)
    return sorted(operations)


def _reached(meta: Any) -> Iterator[Node]:
    """Yields the nodes that a signature, an initialiser or a method can run, with the function in which each of them stands."""
    library = {function.signature.name: function for function in meta.graph_def.library.function}
    nodes = {node.name: node for node in meta.graph_def.node}
    top = list(_upstream(nodes, _roots(meta)))
    yield from ((None, node) for node in top)
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
            yield name, node
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
    pending, seen = [node_of(name) for name in roots], set()
    while pending:
        name = pending.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        yield nodes[name]
        pending.extend(node_of(one) for one in nodes[name].input)


def _called(node: Any, library: dict[str, Any]) -> Iterator[str]:
    """Yields the functions that a node may call."""
    if node.op in library:
        yield node.op
    for value in node.attr.values():
        if value.func.name:
            yield value.func.name
        yield from (function.name for function in value.list.func)


# What is looked at before an artifact is opened, by its reader.
CHECKS = {"saved_model": check_saved_model, "onnx": check_onnx, "tflite": check_tflite}


def check(path: Path, reader: str) -> None:
    """Refuses an artifact that does more than compute, before its reader opens it; readers of the same files that come after it check nothing.

    Raises:
        ConfigError, ExportError: see the checks.
    """
    if reader in CHECKS:
        CHECKS[reader](path)
