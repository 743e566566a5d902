"""Model files of other versions and tools: each is read as the model it is, or refused with the reason."""

import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.trackable.resource import CapturableResource

from tlkeras.errors import ConfigError, ExportError, reason
from tlkeras.export import open_artifact, safety
from tlkeras.export.formats import FORMATS
from tlkeras.jobs.model_files import read
from tlkeras.zoo import check as zoo_check


def images(n=4, size=16, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, channels)).astype("float32")


def scores(model, x):
    out = model(x if not isinstance(getattr(model, "_inputs_struct", None), dict) else {model.inputs[0].name: x}, training=False)
    return np.asarray(out if not isinstance(out, dict) else next(iter(out.values())))


def small():
    return keras.Sequential([keras.Input((16, 16, 3)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(2, activation="softmax")])


def saved(model, path):
    model.save(path)
    return path


def configured(path, change, version=None):
    """Rewrites the config inside a `.keras` file, and the version of the Keras that wrote it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    members["metadata.json"] = json.dumps({"keras_version": version}).encode() if version else members["metadata.json"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def each_layer(config):
    if isinstance(config, dict):
        if "class_name" in config and isinstance(config.get("config"), dict):
            yield config
        for value in config.values():
            yield from each_layer(value)
    elif isinstance(config, list):
        for value in config:
            yield from each_layer(value)


# === What a file is ===


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["model.h5", "model.keras", "mask_detector.model", "model"])
def test_an_hdf5_file_is_read_whatever_its_name(tmp_path, name):
    model = small()
    saved(model, tmp_path / "first.h5").rename(tmp_path / name)
    np.testing.assert_array_equal(scores(read(tmp_path / name), images()), scores(model, images()))


def test_a_keras_file_is_read_whatever_its_name(tmp_path):
    model = small()
    saved(model, tmp_path / "first.keras").rename(tmp_path / "model.h5")
    np.testing.assert_array_equal(scores(read(tmp_path / "model.h5"), images()), scores(model, images()))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_weights_without_their_model_are_refused(tmp_path):
    small().save_weights(tmp_path / "my.weights.h5")
    with pytest.raises(ExportError, match="weights without their model.*save the whole model"):
        read(tmp_path / "my.weights.h5")


@pytest.mark.parametrize(
    ("content", "message"), [(b"\x1c\0\0\0TFL3....", "a TFLite file"), (b"\x08\x07", "not a Keras model"), (b"", "an empty file")]
)
def test_other_files_are_refused_by_what_they_are(tmp_path, content, message):
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(ExportError, match=f"{message}.*a .keras or .h5 file of a whole model"):
        read(tmp_path / "model.keras")


def test_a_zip_archive_that_is_no_model_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("x/data.pkl", b"")
    with pytest.raises(ExportError, match="without config.json"):
        read(tmp_path / "model.keras")


# === Other versions of Keras ===


def as_keras_2(path):
    """Gives an HDF5 file the config that Keras 2.4 wrote: `groups` of depthwise convolutions, lone outputs as lists of one."""

    def older(config):
        if isinstance(config, list):
            return [older(value) for value in config]
        if not isinstance(config, dict):
            return config
        config = {key: older(value) for key, value in config.items() if key not in ("module", "registered_name", "build_config")}
        if config.get("class_name") == "DepthwiseConv2D":
            config["config"] |= {"groups": 1, "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}}}
        if config.get("class_name") == "Functional":
            for key in ("input_layers", "output_layers"):
                config["config"][key] = [config["config"][key]]
        return config

    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(older(json.loads(file.attrs["model_config"])))
        file.attrs["keras_version"] = "2.4.0"
    return path


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_sequential_of_sequentials_of_keras_2_is_read(tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, use_bias=False)(layers.Conv2D(4, 3)(inputs)))
    body = keras.Sequential([keras.Input((16, 16, 3)), keras.Model(inputs, x), layers.GlobalAveragePooling2D()])
    head = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
    model = keras.Sequential([keras.Input((16, 16, 3)), body, head])
    path = as_keras_2(saved(model, tmp_path / "keras_model.h5"))
    np.testing.assert_allclose(scores(read(path), images()), scores(model, images()), atol=1e-6)


def test_a_keras_file_of_keras_2_is_read(tmp_path):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layers.Dense(2)(layers.BatchNormalization()(inputs)))
    path = saved(model, tmp_path / "model.keras")

    def older(config):
        config.update(module="keras.src.engine.functional", registered_name="Functional")
        for layer in each_layer(config):
            if layer["class_name"] == "BatchNormalization":
                layer["config"]["axis"] = [-1]

    configured(path, older, version="2.13.1")
    x = np.ones((2, 8), "float32")
    np.testing.assert_allclose(scores(read(path), x), scores(model, x), atol=1e-6)


def augmented():
    return keras.Sequential(
        [keras.Input((16, 16, 3)), layers.RandomRotation(0.1, name="turn"), layers.Flatten(), layers.Dense(2, name="out")]
    )


@pytest.mark.parametrize(("argument", "value"), [("value_range", [0, 255]), ("rng_type", "stateful"), ("quantization_config", None)])
def test_an_argument_that_does_nothing_at_inference_is_left_out(tmp_path, argument, value):
    model = augmented()

    def other(config):
        for layer in each_layer(config):
            if layer["class_name"] == "RandomRotation":
                layer["config"][argument] = value

    path = configured(saved(model, tmp_path / "model.keras"), other)
    np.testing.assert_array_equal(scores(read(path), images()), scores(model, images()))


def test_an_argument_that_changes_the_result_is_refused_with_its_layer(tmp_path):
    model = keras.Sequential([keras.Input((16, 16, 4)), layers.DepthwiseConv2D(3, name="depth"), layers.Flatten()])

    def other(config):
        for layer in each_layer(config):
            if layer["class_name"] == "DepthwiseConv2D":
                layer["config"]["groups"] = 2

    with pytest.raises(ExportError, match=r"layer 'depth' \(DepthwiseConv2D\) has groups=2.*does not accept.*SavedModel"):
        read(configured(saved(model, tmp_path / "model.keras"), other))


def test_an_argument_that_the_layer_has_is_kept(tmp_path):
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.RandomBrightness(0.2, value_range=(0, 1)), layers.Flatten()])
    read_back = read(saved(model, tmp_path / "model.keras"))
    assert list(read_back.layers[0].value_range) == [0, 1]


def test_an_argument_that_nobody_knows_is_named(tmp_path):
    def other(config):
        next(layer for layer in each_layer(config) if layer["class_name"] == "Dense")["config"]["no_such_argument"] = 3

    with pytest.raises(ExportError, match="Dense.*no_such_argument"):
        read(configured(saved(augmented(), tmp_path / "model.keras"), other))


def test_the_reason_of_an_error_stands_last_in_keras_and_is_shown():
    text = f"<class> could not be deserialized properly. config={'x' * 1000}. Exception encountered: Error. Exception encountered: too wide"
    assert reason(ValueError(text)) == "too wide"
    called = "Exception encountered when calling Dense.call().\n\n\x1b[1mInput 0 is incompatible\x1b[0m\n\nArguments received by Dense.call():\n x"
    assert reason(ValueError(called)) == "Dense.call(): Input 0 is incompatible"
    long = reason(ValueError("begin " + "x" * 1000 + " the end"))
    assert len(long) < 320 and long.startswith("begin") and long.endswith("the end")


# === SavedModels ===


def tf1_saved_model(path, build):
    """Writes a SavedModel as TensorFlow 1 does: a graph and a session."""
    old = tf.compat.v1
    with tf.Graph().as_default():
        inputs, outputs = build(old)
        with old.Session() as session:
            session.run(old.global_variables_initializer())
            builder = old.saved_model.Builder(str(path))
            infos = [{name: old.saved_model.build_tensor_info(one) for name, one in each.items()} for each in (inputs, outputs)]
            signature = old.saved_model.signature_def_utils.build_signature_def(*infos, "tensorflow/serving/predict")
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
            builder.add_meta_graph(["train"])
            builder.save()
    return path


def classifier(old):
    x = old.placeholder(tf.float32, (None, 4), name="x")
    y = tf.nn.softmax(x @ old.get_variable("w", initializer=np.eye(4, 2, dtype="float32")))
    return {"x": x}, {"probabilities": y, "class_names": tf.as_string(tf.argmax(y, -1))}


def unknown_rank(old):
    x = old.placeholder(tf.float32, None, name="x")
    return {"x": x}, {"y": x * old.get_variable("w", initializer=2.0)}


def with_a_switch(old):
    x, keep = old.placeholder(tf.float32, (None, 4), name="x"), old.placeholder(tf.float32, (), name="keep")
    return {"x": x, "keep": keep}, {"y": x * keep * old.get_variable("w", initializer=2.0)}


def batch_of_one(old):
    x = old.placeholder(tf.float32, (1, 4), name="x")
    return {"x": x}, {"y": x * old.get_variable("w", initializer=2.0)}


def test_a_saved_model_of_tensorflow_1_is_read(tmp_path):
    model = read(tf1_saved_model(tmp_path / "old", classifier))
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    np.testing.assert_allclose(scores(model, x), tf.nn.softmax(x[:, :2]), atol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (unknown_rank, "of unknown rank; expected a batch"),
        (with_a_switch, "keep of a single number"),
        (batch_of_one, "batches of exactly 1"),
    ],
)
def test_a_signature_that_is_no_model_of_batches_is_refused(tmp_path, build, message):
    with pytest.raises(ExportError, match=message):
        read(tf1_saved_model(tmp_path / "old", build))


def test_a_saved_model_without_a_graph_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ExportError, match="contains no graph"):
        read(tmp_path)


class Doubler(tf.Module):
    """Doubles; writes a file when it is called."""

    def __init__(self, path=None):
        super().__init__()
        self.factor, self.path = tf.Variable(2.0), path

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
    def serve(self, x):
        with tf.control_dependencies([tf.io.write_file(str(self.path), "owned")] if self.path else []):
            return {"y": x * self.factor}


class Initialiser(CapturableResource):
    """A table whose initialiser writes a file, when the model is loaded."""

    def __init__(self, path):
        self.path = str(path)
        super().__init__()

    def _create_resource(self):
        return tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)

    def _initialize(self):
        tf.io.write_file(self.path, "owned")
        return tf.constant(1)


@pytest.fixture(params=["called", "loaded"])
def writing(request, tmp_path):
    """A SavedModel that writes a file, and the file."""
    target = tmp_path / "owned"
    module = Doubler(target if request.param == "called" else None)
    if request.param == "loaded":
        module.table = Initialiser(target)
        assert module.table.resource_handle is not None
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": module.serve})
    target.unlink(missing_ok=True)
    return tmp_path / "model", target


def test_a_saved_model_that_writes_files_is_refused_before_it_is_loaded(writing):
    model, target = writing
    for open_it in (read, open_artifact):
        with pytest.raises(ConfigError, match=r"WriteFile.*--trust"):
            open_it(model)
    assert not target.exists()


def test_an_entry_of_the_zoo_that_writes_files_is_not_run(writing):
    model, target = writing
    entry = SimpleNamespace(artifact=lambda name: model, manifest={"artifacts": {"saved_model": {"verified": True}}})
    row = FORMATS.get("saved_model")
    (check,) = zoo_check._started(entry, row.name, zoo_check._variants(row), verifier=None)
    assert "WriteFile" in check.problem and not target.exists()


def test_a_saved_model_that_writes_files_is_read_when_it_is_trusted(writing):
    assert read(writing[0], trust=True).outputs


def test_saving_itself_counts_for_nothing(tmp_path):
    module = Doubler()
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": module.serve})
    proto = safety.parse(tmp_path / "model")
    operations = {node.op for function in proto.meta_graphs[0].graph_def.library.function for node in function.node_def}
    assert "SaveV2" in operations and safety.unsafe_operations(proto) == []
    np.testing.assert_array_equal(scores(read(tmp_path / "model"), np.ones((1, 4), "float32")), [[2.0] * 4])


@pytest.mark.parametrize("operation", ["SaveV2", "PrintV2", "EagerPyFunc", "ReadFile", "CreateSummaryFileWriter", "CacheDatasetV2"])
def test_an_operation_outside_computing_is_found_in_functions_of_functions(tmp_path, operation):
    module = Doubler()
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": module.serve})
    proto = safety.parse(tmp_path / "model")
    library = proto.meta_graphs[0].graph_def.library
    served = next(
        function for function in library.function if "serve" in function.signature.name and "wrapper" not in function.signature.name
    )
    inner = library.function.add()
    inner.signature.name = "inner"
    inner.node_def.add(name="harm", op=operation)
    served.node_def.add(name="call", op="PartitionedCall").attr["f"].func.name = "inner"
    assert safety.unsafe_operations(proto) == [operation]


def test_a_folder_with_a_text_graph_is_told_apart(tmp_path):
    (tmp_path / "saved_model.pbtxt").write_text("")
    with pytest.raises(ExportError, match="pbtxt"):
        read(tmp_path)


def test_the_file_that_was_read_is_left_as_it_was(tmp_path):
    path = saved(small(), tmp_path / "model.keras")
    configured(path, lambda config: next(each_layer(config["config"]))["config"].update(quantization_config=None))
    before = shutil.copy(path, tmp_path / "copy")
    read(path)
    assert Path(before).read_bytes() == path.read_bytes()
