"""SavedModel for TensorFlow Serving: encoded pictures in; label, scores and class id out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from tlkeras.export.graph import FEATURES, SCORES, Graph, check_not_random
from tlkeras.export.options import SavedModelOptions


def write(graph: Graph, path: Path, options: SavedModelOptions) -> None:
    """Writes a folder that TensorFlow loads without Keras and without tlkeras.

    Signatures: `predict_tensor` takes the raw tensors; where the spec can decode pictures, `serving_default` takes
    `image_bytes` and `embed` gives `features`; else `serving_default` takes the tensors too.
    """
    check_not_random(graph.predict_tensor.graph.as_graph_def())
    signatures: dict[str, Any] = {"predict_tensor": graph.predict_tensor}
    if graph.spec.decode is None:
        signatures["serving_default"] = graph.predict_tensor
    else:
        answer = _from_bytes(graph)
        signatures["serving_default"] = _signature(lambda out: {SCORES: out[SCORES], **_names(graph, out[SCORES])}, answer)
        if graph.spec.features_layer:
            signatures["embed"] = _signature(lambda out: {FEATURES: out[FEATURES]}, answer)
    strip = tf.saved_model.SaveOptions(experimental_debug_stripper=True)
    tf.saved_model.save(graph.module, str(path), signatures=signatures, options=strip)


# The suffix of `image_bytes` makes TF Serving's REST API take base64.
BYTES = tf.TensorSpec((None,), tf.string, name="image_bytes")


def _from_bytes(graph: Graph) -> Any:
    """Returns a traced function, encoded pictures -> all outputs: traced once, called by several signatures."""
    (image,) = graph.inputs
    decode = graph.spec.decode
    picture = tf.TensorSpec(image.shape[1:], tf.uint8)

    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(decode, image_bytes, fn_output_signature=picture)  # (n,) -> (n, size, size, 3)
        return graph.network(tf.cast(images, image.dtype))

    return tf.function(serve, input_signature=[BYTES], autograph=False).get_concrete_function()


def _signature(pick: Any, answer: Any) -> Any:
    return tf.function(lambda image_bytes: pick(answer(image_bytes)), input_signature=[BYTES], autograph=False)


def _names(graph: Graph, scores: tf.Tensor) -> dict[str, tf.Tensor]:
    if graph.spec.labels is None:
        return {}
    class_id = tf.argmax(scores, axis=-1, output_type=tf.int64)
    return {"class_id": class_id, "label": tf.gather(tf.constant(graph.spec.labels), class_id)}
