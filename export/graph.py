"""A Keras model traced once, for inference, as the graph that every format is made of."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tlkeras.errors import ExportError, UnsupportedOps, reason
from tlkeras.export.spec import FEATURES, SCORES, ExportSpec, Interface, Tensor
from tlkeras.startup import tensor_float32

RANDOM = re.compile(r"Random(?!Dataset)|Multinomial|TruncatedNormal|StatelessDropout|RngReadAndSkip")
TEXTS = re.compile(r"\w*LookupTable\w*|String(Split|Lower|Upper|Strip|Join|ToHash|ToNumber|Format|Length)\w*|(Static)?Regex\w+|Unicode\w+")
AUTOMATIC = re.compile(r"(keras_tensor|input_layer)(_\d+)?")  # Keras counts these up: another name in every process
CONTROL = {"Enter", "Merge"}  # of loops and branches in a frozen graph


class Graph:
    """The traced model.

    Args:
        model: what is exported; it is not changed. Mixed precision is exported as its float32 twin.
        spec: what is known beside it.
    """

    def __init__(self, model: keras.Model, spec: ExportSpec):
        self.spec = spec
        self.model = _functional(float32_twin(model) if is_mixed(model) else model)
        self.module = tf.Module()
        # Each variable once: Keras' own export() stores them twice.
        self.module.weights = [v.value for v in self.model.variables]

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs of the model, by name; inputs without a name of their own are `input` or `input_0`, `input_1`, …"""
        tensors = list(keras.tree.flatten(self.model.inputs))
        names = [_clean(t.name) for t in tensors]
        if len(set(names)) < len(names) or any(AUTOMATIC.fullmatch(name) for name in names):
            names = ["input"] if len(names) == 1 else [f"input_{i}" for i in range(len(names))]
        return tuple(Tensor(name=name, shape=tuple(t.shape), dtype=t.dtype) for name, t in zip(names, tensors, strict=True))

    @property
    def interface(self) -> Interface:
        """The inputs and outputs of the model."""
        spec = self.spec
        return Interface(
            inputs=self.inputs,
            output_names=tuple(self.output_names),
            labels=spec.labels,
            judge=spec.judge,
            signature=spec.signature,
            known=spec.known,
        )

    def pack(self, tensors: Sequence[Any]) -> Any:
        """Returns tensors, in the order of `inputs`, in the structure the model was built with."""
        return keras.tree.pack_sequence_as(self.model._inputs_struct, list(tensors))

    @cached_property
    def network(self) -> tf.types.experimental.ConcreteFunction:
        """All inputs, positionally -> dictionary of outputs (and `features` where there is such a layer)."""
        model, names = self.with_features

        def call(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            return dict(zip(names, keras.tree.flatten(model(self.pack(tensors), training=False)), strict=True))

        signature = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in self.inputs]
        with no_xla():
            return tf.function(call, input_signature=signature, autograph=False).get_concrete_function()

    @cached_property
    def with_features(self) -> tuple[keras.Model, list[str]]:
        """The Keras model that also gives `features` where there is such a layer, and the names of what it gives."""
        names = self.output_names
        if self.spec.features_layer is None:
            return self.model, names
        features = self.model.get_layer(self.spec.features_layer).output
        both = keras.Model(self.model._inputs_struct, [*keras.tree.flatten(self.model.outputs), features])
        return both, [*names, FEATURES]

    @cached_property
    def output_names(self) -> list[str]:
        """`scores` for a single output; else the keys of a dictionary of outputs, or the names of the layers."""
        outputs = keras.tree.flatten(self.model.outputs)
        structure = self.model._outputs_struct
        if len(outputs) == 1:
            return [SCORES]
        named = sorted(structure) if isinstance(structure, dict) else list(self.model.output_names)
        named = [_clean(name) for name in named]
        return named if len(set(named)) == len(outputs) else [f"output_{i}" for i in range(len(outputs))]

    @cached_property
    def text_operations(self) -> list[str]:
        """The operations that work on texts or look words up, which only TensorFlow has."""
        proto = self.network.graph.as_graph_def()
        nodes = [*proto.node, *(node for function in proto.library.function for node in function.node_def)]
        return sorted(
            {node.op for node in nodes if TEXTS.fullmatch(node.op)} | {"string input" for one in self.inputs if one.dtype == "string"}
        )

    @cached_property
    def predict_tensor(self) -> tf.types.experimental.ConcreteFunction:
        """The raw tensors, by name -> the model's outputs, by name."""

        def predict_tensor(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            out = self.network(*tensors)
            return {name: tf.identity(out[name], name=name) for name in self.output_names}

        signature = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in self.inputs]
        return tf.function(predict_tensor, input_signature=signature, autograph=False).get_concrete_function()

    @cached_property
    def frozen(self) -> tf.types.experimental.ConcreteFunction:
        """`predict_tensor` with the weights as constants and without functions inside."""
        function = convert_variables_to_constants_v2(self.predict_tensor)
        check_not_random(function.graph.as_graph_def())
        return function

    @cached_property
    def constant(self) -> tf.types.experimental.ConcreteFunction:
        """`predict_tensor` with the weights as constants where that keeps it as it is; itself where it has loops or branches.

        Without variables a converter has half the work.
        """
        proto = self.frozen.graph.as_graph_def()
        if proto.library.function or any(node.op in CONTROL for node in proto.node):
            return self.predict_tensor
        return self.named(self.frozen)

    def named(self, function: Any) -> tf.types.experimental.ConcreteFunction:
        """Returns a function of tensors by position, whose outputs are a list in the order of `frozen`, as one by name."""
        names = sorted(self.output_names)

        def named(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            return dict(zip(names, function(*tensors), strict=True))

        signature = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in self.inputs]
        return tf.function(named, input_signature=signature, autograph=False).get_concrete_function()

    @contextmanager
    def plain_saved_model(self, function: tf.types.experimental.ConcreteFunction) -> Iterator[Path]:
        """Yields a SavedModel with the one signature `serving_default` of tensors, for converters."""
        module = self.module if any(tensor.dtype == tf.resource for tensor in function.captured_inputs) else tf.Module()
        with tempfile.TemporaryDirectory() as folder:
            # Converters need no gradients, and those of some activations refer to what is a constant here.
            plain = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
            tf.saved_model.save(module, folder, signatures={"serving_default": function}, options=plain)
            yield Path(folder)


