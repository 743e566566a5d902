"""Around a model that tlkeras did not write: a free batch size, the scaling of pixels, probabilities instead of logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import keras
from tensorflow.saved_model.experimental import TrackableResource

from tlkeras.config import ExportModelConfig
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError, ExportError, reason
from tlkeras.export.graph import Graph
from tlkeras.export.spec import ExportSpec
from tlkeras.jobs.foreign_inputs import channels_of, functional, random_inputs, size_of
from tlkeras.jobs.saved_model_layers import saved_models
from tlkeras.modalities.images import decode
from tlkeras.progress import Reporter
from tlkeras.registry import load_function
from tlkeras.tasks.registry import DEFAULT, TASKS

RANGES = {"0-255": None, "0-1": (1 / 255, 0.0), "-1-1": (1 / 127.5, -1.0)}


def with_free_batch(model: keras.Model) -> keras.Model:
    """Returns the model with a free batch size, where it was built for batches of one size."""
    if not getattr(model, "inputs", None):  # refused when it is traced
        return model
    inputs = keras.tree.flatten(model.inputs)
    if all(one.shape[0] is None for one in inputs):
        return model
    free = [keras.Input(one.shape[1:], dtype=one.dtype, name=one.name) for one in inputs]
    try:
        freed = keras.Model(free, model(keras.tree.pack_sequence_as(functional(model)._inputs_struct, free)), name=model.name)
        for count in (1, 3):  # layers that hold the size fail, or give another number of answers
            answers = keras.tree.flatten(freed([random_inputs(tensor, model)[:count] for tensor in free], training=False))
            if any(len(answer) != count for answer in answers):
                raise ValueError(f"{count} examples got {len(answers[0])} answers")
        return freed
    except Exception as error:  # layers raise many kinds
        raise ExportError(
            f"the model is built for batches of exactly {inputs[0].shape[0]}, and not all of its layers accept others ({reason(error)}); "
            "build it with a free batch size"
        ) from error


# A first operation of these prepares pixels for the others.
SCALING = ("Rescaling", "Normalization", "BatchNormalization", "TrueDivide", "Divide", "Multiply", "Subtract", "Lambda")


def takes_raw_images(model: keras.Model) -> bool:
    """Whether a model accepts float images and no layer before its first weights scales them."""
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[3] not in (1, 3) or not inputs[0].dtype.startswith("float"):
        return False
    for operation in _operations(model):
        if type(operation).__name__ in SCALING:
            return False
        if getattr(operation, "weights", []):
            return not saved_models(model)
    return False


def _operations(model: keras.Model) -> Iterator[Any]:
    """Yields layers and operations in the order of the graph, those of inner models among them."""
    for operation in getattr(functional(model), "operations", model.layers):
        if isinstance(operation, keras.Model):
            yield from _operations(operation)
        else:
            yield operation


def with_contract(model: keras.Model, input_range: str) -> keras.Model:
    """Puts the scaling of pixels into the model, where it expects another range than 0-255."""
    scaling = RANGES[input_range]
    if scaling is None:
        return model
    inputs = keras.tree.flatten(model.inputs)
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ConfigError(
            f"input_range {input_range} is for models of one image; this one has {len(inputs)} inputs, the first {inputs[0].shape}"
        )
    image = keras.Input(inputs[0].shape[1:], name="image")
    scaled = keras.layers.Rescaling(scaling[0], offset=scaling[1], name="to_range")(image)
    return keras.Model(image, model(scaled), name=model.name)


def as_classifier(model: keras.Model, config: ExportModelConfig, reporter: Reporter) -> keras.Model:
    """Makes the scores of a model with labels probabilities, one for each label."""
    if config.labels is None or not getattr(model, "outputs", None):
        return model
    outputs, count = keras.tree.flatten(model.outputs), len(config.labels)
    _check_labels(outputs, count)
    activation = _activation(model, config, reporter)
    if activation == "none" and outputs[0].shape[-1] == count:
        return model
    scores = (
        keras.layers.Activation(activation, name="to_probabilities", dtype="float32")(outputs[0]) if activation != "none" else outputs[0]
    )
    if outputs[0].shape[-1] != count:
        scores = keras.layers.Concatenate(name="two_classes")(
            [keras.layers.Rescaling(-1.0, offset=1.0, name="first_class")(scores), scores]
        )
        first, second = tuple(config.labels)
        reporter.say(f"one output for two labels: its value p is the score of {second!r}, 1 - p that of {first!r}")
    return keras.Model(functional(model)._inputs_struct, scores, name=model.name)


def _check_labels(outputs: Sequence[Any], count: int) -> None:
    """Refuses labels that do not fit the outputs; one output stands for two labels."""
    shapes = ", ".join(str(one.shape) for one in outputs)
    if len(outputs) != 1:
        raise ConfigError(f"{count} labels for outputs of shape {shapes}; expected one output of shape (None, {count})")
    if outputs[0].shape[-1] == 1 and count != 2:
        raise ConfigError(f"{count} labels for one output of shape {shapes}: it is the probability of the second of two labels; pass two")
    if outputs[0].shape[-1] not in (1, count):
        raise ConfigError(f"{count} labels for outputs of shape {shapes}; expected one for each class")


def _activation(model: keras.Model, config: ExportModelConfig, reporter: Reporter) -> str:
    """Returns which activation to add: the one asked for, or what makes logits probabilities."""
    width = keras.tree.flatten(model.outputs)[0].shape[-1]
    if config.activation == "softmax" and width == 1:
        raise ConfigError("activation softmax over one output is always 1; expected sigmoid")
    if config.activation != "auto":
        return config.activation
    if not _gives_logits(model):
        return "none"
    added = "sigmoid" if width == 1 else "softmax"
    reporter.say(f"the model outputs logits: added {added}, so that its scores are probabilities (--activation none leaves it out)")
    return added


PROBABILITIES = ("softmax", "sigmoid", "hard_sigmoid", "sparsemax", "sparse_sigmoid")  # activations whose values lie from 0 to 1
PASSING = ("Flatten", "Reshape", "Identity", "Dropout", "Activation", "Rescaling", "Cast")  # what may stand behind the last layer


def _gives_logits(model: keras.Model) -> bool:
    """Whether the scores of a model are logits, according to its last layer or, if that is inconclusive, its answers."""
    logits = _ends_in_logits(keras.tree.flatten(model.outputs)[0])
    if logits is not None:
        return logits
    graph = Graph(model, ExportSpec())
    graph.module.saved_models = saved_models(model)
    feeds = [keras.ops.convert_to_tensor(random_inputs(tensor, model)) for tensor in graph.inputs]
    scores = next(iter(graph.network(*feeds).values())).numpy()
    return bool(scores.min() < -1e-3 or scores.max() > 1 + 1e-3)


def _ends_in_logits(output: Any) -> bool | None:
    """Whether the last layer that computes gives other values than probabilities; None for a function that Keras does not have."""
    while True:
        operation = output._keras_history.operation
        name, activation = type(operation).__name__, getattr(operation, "activation", None)
        inner = functional(operation) if isinstance(operation, keras.Model) else None
        if inner is not None and hasattr(inner, "_outputs_struct"):
            output = keras.tree.flatten(inner._outputs_struct)[0]
        elif name in ("Softmax", "Sigmoid"):
            return False
        elif activation is not None and activation is not keras.activations.linear:
            name = getattr(activation, "__name__", "")
            known = getattr(keras.activations, name, None) is activation
            return name not in PROBABILITIES if known else None
        elif name in PASSING and name != "Rescaling":
            inputs = operation._inbound_nodes[output._keras_history.node_index].input_tensors
            output = inputs[0]
        else:
            return True if isinstance(operation, keras.layers.Dense | keras.layers.Conv2D | keras.layers.Conv1D) else None


def spec_of(model: keras.Model, config: ExportModelConfig) -> ExportSpec:
    labels = None if config.labels is None else tuple(config.labels)
    size, channels = size_of(model), channels_of(model)
    metadata = {"name": model.name, "resize": config.resize} | ({"image_size": decode.size_text(size)} if size else {})
    metadata |= {"channels": str(channels)} if size and channels != 3 else {}
    decoder = partial(decode.decode_and_resize, size=size, resize=config.resize, channels=channels) if size and labels is not None else None
    spec = ExportSpec(labels=labels, decode=decoder, tracked=_resources(model), metadata=metadata)
    return spec if labels is None else _of_task(spec, labels)


def _of_task(spec: ExportSpec, labels: tuple[str, ...]) -> ExportSpec:
    """Adds how the scores of labels are judged, and what the SavedModel says of them."""
    task = TASKS.get(DEFAULT)
    target = Target(kind=task.target, labels=labels)
    judge, signature = (partial(load_function(name), target=target) for name in (task.judge, task.signature))
    return dataclasses.replace(spec, judge=judge, signature=signature)


def _resources(model: keras.Model) -> list[Any]:
    """Returns the lookup tables of a model's layers, which a SavedModel must hold."""
    resources = [value for layer in getattr(model, "_flatten_layers", list)() for value in vars(layer).values()]
    return [value for value in resources if isinstance(value, TrackableResource)]
