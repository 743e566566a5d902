"""TensorFlow's own server on a published zoo, where its program is installed; the other tests of serving need none."""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from tests.helpers import pictures
from tests.zoo import server_files
from tlkeras.modalities.images import decode
from tlkeras.zoo import serving

SERVER = shutil.which("tensorflow_model_server")
pytestmark = pytest.mark.skipif(SERVER is None, reason="no tensorflow_model_server on PATH")
PATIENCE = 120  # seconds


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A running server, asked by REST."""

    def __init__(self, zoo, folder):
        self.zoo, self.config = zoo, folder / "models.config"
        self.rest, self.grpc = free_port(), free_port()
        self.configure()
        given = [one for one in serving.arguments(str(self.config)) if "poll_wait" not in one]
        given += [f"--rest_api_port={self.rest}", f"--port={self.grpc}", "--model_config_file_poll_wait_seconds=1"]
        self.log = (folder / "server.log").open("w")
        self.process = subprocess.Popen([SERVER, *given], stdout=self.log, stderr=subprocess.STDOUT)

    def configure(self):
        self.config.write_text(serving.models_config(self.zoo).replace(serving.MODELS, str(self.zoo.root)), encoding="utf-8")

    def predict(self, content, place="colours"):
        body = server_files.rest_body(content).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/v1/models/{place}:predict", data=body, timeout=30) as answer:
            return json.load(answer)["predictions"]

    def wait(self, place="colours"):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self.predict([decode.encode_png(np.zeros((32, 32, 3), "uint8"))], place)
            except (OSError, urllib.error.URLError):
                assert self.process.poll() is None and time.monotonic() < end, self.log.name
                time.sleep(0.2)


@pytest.fixture
def server(published, tmp_path):
    zoo, _ = published
    shutil.copytree(zoo.root, tmp_path / "zoo")
    one = Server(type(zoo)(tmp_path / "zoo"), tmp_path)
    yield one
    one.process.terminate()
    one.process.wait(30)


def test_rest_and_grpc_answer_as_the_entry_does(server):
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from tlkeras.zoo import load

    server.wait()
    content = [decode.encode_png(one) for one in pictures(5, size=32)[0]]
    expected = [one.label for one in load("colours", root=server.zoo.root).predict(content)]
    assert [one["label"] for one in server.predict(content)] == expected
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "colours"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(content))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(f"127.0.0.1:{server.grpc}"))
    answer = stub.Predict(request, timeout=30)
    assert [one.decode() for one in tf.make_ndarray(answer.outputs["label"])] == expected


def test_a_damaged_picture_fails_alone(server):
    server.wait()
    content = [decode.encode_png(one) for one in pictures(3, size=32)[0]]
    answers = server.predict([content[0], b"no picture", content[2]])
    assert [one["status"] == "ok" for one in answers] == [True, False, True]


def test_a_new_version_takes_over_under_load_without_one_failed_request(server):
    server.wait()
    content = [decode.encode_png(one) for one in pictures(2, size=32)[0]]
    failures, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                server.predict(content)
            except Exception as error:  # whatever a client would see
                failures.append(error)

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for one in callers:
        one.start()
    shutil.copytree(server.zoo.root / "colours" / "1", server.zoo.root / "colours" / ".2")
    (server.zoo.root / "colours" / ".2").rename(server.zoo.root / "colours" / "2")
    server.configure()
    server.wait("colours/versions/2")
    stop.set()
    for one in callers:
        one.join()
    assert not failures
