"""Artifacts that are damaged, or that do more than compute: what is looked at before a runtime opens them."""

import functools
import os
import random

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.cases import EITHER, READ, REJECTED, Case, written
from tlkeras.export.safety import CHECKS

NAMES = {"onnx": "model.onnx", "tflite": "model.tflite", "saved_model": "saved_model.pb"}


def seen(change):
    """Returns what looks at the folder of a SavedModel that a function has changed, before anything opens it."""

    def look(folder):
        written(folder, NAMES["saved_model"], GOOD["saved_model"]())
        for name in ("variables", "assets"):
            (folder / name).mkdir()
        change(folder)
        CHECKS["saved_model"](folder)

    return look


def read(kind, make):
    """Returns what writes an artifact of a kind into a folder and looks at it as its reader does."""

    def look(folder):
        path = written(folder, NAMES[kind], make())
        CHECKS[kind](folder if kind == "saved_model" else path)

    return look


# === Built by code ===


def value(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, (None, 2))


@functools.cache
def onnx(domain="", operation="Relu", where="in the graph", location=None):
    """Returns an ONNX file from x to scores, with an operation in the graph, in a branch, or in a function of the file."""
    node = helper.make_node(operation, ["x"], ["scores"], domain=domain)
    nodes, functions, sets = [node], [], {"": 18, domain: 18 if domain == "" else 1, "mine": 1}
    if where == "in a branch":
        branch = helper.make_graph([node], "branch", [], [value("scores")])
        condition = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.BOOL, [], [True]))
        nodes = [condition, helper.make_node("If", ["c"], ["scores"], then_branch=branch, else_branch=branch)]
    elif where == "in a function":
        inner = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
        functions = [helper.make_function("mine", "F", ["x"], ["scores"], [node], inner)]
        nodes = [helper.make_node("F", ["x"], ["scores"], domain="mine")]
    tensor = numpy_helper.from_array(np.ones((2, 2), "float32"), "w")
    if location is not None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", location
    graph = helper.make_graph(nodes, "g", [value("x")], [value("scores")], [tensor])
    opsets = [helper.make_opsetid(name, version) for name, version in sets.items()]
    return helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=9).SerializeToString()


@functools.cache
def tflite(*custom):
    """Returns a TFLite file with custom operations, which no runtime resolves before it runs."""
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    model = schema.ModelT()
    model.version, model.operatorCodes = 3, []
    for name in custom:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = name
        model.operatorCodes.append(code)
    model.subgraphs, model.buffers = [schema.SubGraphT()], [schema.BufferT()]
    builder = Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@functools.cache
def repeated(name, count):
    """Returns a TFLite file of so many kinds of operations that are all the same bytes."""
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    builder = Builder(0)
    text = builder.CreateString(name)
    schema.OperatorCodeStart(builder)
    schema.OperatorCodeAddCustomCode(builder, text)
    code = schema.OperatorCodeEnd(builder)
    schema.ModelStartOperatorCodesVector(builder, count)
    for _ in range(count):
        builder.PrependUOffsetTRelative(code)
    codes = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddOperatorCodes(builder, codes)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


@functools.cache
def with_asset(name):
    """Returns the graph of a SavedModel with an asset of this name."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(saved_model("Relu"))
    model.meta_graphs[0].asset_file_def.add(filename=name)
    return model.SerializeToString()


@functools.cache
def saved_model(*operations):
    """Returns the graph of a SavedModel whose signature runs operations, one after the other, in a function."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta = model.meta_graphs.add()
    function = meta.graph_def.library.function.add()
    function.signature.name = "f"
    for index, operation in enumerate(operations):
        function.node_def.add(name=f"n{index}", op=operation)
    call = meta.graph_def.node.add(name="call", op="PartitionedCall")
    call.attr["f"].func.name = "f"
    meta.signature_def["serving_default"].outputs["scores"].name = "call:0"
    return model.SerializeToString()


GOOD = {"onnx": onnx, "tflite": functools.partial(tflite, "Mfcc"), "saved_model": functools.partial(saved_model, "Relu")}

# === Operations ===

