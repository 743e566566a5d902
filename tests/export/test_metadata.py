"""What stands inside a `.tflite` file, and that MediaPipe Tasks and the client program need nothing else."""

import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from tests.export.helpers import classifier
from tests.helpers import pictures
from tlkeras.errors import ExportError
from tlkeras.export import metadata
from tlkeras.export.budget import Budget
from tlkeras.export.calibration import Calibration
from tlkeras.export.export import export
from tlkeras.export.parity import Samples
from tlkeras.export.read import open_artifact
from tlkeras.export.spec import ExportSpec
from tlkeras.modalities.images import decode
from tlkeras.tasks.registry import TARGET

LABELS = ("rouge", "grün", "蓝 色")


def colour_net(classes=3):
    """A network whose answer is the strongest colour, without training."""
    inputs = keras.Input((16, 16, 3), name="image")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1, use_bias=False, name="same")(layers.Rescaling(1 / 255)(inputs)))
    model = keras.Model(inputs, layers.Dense(classes, activation="softmax", name="dense")(x))
    model.get_layer("same").set_weights([np.eye(3, dtype="float32")[None, None]])
    kernel = np.zeros((3, classes), "float32")
    kernel[:3, :3] = 20 * np.eye(3)
    model.get_layer("dense").set_weights([kernel, np.zeros(classes, "float32")])
    return model


