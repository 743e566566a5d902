"""SavedModel for TensorFlow Serving: encoded images or texts in; scores and what they mean out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tlkeras.export.graph import Graph, check_not_random
from tlkeras.export.options import SavedModelOptions
from tlkeras.export.spec import FEATURES, SCORES, ExportSpec, Interface


def write(graph: Graph, path: Path, options: SavedModelOptions) -> None:
    """Writes a folder that TensorFlow loads without Keras and without tlkeras.

    Signatures: `predict_tensor` accepts the raw tensors. If the spec can decode images or tokenise texts, `serving_default`
    accepts `image_bytes` or `text`, and `embed` returns `features`; else `serving_default` accepts the tensors too. If the spec tells known
    examples from others, `embed_tensor` returns scores and features of the raw tensors, of which that can be told.
    """
    check_not_random(graph.predict_tensor.graph.as_graph_def())
    tensors = _from_tensors(graph)
    signatures: dict[str, Any] = {"predict_tensor": tensors}
    if graph.spec.known is not None and graph.spec.features_layer:
        signatures["embed_tensor"] = _from_tensors(graph, (FEATURES,))
    if graph.spec.decode is None and graph.spec.tokenise is None:
        signatures["serving_default"] = tensors
    else:
        input_spec, answer = (TEXT, _from_text(graph)) if graph.spec.decode is None else (BYTES, _from_bytes(graph))
        signatures["serving_default"] = _signature(input_spec, lambda out: {name: out[name] for name in out if name != FEATURES}, answer)
        if graph.spec.features_layer:
            signatures["embed"] = _signature(
                input_spec, lambda out: {name: out[name] for name in (FEATURES, STATUS) if name in out}, answer
            )
    strip = tf.saved_model.SaveOptions(experimental_debug_stripper=True)
    module = tf.Module()
    module.weights, module.tracked = graph.module.weights, list(graph.spec.tracked)  # converters do not support the second
    module.saved_models = getattr(graph.module, "saved_models", [])
    tf.saved_model.save(module, str(path), signatures=signatures, options=strip)


# The suffix of `image_bytes` makes TF Serving's REST API accept base64.
BYTES = tf.TensorSpec((None,), tf.string, name="image_bytes")
TEXT = tf.TensorSpec((None,), tf.string, name="text")
KNOWN = "known"
STATUS, OK, UNREADABLE = "status", "ok", "not an image that can be decoded"


def _from_tensors(graph: Graph, further: Sequence[str] = ()) -> Any:
    """Returns the traced raw-tensor function, which also answers an empty batch, with an empty result; with further outputs of the network."""
    names = [one.name for one in graph.inputs]

    def predict_tensor(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.shape(tensors[0])[0]
        out = graph.network(*(_never_empty(one) for one in tensors))
        return {name: out[name][:count] for name in (*graph.output_names, *further)}

    signature = [tf.TensorSpec(t.shape, t.dtype, name=name) for t, name in zip(graph.inputs, names, strict=True)]
    return tf.function(predict_tensor, input_signature=signature, autograph=False).get_concrete_function()


def _never_empty(batch: tf.Tensor) -> tf.Tensor:
    """Returns the batch, or one example of zeros where it is empty: oneDNN's convolutions crash on empty batches."""
    shape = tf.shape(batch)
    filler = tf.zeros(tf.concat([[tf.cast(tf.equal(shape[0], 0), tf.int32)], shape[1:]], 0), batch.dtype)
    full = tf.concat([batch, filler], 0)
    full.set_shape(batch.shape)
    return full


def _from_bytes(graph: Graph) -> Any:
    """Returns a traced function, encoded images -> all outputs: traced once, called by several signatures."""
    (image,) = graph.inputs

    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images, readable = _decode(image_bytes, graph.spec.decode, image.shape[1:])
        count = tf.shape(image_bytes)[0]
        out = graph.network(tf.cast(_never_empty(images), image.dtype))
        out = {name: _blank(value[:count], readable) for name, value in out.items()}
        return {**out, **_named(graph, out, readable), STATUS: tf.where(readable, OK, UNREADABLE)}

    return tf.function(serve, input_signature=[BYTES], autograph=False).get_concrete_function()


def _from_text(graph: Graph) -> Any:
    """Returns a traced function, texts -> all outputs: traced once, called by several signatures."""

    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.shape(text)[0]
        never_empty = tf.concat([text, tf.fill([tf.cast(tf.equal(count, 0), tf.int32)], "")], 0)
        out = {name: value[:count] for name, value in graph.network(graph.spec.tokenise(never_empty)).items()}  # type: ignore[misc]
        return {**out, **_named(graph, out, tf.ones_like(text, tf.bool))}

    return tf.function(serve, input_signature=[TEXT], autograph=False).get_concrete_function()


def _decode(image_bytes: tf.Tensor, decode: Any, shape: tuple[int | None, ...]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns images (n, …) uint8 and which could be decoded (n,): one damaged image must not fail the others.

    A graph has no `try`; what it has is a data set that leaves out the elements whose work fails.
    """
    count = tf.size(image_bytes, out_type=tf.int64)
    decodings = tf.data.Dataset.from_tensor_slices(image_bytes).enumerate()
    decodings = decodings.map(lambda index, content: (index, tf.ensure_shape(decode(content), shape)), num_parallel_calls=DECODERS)
    # A last element of zeros, at the place after the last: nothing to read is no special case then.
    last = tf.data.Dataset.from_tensors((count, tf.zeros(shape, tf.uint8)))
    places, decoded = decodings.ignore_errors(log_warning=False).concatenate(last).batch(count + 1).get_single_element()
    places = places[:, tf.newaxis]
    blank = tf.zeros(tf.concat([count[tf.newaxis] + 1, tf.constant(shape, tf.int64)], 0), tf.uint8)
    images = tf.tensor_scatter_nd_update(blank, places, decoded)[:-1]
    readable = tf.scatter_nd(places, tf.ones_like(places[:, 0], tf.int32), count[tf.newaxis] + 1)[:-1] > 0
    return tf.ensure_shape(images, (None, *shape)), readable


DECODERS = 4  # images of one request that are decoded at a time


def _blank(values: tf.Tensor, readable: tf.Tensor) -> tf.Tensor:
    """Puts zeros where no image was."""
    mask = tf.reshape(readable, tf.concat([tf.shape(readable), tf.ones(tf.rank(values) - 1, tf.int32)], 0))
    return tf.where(mask, values, tf.zeros_like(values))


def _signature(input_spec: tf.TensorSpec, pick: Any, answer: Any) -> Any:
    return tf.function(lambda encoded: pick(answer(encoded)), input_signature=[input_spec], autograph=False)


def _named(graph: Graph, out: Mapping[str, tf.Tensor], readable: tf.Tensor) -> Mapping[str, tf.Tensor]:
    """Returns what the spec adds to the scores, such as labels, and whether examples are known."""
    return added(graph.spec, out[SCORES], out.get(FEATURES), readable)


def added(spec: ExportSpec | Interface, scores: tf.Tensor, features: tf.Tensor | None, readable: tf.Tensor) -> Mapping[str, tf.Tensor]:
    """Returns what a SavedModel answers beside its scores, by name."""
    named = spec.signature(scores, readable) if spec.signature else {}
    if spec.known is None:
        return named
    return {**named, KNOWN: tf.where(readable, tf.cast(spec.known(scores, features), tf.int64), -1)}
