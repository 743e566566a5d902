"""Artifacts are looked at before they are opened."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

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
