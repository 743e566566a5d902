"""Artifacts are looked at before they are opened."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.hostile import artifacts
from tlkeras.errors import ConfigError, ExportError
from tlkeras.export.read import open_artifact
from tlkeras.export.safety import check_onnx


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


# === Operations that no runtime here has: tests/hostile/artifacts.py has more of them ===


def test_the_operations_that_do_more_than_compute_are_named(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(artifacts.onnx("com.microsoft", "PythonOp", "in a branch"))
    with pytest.raises(ConfigError, match=r"do more than compute \(com.microsoft.PythonOp\)"):
        open_artifact(path)


def test_the_tflite_operations_that_do_more_than_compute_are_named(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(artifacts.tflite("Mfcc", "FlexWriteFile"))
    with pytest.raises(ConfigError, match=r"do more than compute \(FlexWriteFile\)"):
        open_artifact(path)


def test_onnx_functions_of_the_file_itself_and_operations_of_the_runtime_are_run(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(artifacts.onnx("com.microsoft", "Gelu", "in a function"))
    assert open_artifact(path).scores(np.zeros((3, 2), "float32")).shape == (3, 2)


def test_weights_of_a_function_outside_of_the_folder_are_not_read(tmp_path):
    tensor = numpy_helper.from_array(np.ones((2, 2), "float32"), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret"
    body = [helper.make_node("Constant", [], ["w"], value=tensor), helper.make_node("MatMul", ["x", "w"], ["scores"])]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    function = helper.make_function("mine", "F", ["x"], ["scores"], body, opsets[:1])
    ends = [artifacts.value("x")], [artifacts.value("scores")]
    graph = helper.make_graph([helper.make_node("F", ["x"], ["scores"], domain="mine")], "g", *ends)
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=9).SerializeToString())
    with pytest.raises(ConfigError, match="weights in files outside of its folder"):
        open_artifact(path)
