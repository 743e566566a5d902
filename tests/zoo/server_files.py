"""Reads what TensorFlow Serving is given, by the types of its API, and asks as its REST API wants."""

import base64
import json

import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from tlkeras.zoo import serving


def read_warmup(folder):
    """Returns the signature and the inputs of each warm-up record of a version folder."""
    requests = []
    for record in tf.data.TFRecordDataset(str(folder / serving.WARMUP)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        requests.append((request.model_spec.signature_name, {name: tf.make_ndarray(one) for name, one in request.inputs.items()}))
    assert requests
    return requests


def parse_models_config(text):
    """Returns the text as a `ModelServerConfig`, or raises where it is none."""
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def rest_body(images):
    """Returns the body of a REST request for encoded images."""
    return json.dumps({"instances": [{"image_bytes": {"b64": base64.b64encode(image).decode()}} for image in images]})