def _functional(model: keras.Model) -> keras.Model:
    """Returns the model as one with symbolic inputs: a Sequential keeps its functional form inside."""
    inner = getattr(model, "_functional", model)
    if not hasattr(inner, "_inputs_struct"):
        raise ExportError(f"the model {model.name!r} has no inputs yet; expected a functional model, or a Sequential with an Input layer")
    return inner


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name.split(":")[0])


@contextmanager
def no_xla() -> Iterator[None]:
    """Makes grouped convolutions run everywhere while a model is traced.

    Keras wraps them in `tf.function(jit_compile=True)` (keras-team/keras#18180); the attribute would stay in the graph, where TF Serving refuses
    it and the converters leave a call that no runtime has. So they are traced in place. TensorFlow runs them without XLA, but where oneDNN is
    off (processors without AVX-512, builds without it) not once `BiasAdd` is fused into them (tensorflow/tensorflow#53631); an addition is
    not fused.
    """
    function, bias_add = tf.function, tf.nn.bias_add

    def plain(*args: Any, **kwargs: Any) -> Any:
        if not kwargs.pop("jit_compile", None):
            return function(*args, **kwargs)
        return args[0] if args else lambda inside: inside

    def unfused(value: Any, bias: Any, *args: Any, **kwargs: Any) -> Any:
        return tf.add(value, bias) if _is_grouped(value) else bias_add(value, bias, *args, **kwargs)

    tf.function, tf.nn.bias_add = plain, unfused
    try:
        yield
    finally:
        tf.function, tf.nn.bias_add = function, bias_add


def _is_grouped(value: tf.Tensor) -> bool:
    """Whether this is what a convolution in groups gives: its kernel has fewer channels than the input."""
    operation = value.op
    return operation.type == "Conv2D" and operation.inputs[0].shape[-1] != operation.inputs[1].shape[2]


def check_not_random(graph: tf.compat.v1.GraphDef) -> None:
    """Raises when the graph uses random numbers: the same request would get different answers."""
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    for node in nodes:
        if RANDOM.search(node.op):
            raise UnsupportedOps(f"the graph uses random numbers ({node.op} in {node.name!r}); move augmentation out of the model")


# === Mixed precision ===


def is_mixed(model: keras.Model) -> bool:
    """Whether any layer computes in less than float32, its weights in float32 (mixed precision) or not."""
    return any(layer.dtype_policy.compute_dtype in ("float16", "bfloat16") for layer in model._flatten_layers())


def precision_gap(model: keras.Model, inputs: np.ndarray) -> float | None:
    """Returns how far a mixed-precision model is from its float32 twin, as the largest difference; None for others."""
    if not is_mixed(model):
        return None
    with tensor_float32(False):
        answers = [np.asarray(one.predict_on_batch(inputs), "float32") for one in (model, float32_twin(model))]
    return float(np.abs(answers[0] - answers[1]).max())


def float32_twin(model: keras.Model) -> keras.Model:
    """Returns the same network, with the same weights, that computes in float32.

    Converters refuse or garble mixed precision: TFLite wants Flex, ONNX Runtime answers off by 0.1.
    """
    config = re.sub(r'"(mixed_)?b?float16"', '"float32"', model.to_json())
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("float32")
        twin = keras.models.model_from_json(config)
    except (TypeError, ValueError) as error:
        raise ExportError(f"cannot rebuild {model.name!r} in float32; register its custom layers with Keras: {reason(error)}") from error
    finally:
        keras.config.set_dtype_policy(policy)
    for ours, theirs in zip(twin.weights, model.weights, strict=True):
        ours.assign(keras.ops.convert_to_numpy(theirs).astype(ours.dtype))  # bfloat16 is no type of NumPy's own
    for layer in twin._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # its call uses copies of its weights
    return twin
