"""Every patch of another library is still needed, and names its report upstream.

A check runs the library without the patch, and returns whether it still fails. When it no longer does, the test fails and the patch goes.
What Keras lacks for several workers is in tests/distribution/test_multiworker.py, with its own check.
"""

import importlib
import inspect
import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper

from tlkeras.export import quantize
from tlkeras.registry import load_function
from tlkeras.weights import compat

NOT_REPORTED = "ot reported upstream"


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One patch.

    Args:
        name: what it is for.
        where: `"module:name"` of the patch.
        issue: its report upstream, as its comment names it.
        still_fails: whether the library fails without it.
    """

    name: str
    where: str
    issue: str
    still_fails: Callable[[], bool]


# === KerasHub: layers that cannot be read back ===

HUB = "keras_hub.src.models"
CONFIGURED = {
    "vit.vit_layers:ViTPatchingAndEmbedding": {"image_size": (32, 32), "patch_size": (8, 8), "hidden_dim": 8, "use_patch_bias": False},
    "vit.vit_layers:ViTEncoderBlock": {"num_heads": 2, "hidden_dim": 8, "mlp_dim": 16, "dropout_rate": 0.25},
    "deit.deit_layers:DeiTEmbeddings": {"image_size": (32, 32), "patch_size": (8, 8), "hidden_dim": 8, "dropout_rate": 0.25},
    "mit.mit_layers:HierarchicalTransformerEncoder": {"project_dim": 8, "num_heads": 2, "sr_ratio": 2, "layer_norm_epsilon": 0.25},
    "swin_transformer.swin_transformer_layers:SwinTransformerBlock": {
        "dim": 8,
        "input_resolution": (4, 4),
        "num_heads": 2,
        "window_size": 2,
        "qkv_bias": False,
    },
}


def hub_layer(path: str) -> type:
    return load_function(f"{HUB}.{path}")


def config_is_incomplete(path: str) -> bool:
    kind = hub_layer(path)
    original = inspect.unwrap(kind.get_config)
    layer = kind(**CONFIGURED[path])
    try:
        again = kind.from_config(original(layer))
        return any(original(again)[name] != value for name, value in CONFIGURED[path].items())
    except (TypeError, KeyError, ValueError):
        return True


def t5_layer() -> keras.Layer:
    kind = hub_layer("t5.t5_transformer_layer:T5TransformerLayer")
    sizes = {"hidden_dim": 8, "intermediate_dim": 16, "key_value_dim": 4, "num_heads": 2}
    return kind(is_decoder=False, dropout=0.0, activation="relu", layer_norm_epsilon=1e-6, use_relative_attention_bias=True, **sizes)


def swin_block() -> keras.Layer:
    return hub_layer("swin_transformer.swin_transformer_layers:SwinTransformerBlock")(
        dim=8, input_resolution=(4, 4), num_heads=1, window_size=4
    )


def relative_embedding() -> keras.Layer:
    return hub_layer("deberta_v3.relative_embedding:RelativeEmbedding")(hidden_dim=8, bucket_size=2)


def patch_merging() -> keras.Layer:
    return hub_layer("swin_transformer.swin_transformer_layers:PatchMerging")(dim=8)


def overlapping_patches() -> keras.Layer:
    return hub_layer("mit.mit_layers:OverlappingPatchingAndEmbedding")(project_dim=8)


def is_not_read_back(layer: Callable[[], keras.Layer], shape: tuple[int | None, ...], **arguments: int) -> bool:
    """Whether a saved model with this layer is not the same when it is read, or only with a warning."""
    compat.complete_configs()  # another patch
    inputs = keras.Input(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = keras.Model(inputs, layer()(inputs, **arguments))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.keras"
        model.save(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                again = keras.saving.load_model(path, compile=False)
        except (UserWarning, ValueError, TypeError):
            return True
    return not all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(model.weights, again.weights, strict=True))


def mask_is_reported_as_lost() -> bool:
    embedded = keras.layers.Embedding(4, 8, mask_zero=True)(np.array([[1, 2, 0]]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", compat.NO_LOSS, UserWarning)
        try:
            t5_layer()(embedded, attention_mask=np.ones((1, 3, 3), "int32"))
        except UserWarning:
            return True
    return False


# === keras.applications ===


def efficientnet_is_another_network_from_a_file() -> bool:
    """Whether `weights="imagenet"` adds a layer that `weights=None` does not have."""
    from keras.src.applications import efficientnet

    names: list[str] = []

    class Built(Exception):
        pass

    def built(model: keras.Model, *rest: object) -> None:
        names.extend(layer.name for layer in model.layers)
        raise Built

    sizes = {"include_top": False, "input_shape": (32, 32, 3)}
    without = keras.applications.EfficientNetB0(weights=None, **sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficientnet.file_utils, "get_file", lambda *rest, **more: "file")
        patch.setattr(keras.Model, "load_weights", built)
        with pytest.raises(Built):
            keras.applications.EfficientNetB0(weights="imagenet", **sizes)
    return len(names) != len(without.layers)


# === TFLite ===


def is_refused_by_tflite(function: Callable[[tf.Tensor], tf.Tensor], dtype: tf.DType, shape: tuple[int | None, ...] = (None, 4)) -> bool:
    """Whether the converter, with the operations that LiteRT has, or LiteRT refuses a function of one tensor with a free batch."""
    traced = tf.function(function, input_signature=[tf.TensorSpec(shape, dtype)], autograph=False).get_concrete_function()
    try:
        interpreter = Interpreter(model_content=tf.lite.TFLiteConverter.from_concrete_functions([traced]).convert())
        interpreter.allocate_tensors()
        interpreter.invoke()
    except RuntimeError:
        return True
    except Exception as error:  # the converter raises its own, private class
        if type(error).__name__ == "ConverterError":
            return True
        raise
    return False


def negation_stays_in_floats() -> bool:
    """Whether a function that is quantised to 8 bits negates in floats."""
    signature = [tf.TensorSpec((1, 8), tf.float32)]
    traced = tf.function(lambda x: tf.negative(x * 2), input_signature=signature, autograph=False).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter([[np.linspace(-1, 1, 8).reshape(1, 8).astype("float32")]])
    with quantize.deprecated_interpreter(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # says that inputs have no statistics, although there are examples
        content = converter.convert()
    interpreter = Interpreter(model_content=content)
    types = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    (negation,) = [operation for operation in interpreter._get_ops_details() if operation["op_name"] == "NEG"]
    return types[negation["inputs"][0]] == np.float32


# === ONNX ===


def converted(function: Callable[[tf.Tensor], tf.Tensor], shape: tuple[int | None, ...]) -> onnx.ModelProto:
    import tf2onnx

    traced = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")], autograph=False)
    return tf2onnx.convert.from_function(traced, [tf.TensorSpec(shape, tf.float32, name="x")], opset=18)[0]


def erfc_is_left() -> bool:
    return any(not onnx.defs.has(node.op_type, 18) for node in converted(tf.math.erfc, (2, 4)).graph.node)


def constants_are_written_at_every_step() -> bool:
    """Whether tf2onnx writes a constant into a message more than once."""
    from tf2onnx.graph import Node

    written: list[str] = []
    update = Node.update_proto

    def counted(node, storage=None):
        written.append(node.name if node.is_const() else "")
        update(node, storage)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Node, "update_proto", counted)
        converted(lambda x: x @ tf.ones((3, 3)), (None, 3))
    return max(Counter(name for name in written if name).values()) > 1


def reshapes_are_merged_wrongly() -> bool:
    """Whether tf2onnx drops the first of two Reshape although the second copies a side of what the first gives."""
    import tf2onnx
    from tf2onnx.optimizer import optimize_graph

    shapes = [helper.make_tensor(name, TensorProto.INT64, [3], value) for name, value in (("a", [3, 4, 2]), ("b", [0, 2, 4]))]
    nodes = [helper.make_node("Reshape", ["x", "a"], ["y"], "first"), helper.make_node("Reshape", ["y", "b"], ["z"], "second")]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 12])
    answer = helper.make_tensor_value_info("z", TensorProto.FLOAT, [3, 2, 4])
    proto = helper.make_model(helper.make_graph(nodes, "two", [given], [answer], shapes), opset_imports=[helper.make_opsetid("", 18)])
    graph = tf2onnx.graph.GraphUtil.create_graph_from_onnx_model(proto)
    merged = optimize_graph(graph, catch_errors=False).make_model("merged")
    from onnx.reference import ReferenceEvaluator

    x = np.arange(24, dtype="float32").reshape(2, 12)
    try:
        (z,) = ReferenceEvaluator(merged).run(None, {"x": x})
    except ValueError:
        return True
    return z.shape != (3, 2, 4)


def resize_loses_a_column() -> bool:
    import onnxruntime

    proto = converted(lambda x: tf.image.resize(x, (24, 24)), (1, 37, 37, 1))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    try:
        return session.run(None, {"x": np.zeros((1, 37, 37, 1), "float32")})[0].shape != (1, 24, 24, 1)
    except Exception as error:  # ONNX Runtime raises its own, private classes
        if "onnxruntime" in type(error).__module__:
            return True
        raise


def half_precision_is_not_sorted() -> bool:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = convert_float_to_float16(converted(lambda x: tf.nn.relu(x) * 2.0, (2, 4)), keep_io_types=True)
    try:
        onnx.checker.check_model(half)
    except onnx.checker.ValidationError:
        return True
    return False


# === Grouped convolutions ===


def grouped() -> keras.Model:
    inputs = keras.Input((8, 8, 4))
    return keras.Model(inputs, keras.layers.Conv2D(4, 3, groups=2, bias_initializer="ones")(inputs))


def grouped_convolutions_need_xla() -> bool:
    model = grouped()
    traced = tf.function(lambda x: model(x), autograph=False).get_concrete_function(tf.TensorSpec((2, 8, 8, 4), tf.float32))
    functions = traced.graph.as_graph_def().library.function
    return any("_XlaMustCompile" in function.attr and function.attr["_XlaMustCompile"].b for function in functions)


FUSED = """
import numpy as np, tensorflow as tf
kernel, bias = np.ones((3, 3, 2, 4), "float32"), np.ones(4, "float32")
run = tf.function(lambda x: tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias), autograph=False)
print(run(tf.zeros((2, 8, 8, 4))).shape)
"""


def a_bias_is_fused_into_grouped_convolutions() -> bool:
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run([sys.executable, "-c", FUSED], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "grouped convolutions" in done.stderr, done.stderr[-2000:]
    return done.returncode != 0


COMPAT, REPAIR, ONNX, GRAPH = "tlkeras.weights.compat", "tlkeras.export.repair", "tlkeras.export.onnx_graph", "tlkeras.export.graph"
UNBUILT = {
    relative_embedding: {"shape": (3, 8)},
    t5_layer: {"shape": (3, 8)},
    overlapping_patches: {"shape": (16, 16, 3)},
    swin_block: {"shape": (16, 8)},
    patch_merging: {"shape": (16, 8), "H": 4, "W": 4},
}
PATCHES = [
    *(
        Patch(
            name=f"the configuration of {path.partition(':')[2]}",
            where=f"{COMPAT}:complete_configs",
            issue=NOT_REPORTED,
            still_fails=partial(config_is_incomplete, path),
        )
        for path in CONFIGURED
    ),
    *(
        Patch(
            name=f"the build of {layer.__name__}",
            where=f"{COMPAT}:buildable_layers",
            issue="keras-team/keras#23018",
            still_fails=partial(is_not_read_back, layer, **values),
        )
        for layer, values in UNBUILT.items()
    ),
    Patch(
        name="the mask of T5",
        where=f"{COMPAT}:ignore_mask_warning",
        issue="keras-team/keras-hub#2141",
        still_fails=mask_is_reported_as_lost,
    ),
    Patch(
        name="the input of EfficientNet V1",
        where="tlkeras.backbones.loaders:_run_again",
        issue="tensorflow/tensorflow#49930",
        still_fails=efficientnet_is_another_network_from_a_file,
    ),
    *(
        Patch(
            name=f"{function.__name__} of int64 in TFLite",
            where=f"{REPAIR}:_through_float32",
            issue=NOT_REPORTED,
            still_fails=partial(is_refused_by_tflite, function, tf.int64),
        )
        for function in (tf.abs, tf.sign)
    ),
    Patch(
        name="Roll in TFLite",
        where=f"{REPAIR}:_as_slices",
        issue="tensorflow/tensorflow#51459",
        still_fails=partial(is_refused_by_tflite, lambda x: tf.roll(x * 2, 1, 1), tf.float32),
    ),
    Patch(
        name="slices that add axes in TFLite",
        where=f"{REPAIR}:_expand",
        issue="tensorflow/tensorflow#63025",
        still_fails=partial(is_refused_by_tflite, lambda x: x[:, None, :], tf.int32, (None, None)),
    ),
    Patch(
        name="Neg of 8 bits in TFLite",
        where=f"{REPAIR}:_times_minus_one",
        issue="tensorflow/tensorflow#39014",
        still_fails=negation_stays_in_floats,
    ),
    Patch(name="Erfc in ONNX", where=f"{ONNX}:_erfc", issue="onnx/tensorflow-onnx#2463", still_fails=erfc_is_left),
    Patch(
        name="two Reshape in ONNX",
        where=f"{ONNX}:_reshapes_kept",
        issue=NOT_REPORTED,
        still_fails=reshapes_are_merged_wrongly,
    ),
    Patch(
        name="weights that are copied in ONNX",
        where=f"{ONNX}:_in_place",
        issue=NOT_REPORTED,
        still_fails=constants_are_written_at_every_step,
    ),
    Patch(name="the size of Resize in ONNX", where=f"{ONNX}:_round_up_scales", issue="onnx/onnx#4919", still_fails=resize_loses_a_column),
    Patch(
        name="the order of casts to float16 in ONNX",
        where=f"{ONNX}:_fp16",
        issue="microsoft/onnxconverter-common#240",
        still_fails=half_precision_is_not_sorted,
    ),
    Patch(
        name="XLA of grouped convolutions",
        where=f"{GRAPH}:no_xla",
        issue="keras-team/keras#18180",
        still_fails=grouped_convolutions_need_xla,
    ),
    Patch(
        name="the bias of grouped convolutions",
        where=f"{GRAPH}:no_xla",
        issue="tensorflow/tensorflow#53631",
        still_fails=a_bias_is_fused_into_grouped_convolutions,
    ),
]


SLOW = (a_bias_is_fused_into_grouped_convolutions,)  # in a process of its own


@pytest.mark.parametrize(
    "patch", [pytest.param(one, id=one.name, marks=pytest.mark.slow if one.still_fails in SLOW else ()) for one in PATCHES]
)
def test_the_library_still_needs_the_patch(patch):
    assert patch.still_fails(), f"remove the patch {patch.where} for {patch.name}: the library works without it; see {patch.issue}"


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_patch_names_its_report_upstream(patch):
    module, _, name = patch.where.partition(":")
    loaded = importlib.import_module(module)
    assert hasattr(loaded, name) and patch.issue in inspect.getsource(loaded)
