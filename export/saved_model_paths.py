"""Which files a SavedModel opens: those of its own folder, or others."""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tlkeras.errors import ConfigError, ExportError, printable, shown
from tlkeras.export.names import node_of

# Operations that every SavedModel with variables or with tables of files needs; what decides is where their path comes from.
READERS = re.compile(r"Restore(V2|Slice)?|InitializeTableFromTextFile(V2)?")
CALLS = ("PartitionedCall", "StatefulPartitionedCall")
PASSED_ON = ("Identity", "ReadVariableOp")  # operations that hand a path on
MOST_FILES = 100_000  # of a SavedModel, which has some ten

Node = tuple[str | None, Any]  # the function in which a node stands, None for the graph; the node


def check_folder(path: Path) -> None:
    """Refuses a folder with anything but files and folders: TensorFlow waits for ever for a pipe, and copies a device until the disk is full.

    Raises:
        ExportError: naming it.
    """
    for count, (file, kind) in enumerate(_entries(path)):
        if count > MOST_FILES:
            raise ExportError(f"{str(path)!r} has more than {MOST_FILES:,} files; a SavedModel has saved_model.pb, variables and assets")
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) and not file.is_symlink()):
            raise ExportError(
                f"{shown(str(file), 200)} is neither a file nor a folder, or is a link to a folder; a SavedModel has no such things"
            )


def check_links(path: Path) -> None:
    """Refuses a folder with links that lead out of it: what they lead to would become part of a model.

    Raises:
        ConfigError: naming the first of them.
    """
    home = path.resolve()
    for file, _ in _entries(path):
        if file.is_symlink() and not file.resolve().is_relative_to(home):
            raise ConfigError(
                f"{shown(str(file), 200)} is a link out of its SavedModel; copy the model with `cp -rL` if its links are meant, or pass --trust to "
                "`tlkeras export`"
            )


def _entries(path: Path) -> Iterator[tuple[Path, int]]:
    """Yields what is in a folder and below, and of what kind it is; links count as what they lead to."""
    try:
        for parent, folders, names in os.walk(path, onerror=_raise):
            for name in sorted([*folders, *names]):
                file = Path(parent) / name
                yield file, file.stat().st_mode
    except OSError as error:  # a link to nowhere, or to itself
        raise ExportError(f"cannot read {shown(str(error.filename or path), 200)}: {error.strerror or error}") from error


def _raise(error: OSError) -> None:
    raise error


def foreign_assets(meta: Any) -> list[str]:
    """Returns the names of assets that are not inside `assets/`."""
    names = [asset.filename for asset in _assets(meta)]
    return sorted({printable(name)[:60] for name in names if not _is_inside(name)})


def _is_inside(name: str) -> bool:
    return not re.search(r"[\\:\0]", name) and not any(part in ("", ".", "..") for part in name.split("/"))


def _assets(meta: Any) -> Iterator[Any]:
    from tensorflow.core.protobuf import meta_graph_pb2

    yield from meta.asset_file_def
    for value in meta.collection_def["saved_model_assets"].any_list.value if "saved_model_assets" in meta.collection_def else ():
        yield meta_graph_pb2.AssetFileDef.FromString(value.value)


def foreign_reads(meta: Any, reached: Iterable[Node]) -> set[str]:
    """Returns the operations that read a checkpoint or a text file which is neither the model's variables nor one of its assets.

    Args:
        meta: the graph.
        reached: its nodes that can run.
    """
    nodes = [(where, node) for where, node in reached if READERS.fullmatch(node.op)]
    if not nodes:
        return set()
    origins = _Origins(meta)
    paths = [(node, where, list(node.input)[node.op.startswith("Initialize") :]) for where, node in nodes]  # a table stands before its file
    return {node.op for node, where, inputs in paths if not inputs or not origins.are_own(where, inputs[0])}


class _Origins:
    """Where the value of a tensor comes from, through the functions of a graph."""

    def __init__(self, meta: Any):
        functions = {function.signature.name: function for function in meta.graph_def.library.function}
        self._nodes: dict[str | None, dict[str, Any]] = {None: {node.name: node for node in meta.graph_def.node}}
        self._nodes |= {name: {node.name: node for node in function.node_def} for name, function in functions.items()}
        self._arguments = {
            name: {argument.name: index for index, argument in enumerate(function.signature.input_arg)}
            for name, function in functions.items()
        }
        self._callers: dict[str, list[Node]] = defaultdict(list)
        for where, inner in self._nodes.items():
            for node in inner.values():
                for name in {node.op, *(value.func.name for value in node.attr.values())} & functions.keys():
                    self._callers[name].append((where, node))
        self._objects = meta.object_graph_def
        own = {node_of(asset.tensor_info.name) for asset in _assets(meta)} | {node_of(meta.saver_def.filename_tensor_name)}
        self._own = own - {""}  # what is fed with a path inside of the folder when the model is loaded

    def are_own(self, where: str | None, tensor: str) -> bool:
        """Whether a tensor can only be a path that the loader made."""
        pending, seen = [(where, node_of(tensor))], set()
        while pending:
            where, name = pending.pop()
            if (where, name) in seen:
                continue
            seen.add((where, name))
            sources = self._sources(where, name)
            if sources is None:
                return False
            pending += sources
        return True

    def _sources(self, where: str | None, name: str) -> list[tuple[str | None, str]] | None:
        """Returns the tensors that a tensor is a copy of, none where the loader makes it; None where it is anything else."""
        if where is None and name in self._own:
            return []
        if where is not None and name in self._arguments[where]:
            return self._passed(where, self._arguments[where][name])
        node = self._nodes[where].get(name)
        if node is not None and node.op in PASSED_ON and node.input:
            return [(where, node_of(node.input[0]))]
        # The variable of an asset, which only loaders of C++ have.
        return [] if where is None and node is not None and node.op == "VarHandleOp" else None

    def _passed(self, function: str, index: int) -> list[tuple[str | None, str]] | None:
        """Returns what the callers of a function pass as an argument."""
        sources = []
        for where, call in self._callers[function]:
            if call.op not in (function, *CALLS) or index >= len(call.input):
                return None
            sources.append((where, node_of(call.input[index])))
        if function in self._objects.concrete_functions:
            bound = self._objects.concrete_functions[function].bound_inputs
            number = index - (len(self._arguments[function]) - len(bound))
            if number >= 0 and not self._is_asset(bound[number]):
                return None
        return sources

    def _is_asset(self, number: int) -> bool:
        return 0 <= number < len(self._objects.nodes) and self._objects.nodes[number].WhichOneof("kind") == "asset"
