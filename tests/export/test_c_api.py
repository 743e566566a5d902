"""TensorFlow's C API, the loader of TensorFlow Serving, runs what is exported, with no Python in between."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.export.helpers import LABELS, conv_net, images, spec
from tlkeras.export import c_api
from tlkeras.export.formats import FORMATS
from tlkeras.export.graph import Graph
from tlkeras.export.saved_model import write
from tlkeras.modalities.images import decode


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("c_api") / "saved_model"
    write(Graph(conv_net(), spec()), path, FORMATS.get("saved_model").options())
    return path


@pytest.fixture(scope="module")
def session(saved_model):
    session = c_api.Session(str(saved_model))
    yield session
    session.close()


def pngs(n=3):
    return [decode.encode_png(one.astype("uint8")) for one in images(n, seed=5)]


def test_tensors_are_answered_as_by_tensorflow(saved_model, session):
    x = images(5, seed=3)
    expected = tf.saved_model.load(str(saved_model)).signatures["predict_tensor"](image=tf.constant(x))["scores"]
    np.testing.assert_allclose(session.run("predict_tensor", {"image": x})["scores"], expected, atol=1e-6)


def test_pictures_are_answered_with_labels_as_by_tensorflow(saved_model, session):
    expected = tf.saved_model.load(str(saved_model)).signatures["serving_default"](image_bytes=tf.constant(pngs()))
    got = session.run("serving_default", {"image_bytes": pngs()})
    assert [one.decode() for one in got["label"]] == [LABELS[i] for i in got["class_id"]]
    assert got["class_id"].tolist() == expected["class_id"].numpy().tolist() and got["status"].tolist() == [b"ok"] * 3
    np.testing.assert_allclose(got["scores"], expected["scores"], atol=1e-6)


def test_T22_a_damaged_picture_among_three_is_told_and_an_empty_batch_is_empty(session):
    good = pngs()
    got = session.run("serving_default", {"image_bytes": [good[0], b"damaged", good[2]]})
    assert [one == b"ok" for one in got["status"]] == [True, False, True] and got["class_id"][1] == -1
    np.testing.assert_allclose(got["scores"][[0, 2]], session.run("serving_default", {"image_bytes": good})["scores"][[0, 2]], atol=1e-6)
    empty = session.run("serving_default", {"image_bytes": []})
    assert empty["scores"].shape == (0, 3) and len(empty["label"]) == 0


@pytest.mark.parametrize(
    ("signature", "feeds", "message"),
    [
        ("nothing", {}, "no signature 'nothing'; the SavedModel has .*predict_tensor"),
        ("predict_tensor", {"picture": 1}, "accepts image; got picture"),
        ("predict_tensor", {"image": np.zeros((1, 16, 16, 4))}, "(?i)shape|size|depth|dimension"),
    ],
)
def test_a_wrong_request_is_an_error_with_its_reason(session, signature, feeds, message):
    with pytest.raises(RuntimeError, match=message):
        session.run(signature, feeds)


def test_a_missing_folder_is_an_error_with_its_reason(tmp_path):
    with pytest.raises(RuntimeError, match="Could not find SavedModel"):
        c_api.Session(str(tmp_path / "none"))


def test_no_python_of_tensorflow_is_loaded(saved_model):
    code = f"""
import sys; sys.path.insert(0, {str(Path(c_api.__file__).parent)!r})
import numpy as np, c_api
out = c_api.Session({str(saved_model)!r}, threads=1).run("predict_tensor", {{"image": np.zeros((2, 16, 16, 3))}})
print(out["scores"].shape, [name for name in ("tensorflow", "keras", "tlkeras") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 3) []"


def test_saved_model_cli_runs_it(saved_model, tmp_path, monkeypatch):
    from tensorflow.python.tools import saved_model_cli

    np.save(tmp_path / "x.npy", images(2))
    given = ["--dir", str(saved_model), "--tag_set", "serve", "--signature_def", "predict_tensor"]
    given += ["--inputs", f"image={tmp_path}/x.npy", "--outdir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["saved_model_cli", "run", *given])
    with pytest.raises(SystemExit) as stop:
        saved_model_cli.main()
    assert not stop.value.code
    assert np.load(tmp_path / "scores.npy").shape == (2, 3)
