"""What stands inside a `.tflite` file, and that MediaPipe Tasks and the client program need nothing else."""

import re
import subprocess
import sys
import zipfile
from functools import partial

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from tests.export.helpers import answered_by_mediapipe, classifier
from tests.helpers import pictures
from tlkeras.data.target import Target
from tlkeras.errors import ExportError
from tlkeras.export import metadata
from tlkeras.export.budget import Budget
from tlkeras.export.calibration import Calibration
from tlkeras.export.export import export
from tlkeras.export.parity import Samples
from tlkeras.export.read import open_artifact
from tlkeras.export.spec import ExportSpec
from tlkeras.modalities.images import decode
from tlkeras.tasks import multilabel
from tlkeras.tasks.registry import TARGET
from tlkeras.tasks.thresholds import spec as label_spec

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


def read_metadata(path):
    """Returns the metadata of a file, as MediaPipe's own schema reads it."""
    from mediapipe.tasks.metadata import metadata_schema_py_generated as theirs
    from mediapipe.tasks.metadata import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(path.read_bytes(), 0)
    place = next(m.Buffer() for m in (model.Metadata(i) for i in range(model.MetadataLength())) if m.Name() == b"TFLITE_METADATA")
    return theirs.ModelMetadataT.InitFromObj(theirs.ModelMetadata.GetRootAs(model.Buffers(place).DataAsNumpy().tobytes(), 0))


def test_mediapipe_s_own_schema_reads_names_and_the_normalisation(float_file):
    pytest.importorskip("mediapipe", reason="MediaPipe is in the extra `test`")
    from mediapipe.tasks.metadata import metadata_schema_py_generated as theirs

    told = read_metadata(float_file)
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


# === Several labels ===


def patch_net():
    """A network whose scores are how strong each colour is, without training: any number of labels."""
    inputs = keras.Input((16, 16, 3), name="image")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1, use_bias=False, name="same")(layers.Rescaling(1 / 255)(inputs)))
    model = keras.Model(inputs, layers.Dense(3, activation="sigmoid", name="dense")(x))
    model.get_layer("same").set_weights([np.eye(3, dtype="float32")[None, None]])
    model.get_layer("dense").set_weights([12 * np.eye(3, dtype="float32"), np.full(3, -6, "float32")])
    return model


