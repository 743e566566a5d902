"""Artifacts are looked at before they are opened."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tlkeras.errors import ConfigError, ExportError
from tlkeras.export.read import open_artifact
from tlkeras.export.safety import check_onnx, check_tflite


def with_weights_at(location, folder):
    """Writes an ONNX file that multiplies by weights from another file; returns its path."""
    tensor = numpy_helper.from_array(np.ones((2, 2), "float32"), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, (None, 2))  # noqa: E731
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["scores"])], "g", [value("x")], [value("scores")], [tensor])
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret", "link"])
def test_weights_outside_of_the_folder_are_not_read(tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "link").symlink_to(tmp_path / "secret")
    path = with_weights_at(location, folder)
    with pytest.raises(ConfigError, match="weights in files outside of its folder"):
        open_artifact(path)


def test_weights_beside_the_file_are_allowed(tmp_path):
    (tmp_path / "weights").write_bytes(np.ones(4, "float32").tobytes())
    check_onnx(with_weights_at("weights", tmp_path))


def test_what_is_no_onnx_file_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08not a model")
    with pytest.raises(ExportError):
        check_onnx(tmp_path / "model.onnx")


# === Operations that no runtime here has ===


def value(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, (None, 2))


def onnx_file(folder, nodes, functions=(), sets=()):
    """Writes an ONNX file from x to scores; returns its path."""
    graph = helper.make_graph(list(nodes), "g", [value("x")], [value("scores")])
    opsets = [helper.make_opsetid(domain, version) for domain, version in {"": 18, **dict(sets)}.items()]
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph, functions=list(functions), opset_imports=opsets, ir_version=9).SerializeToString())
    return path


def inside_of_a_branch(node):
    branch = helper.make_graph([node], "branch", [], [value("scores")])
    condition = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.BOOL, [], [True]))
    return [condition, helper.make_node("If", ["c"], ["scores"], then_branch=branch, else_branch=branch)]


FOREIGN = {
    "Python of the training runtime": ("com.microsoft", "PythonOp"),
    "what another tool compiled": ("com.microsoft", "EPContext"),
    "onnxruntime-extensions": ("ai.onnx.contrib", "PyOp"),
    "the network": ("com.microsoft.extensions", "AzureTextToText"),
    "a library of somebody": ("evil", "System\x1b[31m"),
}


@pytest.mark.parametrize("where", ["in the graph", "in a branch", "in a function"])
@pytest.mark.parametrize("name", FOREIGN)
def test_onnx_operations_that_do_more_than_compute_are_refused_by_name(tmp_path, name, where):
    domain, operation = FOREIGN[name]
    node = helper.make_node(operation, ["x"], ["scores"], domain=domain)
    nodes, functions = [node], []
    if where == "in a branch":
        nodes = inside_of_a_branch(node)
    elif where == "in a function":
        functions = [
            helper.make_function("mine", "F", ["x"], ["scores"], [node], [helper.make_opsetid("", 18), helper.make_opsetid(domain, 1)])
        ]
        nodes = [helper.make_node("F", ["x"], ["scores"], domain="mine")]
    path = onnx_file(tmp_path, nodes, functions, {domain: 1, "mine": 1})
    with pytest.raises(ConfigError, match="do more than compute") as refused:
        open_artifact(path)
    assert f"{domain}.{operation[:6]}" in str(refused.value) and "\x1b" not in str(refused.value)


def test_onnx_functions_of_the_file_itself_and_operations_of_the_runtime_are_run(tmp_path):
    body = [helper.make_node("Gelu", ["x"], ["scores"], domain="com.microsoft")]
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    function = helper.make_function("mine", "F", ["x"], ["scores"], body, sets)
    path = onnx_file(tmp_path, [helper.make_node("F", ["x"], ["scores"], domain="mine")], [function], {"com.microsoft": 1, "mine": 1})
    assert open_artifact(path).scores(np.zeros((3, 2), "float32")).shape == (3, 2)


def test_weights_of_a_function_outside_of_the_folder_are_not_read(tmp_path):
    tensor = numpy_helper.from_array(np.ones((2, 2), "float32"), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret"
    body = [helper.make_node("Constant", [], ["w"], value=tensor), helper.make_node("MatMul", ["x", "w"], ["scores"])]
    function = helper.make_function("mine", "F", ["x"], ["scores"], body, [helper.make_opsetid("", 18)])
    path = onnx_file(tmp_path, [helper.make_node("F", ["x"], ["scores"], domain="mine")], [function], {"mine": 1})
    with pytest.raises(ConfigError, match="weights in files outside of its folder"):
        open_artifact(path)


def tflite_file(folder, custom):
    """Writes a TFLite file with a custom operation, which no runtime resolves before it runs; returns its path."""
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    model = schema.ModelT()
    model.version = 3
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = custom
    model.operatorCodes, model.subgraphs, model.buffers = [code], [schema.SubGraphT()], [schema.BufferT()]
    builder = Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = folder / "model.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


@pytest.mark.parametrize("custom", ["FlexWriteFile", "FlexReadFile", "FlexPyFunc", "FlexPrintV2", "DISPATCH_OP", "Evil\x1b[31m", ""])
def test_tflite_operations_that_do_more_than_compute_are_refused_by_name(tmp_path, custom):
    with pytest.raises(ConfigError, match="do more than compute") as refused:
        open_artifact(tflite_file(tmp_path, custom))
    assert custom[:4] in str(refused.value) and "\x1b" not in str(refused.value)


@pytest.mark.parametrize("custom", ["FlexErf", "FlexComplexAbs", "TFLite_Detection_PostProcess", "Mfcc"])
def test_tflite_operations_that_compute_are_left_to_the_runtime(tmp_path, custom):
    check_tflite(tflite_file(tmp_path, custom))


@pytest.mark.parametrize("at", [0, 4, 8, 12, 16, 24, 40])
def test_a_damaged_tflite_file_is_one_line(tmp_path, at):
    path = tflite_file(tmp_path, "Mfcc")
    content = bytearray(path.read_bytes())
    content[at : at + 4] = b"\xff\xff\xff\x7f"
    path.write_bytes(content)
    try:
        check_tflite(path)  # what nobody reads may be damaged
    except ExportError as error:
        assert "cannot read" in str(error) and "\n" not in str(error)