def exported(folder, format="tflite", labels=LABELS, resize="stretch", **budget):
    x, y = pictures(24)
    spec = ExportSpec(**classifier(labels), metadata={"resize": resize})
    samples = Samples(inputs={"image": x.astype("float32")}, score_inputs=x, score_targets={TARGET: y})
    budget = Budget(calibration=Calibration(inputs={"image": x.astype("float32")}), **budget)
    (artifact,) = export(colour_net(len(labels)), spec, folder, samples, formats=(format,), budget=budget)
    return artifact.path


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Returns a function: format, type of the inputs and resize -> the file, written once."""
    paths = {}

    def get(format="tflite", io="float32", resize="stretch"):
        if (format, io, resize) not in paths:
            paths[format, io, resize] = exported(tmp_path_factory.mktemp("metadata"), format, resize=resize, io=io)
        return paths[format, io, resize]

    return get


@pytest.fixture(scope="module")
def float_file(written):
    return written()


def test_the_labels_are_in_the_file(float_file):
    assert metadata.read_labels(float_file) == LABELS


def test_the_same_file_gets_the_same_metadata_byte_for_byte(float_file):
    told = metadata.Described(name="net", description="", labels=LABELS, colours=metadata.RGB)
    content = float_file.read_bytes()
    assert metadata.attach(content, told) == metadata.attach(content, told)


def test_weights_stand_at_multiples_of_sixteen_bytes(float_file):
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(float_file.read_bytes(), 0)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    places = [one._tab.Vector(one._tab.Offset(4)) for one in buffers if one.DataLength()]
    assert places and all(place % 16 == 0 for place in places)


def test_a_file_without_labels_is_told(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"\0\0\0\0TFL3")
    with pytest.raises(ExportError, match="no labels"):
        metadata.read_labels(tmp_path / "model.tflite")


def test_mediapipe_s_own_schema_reads_names_and_the_normalisation(float_file):
    pytest.importorskip("mediapipe", reason="MediaPipe is in the extra `test`")
    from mediapipe.tasks.metadata import metadata_schema_py_generated as theirs
    from mediapipe.tasks.metadata import schema_py_generated as schema

    content = float_file.read_bytes()
    model = schema.Model.GetRootAsModel(content, 0)
    place = next(m.Buffer() for m in (model.Metadata(i) for i in range(model.MetadataLength())) if m.Name() == b"TFLITE_METADATA")
    told = theirs.ModelMetadataT.InitFromObj(theirs.ModelMetadata.GetRootAs(model.Buffers(place).DataAsNumpy().tobytes(), 0))
    (graph,) = told.subgraphMetadata
    (given,), (made,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    assert (given.name, made.name) == (b"image", b"scores")
    assert given.content.contentProperties.colorSpace == theirs.ColorSpaceType.RGB
    assert [float(v[0]) for v in (given.processUnits[0].options.mean, given.processUnits[0].options.std)] == [0.0, 1.0]
    assert made.associatedFiles[0].name == b"labels.txt"
    assert made.associatedFiles[0].type == theirs.AssociatedFileType.TENSOR_AXIS_LABELS


# MediaPipe 1.2 still uses a deprecated way of NumPy.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("format", "io"), [("tflite", "float32"), ("tflite-int8", "float32"), ("tflite-int8", "uint8"), ("tflite-fp16", "float32")]
)
def test_mediapipe_loads_the_file_alone_and_its_labels_and_scores_are_ours(written, tmp_path, format, io):
    mediapipe = pytest.importorskip("mediapipe", reason="MediaPipe is in the extra `test`")
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    path = written(format, io)
    alone = tmp_path / "alone.tflite"
    alone.write_bytes(path.read_bytes())
    options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=str(alone)), max_results=1)
    x, _ = pictures(9, seed=5)
    ours = open_artifact(path).scores(x)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for picture, scores in zip(x, ours, strict=True):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
            (best,) = classifier.classify(image).classifications[0].categories
            assert best.category_name == LABELS[int(scores.argmax())] and abs(best.score - scores.max()) < 5e-3


def test_mediapipe_takes_a_thousand_labels(tmp_path):
    pytest.importorskip("mediapipe", reason="MediaPipe is in the extra `test`")
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    path = exported(tmp_path, labels=tuple(f"class {i}" for i in range(1000)))
    options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=str(path)))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        assert classifier


# === The client program ===


@pytest.mark.parametrize(
    ("resize", "format", "io"),
    [
        ("stretch", "tflite", "float32"),
        ("crop", "tflite", "float32"),
        ("pad", "tflite", "float32"),
        ("stretch", "tflite-int8", "uint8"),
        pytest.param("crop", "tflite-int8", "uint8", marks=pytest.mark.slow),
        pytest.param("pad", "tflite-int8", "uint8", marks=pytest.mark.slow),
    ],
)
def test_the_python_client_prints_the_label_and_score_that_we_predict(written, tmp_path, resize, format, io):
    path = written(format, io, resize)
    x, _ = pictures(3, size=40, seed=4)
    files = []
    for index, picture in enumerate(x):
        files.append(tmp_path / f"{index}.png")
        Image.fromarray(picture[:, :30]).save(files[-1])
    files.append(tmp_path / "transparent.png")
    alpha = np.repeat(np.arange(40, dtype="uint8")[:, None, None] * 6, 30, axis=1)
    Image.fromarray(np.concatenate([x[0][:, :30], alpha], axis=-1)).save(files[-1])
    code = (path.parent / "client" / "classify.py").read_text(encoding="utf-8")
    compile(code, "classify.py", "exec")
    command = [sys.executable, "-I", str(path.parent / "client" / "classify.py"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
    said = [line.split("\t") for line in done.stdout.splitlines()]
    decoded = np.stack([decode.decode_and_resize(file.read_bytes(), 16, resize) for file in files])
    ours = open_artifact(path).scores(decoded)
    assert [row[1] for row in said] == [LABELS[i] for i in ours.argmax(-1)]
    np.testing.assert_allclose([float(row[2]) for row in said], ours.max(-1), atol=0.02)


@pytest.mark.parametrize("name", ["Classifier.kt", "Classifier.swift"])
def test_the_other_clients_have_every_name_filled_in(float_file, name):
    text = (float_file.parent / "client" / name).read_text(encoding="utf-8")
    assert not re.search(r"\$[a-z]", text) and "model" in text and "`image`: float32 (1, 16, 16, 3)" in text and "(1, 3)" in text