ONNX = {
    "Python of the training runtime": ("com.microsoft", "PythonOp"),
    "what another tool compiled": ("com.microsoft", "EPContext"),
    "onnxruntime-extensions": ("ai.onnx.contrib", "PyOp"),
    "the network": ("com.microsoft.extensions", "AzureTextToText"),
    "a library of somebody": ("evil", "System\x1b[31m"),
}
PLACES = ("in the graph", "in a branch", "in a function")
TFLITE = ("FlexWriteFile", "FlexReadFile", "FlexPyFunc", "FlexPrintV2", "FlexSaveV2", "DISPATCH_OP", "Evil\x1b[31m\n", "", "x" * 10_000)
HARMLESS = ("FlexErf", "FlexComplexAbs", "TFLite_Detection_PostProcess", "Mfcc")
SAVED_MODEL = (
    *("WriteFile", "ReadFile", "PyFunc", "EagerPyFunc", "SaveV2", "MatchingFiles", "TextLineDataset", "LMDBReader", "RpcServer"),
    *("DebugNanCount", "DistributedSave", "RecordInput", "ExperimentalMatchingFilesDataset", "ExperimentalSqlDataset", "Skipgram"),
    *("ExperimentalCSVDataset", "GenerateVocabRemapping", "LoadAndRemapMatrix", "FixedUnigramCandidateSampler", "DecodeProtoV2"),
    *("ListSnapshotChunksDataset", "SnapshotChunkDataset", "DatasetFromGraph", "FileSystemSetConfiguration", "Abort"),
    *("RestoreV2", "InitializeTableFromTextFileV2"),
)
ASSETS = ("../secret", "/etc/passwd", "a/../../secret", "..", "", "a\\b", "a\x1b[31m/../..")
FOLDERS = {
    "a pipe among the variables": lambda folder: os.mkfifo(folder / "variables" / "variables.index"),
    "a pipe among the assets": lambda folder: os.mkfifo(folder / "assets" / "a"),
    "a link to /dev/zero": lambda folder: (folder / "assets" / "a").symlink_to("/dev/zero"),
    "a link to the folder itself": lambda folder: (folder / "assets" / "a").symlink_to(".."),
    "a link to nowhere": lambda folder: (folder / "assets" / "a").symlink_to("/nowhere"),
    "a link to itself": lambda folder: (folder / "assets" / "a").symlink_to("a"),
    "a link out of the folder": lambda folder: (folder / "assets" / "a").symlink_to("/etc/passwd"),
}
LOCATIONS = {
    "above": "../secret",
    "absolute": "/etc/passwd",
    "a detour": "a/../../secret",
    "NUL": "a\0b",
    "endless": "a/" * 5000,
    "ESC": "../\x1b[31m",
}


# Texts in an ONNX file that are not UTF-8, of which protocol buffers make bytes.
NOT_TEXT = {
    "operation": (functools.partial(onnx, "evil", "Operation"), b"Operation"),
    "domain": (functools.partial(onnx, "somebody"), b"somebody"),
    "weights elsewhere": (functools.partial(onnx, location="../secret"), b"secret"),
}


def _not_text(name):
    make, text = NOT_TEXT[name]
    return make().replace(text, text[:-2] + b"\xff\xfe")


def _flipped(kind, seed):
    content, chance = bytearray(GOOD[kind]()), random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content)


def _cut(kind, percent):
    content = GOOD[kind]()
    return content[: len(content) * percent // 100]


def cases():
    for name, (domain, operation) in ONNX.items():
        for where in PLACES:
            yield Case("ONNX", f"{name} {where}", read("onnx", functools.partial(onnx, domain, operation, where)), REJECTED)
    for name, location in LOCATIONS.items():
        expect = EITHER if name == "endless" else REJECTED  # a name that is too long for any file leads nowhere
        yield Case("ONNX", f"weights elsewhere: {name}", read("onnx", functools.partial(onnx, location=location)), expect)
    for name in NOT_TEXT:
        yield Case("ONNX", f"{name} that is not UTF-8", read("onnx", functools.partial(_not_text, name)), REJECTED)
    for name in TFLITE:
        yield Case("TFLite", ascii(name[:20]), read("tflite", functools.partial(tflite, name)), REJECTED)
    yield Case("TFLite", "1,000 operations of others", read("tflite", lambda: tflite(*(f"Evil{index}" for index in range(1000)))), REJECTED)
    for name in HARMLESS:
        yield Case("TFLite", f"{name} computes", read("tflite", functools.partial(tflite, name)), READ)
    for name in SAVED_MODEL:
        yield Case("SavedModel", name, read("saved_model", functools.partial(saved_model, "Relu", name)), REJECTED)
    for name in ASSETS:
        yield Case("SavedModel", f"asset {ascii(name)}", read("saved_model", functools.partial(with_asset, name)), REJECTED)
    yield from (Case("SavedModel", name, seen(change), REJECTED) for name, change in FOLDERS.items())
    yield Case("TFLite", "a million kinds of operations", read("tflite", functools.partial(repeated, b"Mfcc", 10**6)), REJECTED)
    yield Case("TFLite", "10,000 kinds of a name of 1 MB", read("tflite", functools.partial(repeated, b"M" * 10**6, 10_000)), REJECTED)
    yield Case("TFLite", "10,000 kinds of operations", read("tflite", functools.partial(repeated, b"Mfcc", 10_000)), READ)
    for kind, category in (("onnx", "ONNX"), ("tflite", "TFLite"), ("saved_model", "SavedModel")):
        for percent in range(100):
            yield Case(category, f"cut at {percent} %", read(kind, functools.partial(_cut, kind, percent)), EITHER, slow=percent % 10 > 0)
        for seed in range(200):
            yield Case(category, f"bytes changed {seed}", read(kind, functools.partial(_flipped, kind, seed)), EITHER, slow=seed >= 10)
