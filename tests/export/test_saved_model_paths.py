"""A SavedModel opens its own variables and assets, and no other file."""

import os

import pytest
import tensorflow as tf

from tlkeras.errors import ConfigError, ExportError
from tlkeras.export import safety


class Words(tf.Module):
    """Looks numbers up in a table of a text file, and scales them."""

    def __init__(self, path):
        super().__init__()
        words = tf.lookup.TextFileInitializer(str(path), tf.string, 0, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
        self.table, self.factor = tf.lookup.StaticHashTable(words, -1), tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def serve(self, x):
        found = self.table.lookup(tf.strings.as_string(tf.cast(x, tf.int32)))
        return {"y": tf.cast(found, tf.float32) * self.factor}


@pytest.fixture
def model(tmp_path):
    """A SavedModel with a vocabulary among its assets."""
    (tmp_path / "words.txt").write_text("7\n8\n")
    module = Words(tmp_path / "words.txt")
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": module.serve})
    return tmp_path / "model"


def altered(model, change):
    """Changes the graph of a SavedModel; returns the operations for which it is refused."""
    proto = safety.parse(model)
    change(proto.meta_graphs[0])
    (model / "saved_model.pb").write_bytes(proto.SerializeToString())
    return safety.unsafe_operations(proto)


def function_with(meta, operation):
    """Returns a function that has an operation, and its node."""
    return next((function, node) for function in meta.graph_def.library.function for node in function.node_def if node.op == operation)


def test_a_vocabulary_among_the_assets_is_read(model):
    safety.check_saved_model(model)


def test_a_model_that_was_loaded_and_saved_again_keeps_its_vocabulary(model, tmp_path):
    loaded = tf.saved_model.load(str(model))
    tf.saved_model.save(loaded, str(tmp_path / "again"), signatures=loaded.signatures)
    safety.check_saved_model(tmp_path / "again")


def test_a_vocabulary_of_tensorflow_1_is_read(tmp_path):
    (tmp_path / "words.txt").write_text("7\n8\n")
    old = tf.compat.v1
    with tf.Graph().as_default(), old.Session() as session:
        words = old.lookup.TextFileInitializer(str(tmp_path / "words.txt"), tf.string, 0, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
        x = old.placeholder(tf.string, (None,), name="x")
        y = tf.cast(old.lookup.StaticHashTable(words, -1).lookup(x), tf.float32) * old.get_variable("w", initializer=2.0)
        session.run([old.global_variables_initializer(), old.tables_initializer()])
        builder = old.saved_model.Builder(str(tmp_path / "model"))
        infos = [{name: old.saved_model.build_tensor_info(tensor)} for name, tensor in (("x", x), ("y", y))]
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": old.saved_model.signature_def_utils.build_signature_def(*infos, "predict")},
            assets_collection=old.get_collection(old.GraphKeys.ASSET_FILEPATHS),
            main_op=old.tables_initializer(),
        )
        builder.save()
    safety.check_saved_model(tmp_path / "model")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "..\\secret", "", "C:secret"])
def test_an_asset_that_is_not_in_its_folder_is_refused(model, name):
    altered(model, lambda meta: setattr(meta.asset_file_def[0], "filename", name))
    with pytest.raises(ConfigError, match="assets outside of its folder"):
        safety.check_saved_model(model)


def test_a_vocabulary_at_a_path_in_the_graph_is_refused(model):
    def change(meta):
        function, node = function_with(meta, "InitializeTableFromTextFileV2")
        function.node_def.add(name="path", op="Const").attr["dtype"].type = tf.string.as_datatype_enum
        node.input[1] = "path:output:0"

    assert altered(model, change) == ["InitializeTableFromTextFileV2"]


def test_a_vocabulary_at_a_path_that_the_objects_hold_is_refused(model):
    def change(meta):
        function, _ = function_with(meta, "InitializeTableFromTextFileV2")
        for index in meta.object_graph_def.concrete_functions[function.signature.name].bound_inputs:
            if meta.object_graph_def.nodes[index].WhichOneof("kind") == "asset":
                meta.object_graph_def.nodes[index].constant.operation = "path"

    assert altered(model, change) == ["InitializeTableFromTextFileV2"]


def test_a_checkpoint_of_somebody_is_not_read(model):
    def change(meta):
        served = next(function for function in meta.graph_def.library.function if "_serve_" in function.signature.name)
        served.node_def.add(name="path", op="Const")
        served.node_def.add(name="read", op="RestoreV2", input=["path:output:0", "path:output:0", "path:output:0"])

    assert altered(model, change) == ["RestoreV2"]


def test_variables_of_another_checkpoint_are_not_restored(model):
    def change(meta):
        function, node = function_with(meta, "RestoreV2")
        function.node_def.add(name="path", op="Const")
        node.input[0] = "path:output:0"

    assert altered(model, change) == ["RestoreV2"]


def test_functions_that_call_each_other_in_a_circle_are_followed_once(model):
    def change(meta):
        function, _ = function_with(meta, "RestoreV2")
        call = function.node_def.add(name="again", op="PartitionedCall", input=[argument.name for argument in function.signature.input_arg])
        call.attr["f"].func.name = function.signature.name

    assert altered(model, change) == []


@pytest.mark.parametrize("file", ["variables/variables.index", "assets/pipe", "fingerprint.pb"])
def test_a_pipe_in_the_folder_is_refused_before_tensorflow_waits_for_it(model, file):
    (model / file).unlink(missing_ok=True)
    os.mkfifo(model / file)
    with pytest.raises(ExportError, match="neither a file nor a folder"):
        safety.parse(model)


@pytest.mark.parametrize("target", ["/dev/zero", "/nowhere", "..", "loop"])
def test_a_link_to_what_is_no_file_is_refused(model, target):
    (model / "assets" / "loop").symlink_to(target)
    with pytest.raises(ExportError, match="loop"):
        safety.parse(model)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(model):
    (model / "assets" / "again.txt").symlink_to("words.txt")
    safety.check_saved_model(model)
    (model / "assets" / "secret.txt").symlink_to("/etc/passwd")
    safety.parse(model)
    with pytest.raises(ConfigError, match=r"link out of its SavedModel.*--trust"):
        safety.check_saved_model(model)