def plain_images(n=150):
    """Returns images of one colour each: scores from 0.0025 to 0.9975."""
    return np.random.default_rng(3).integers(0, 256, (n, 1, 1, 3)).repeat(16, axis=1).repeat(16, axis=2).astype("uint8")


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Returns a function: format and type of the inputs -> the file and its thresholds, of which the second is one of its own scores."""
    paths = {}

    def get(format="tflite", io="float32"):
        if (format, io) not in paths:
            x = plain_images()
            exact = float(patch_net().predict(x[7:8].astype("float32"), verbose=0)[0, 1])
            thresholds = (float(np.float32(0.013)), exact, float(np.float32(0.92)))
            target = Target(kind="labels", labels=LABELS).with_facts(thresholds=thresholds)
            spec = ExportSpec(labels=LABELS, judge=partial(multilabel.judge, target=target), **label_spec(target))
            samples = Samples(inputs={"image": x[:8].astype("float32")}, score_inputs=x)
            budget = Budget(calibration=Calibration(inputs={"image": x.astype("float32")}), io=io, max_drop=0.2)
            folder = tmp_path_factory.mktemp("several")
            (artifact,) = export(patch_net(), spec, folder, samples, formats=(format,), budget=budget)
            paths[format, io] = artifact.path, thresholds
        return paths[format, io]

    return get


# MediaPipe 1.2 still uses a deprecated way of NumPy.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("format", "io"), [("tflite", "float32"), ("tflite-int8", "float32"), ("tflite-int8", "uint8"), ("tflite-fp16", "float32")]
)
def test_mediapipe_answers_the_labels_that_reach_their_thresholds_with_their_scores(several, tmp_path, format, io):
    path, thresholds = several(format, io)
    alone = tmp_path / "alone.tflite"
    alone.write_bytes(path.read_bytes())
    x = plain_images()
    ours = open_artifact(path).scores(x)
    theirs = answered_by_mediapipe(alone, x)
    holds = ours >= np.array(thresholds, "float32")
    assert [set(answer) for answer in theirs] == [{label for label, own in zip(LABELS, row, strict=True) if own} for row in holds]
    assert holds.any(axis=0).all() and not holds.all(axis=0).any() and not holds.any(axis=1).all()  # images without any label too
    for answer, scores in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(list(answer.values()), [scores[LABELS.index(label)] for label in answer], atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_score_that_equals_its_threshold_holds_in_mediapipe_too(several):
    path, thresholds = several()
    x = plain_images()[7:8]
    assert open_artifact(path).scores(x)[0, 1] == np.float32(thresholds[1])
    assert LABELS[1] in answered_by_mediapipe(path, x)[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_threshold_of_an_application_drops_further_labels_only(several):
    path, thresholds = several()
    x = plain_images(40)
    expected = [{label: score for label, score in answer.items() if score >= 0.5} for answer in answered_by_mediapipe(path, x)]
    assert answered_by_mediapipe(path, x, score_threshold=0.5) == expected


def test_mediapipe_s_own_schema_reads_the_thresholds(several):
    pytest.importorskip("mediapipe", reason="MediaPipe is in the extra `test`")
    from mediapipe.tasks.metadata import metadata_schema_py_generated as theirs

    path, thresholds = several()
    made = read_metadata(path).subgraphMetadata[0].outputTensorMetadata[0]
    assert [file.name for file in made.associatedFiles] == [b"labels.txt", b"score_calibration.txt"]
    assert made.associatedFiles[1].type == theirs.AssociatedFileType.TENSOR_AXIS_SCORE_CALIBRATION
    calibration, thresholding = (unit.options for unit in made.processUnits)
    assert calibration.scoreTransformation == theirs.ScoreTransformationType.INVERSE_LOGISTIC and calibration.defaultScore == 0
    assert 0 < thresholding.globalScoreThreshold < min(thresholds)
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("score_calibration.txt").decode().split("\n")  # no empty line at the end: MediaPipe would count it
    assert [line.split(",")[:3] for line in lines] == [["1", "1", "0"]] * 3
    assert [np.float32(line.split(",")[3]) for line in lines] == [np.float32(threshold) for threshold in thresholds]


def test_files_of_classes_have_no_thresholds(float_file):
    pytest.importorskip("mediapipe", reason="MediaPipe is in the extra `test`")
    assert not read_metadata(float_file).subgraphMetadata[0].outputTensorMetadata[0].processUnits
    with zipfile.ZipFile(float_file) as archive:
        assert archive.namelist() == ["labels.txt"]


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


@pytest.mark.parametrize(("format", "io"), [("tflite", "float32"), ("tflite-int8", "uint8")])
def test_the_python_client_prints_every_label_that_reaches_its_threshold(several, tmp_path, format, io):
    path, thresholds = several(format, io)
    x = plain_images(20)
    for index, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / f"{index:02}.png")
    command = [sys.executable, "-I", str(path.parent / "client" / "classify.py"), *map(str, sorted(tmp_path.glob("*.png")))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
    printed = [set(line.split("\t")[1::2]) for line in done.stdout.splitlines()]
    holds = open_artifact(path).scores(x) >= np.array(thresholds, "float32")
    assert printed == [{label for label, own in zip(LABELS, row, strict=True) if own} for row in holds]
    assert {len(labels) for labels in printed} > {0, 1}


@pytest.mark.parametrize(("name", "line"), [("Classifier.kt", ".setMaxResults({})"), ("Classifier.swift", "options.maxResults = {}")])
def test_the_other_clients_ask_for_every_label_where_several_may_hold(several, float_file, name, line):
    for path, most in ((several()[0], -1), (float_file, 3)):
        text = (path.parent / "client" / name).read_text(encoding="utf-8")
        assert line.format(most) in text and ("their thresholds" in text) == (most < 0)


@pytest.mark.parametrize("name", ["Classifier.kt", "Classifier.swift"])
def test_the_other_clients_have_every_name_filled_in(float_file, name):
    text = (float_file.parent / "client" / name).read_text(encoding="utf-8")
    assert not re.search(r"\$[a-z]", text) and "model" in text and "`image`: float32 (1, 16, 16, 3)" in text and "(1, 3)" in text
