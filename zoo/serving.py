"""What TensorFlow Serving is given beside a SavedModel: warm-up records, `models.config`, a compose file, example calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkeras.errors import ZooError
from tlkeras.zoo.store import Zoo

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"  # where TensorFlow Serving looks
IMAGE = "tensorflow/serving:2.19.1"  # the newest release of the server when this was written
CONFIG, COMPOSE = "models.config", "compose.yaml"
MODELS = "/models"  # the zoo, as the server sees it

# === Warm-up ===

Request = tuple[str, Mapping[str, Any]]  # signature, input name -> array or list of bytes


def write_warmup(folder: Path, requests: Sequence[Request]) -> None:
    """Writes warm-up records: TensorFlow Serving answers them before it calls a version ready.

    Args:
        folder: of the version.
        requests: signature and inputs of each, made from real examples.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    path = folder / WARMUP
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, inputs in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.model_spec.signature_name = signature
            for name, value in inputs.items():
                log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            file.write(log.SerializeToString())


# === The server's configuration ===


def models_config(zoo: Zoo, warn: Callable[[str], None] = lambda text: None) -> str:
    """Returns the `ModelServerConfig` of a zoo: one model per name.

    A name with a promoted version serves that and the newest, labelled `stable` and `canary`; any other serves its newest. One whose
    promoted version cannot be read is left out: which version may be served is not known.

    Args:
        zoo: its entries.
        warn: receives what is left out.
    """
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    for name in zoo.names():
        try:
            newest, stable = zoo.versions(name)[-1], zoo.stable(name)
        except ZooError as error:
            warn(f"{name} is left out of {CONFIG}: {error}; `tlkeras zoo promote {name}` writes it again")
            continue
        model_config = config.model_config_list.config.add(name=name, base_path=f"{MODELS}/{name}", model_platform="tensorflow")
        if stable is None:
            model_config.model_version_policy.latest.num_versions = 1
            continue
        model_config.model_version_policy.specific.versions.extend(sorted({stable, newest}))
        model_config.version_labels["stable"] = stable
        if newest != stable:
            model_config.version_labels["canary"] = newest
    return str(text_format.MessageToString(config, as_utf8=True))


def arguments(config: str = f"{MODELS}/{CONFIG}") -> list[str]:
    """Returns what `tensorflow_model_server` is started with."""
    return [
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=10",  # promote, publish and remove reach a running server
        "--allow_version_labels_for_unavailable_models=true",  # labels are needed before the first version is loaded
    ]


def compose_file() -> str:
    """Returns a `docker compose` file that serves the zoo beside it, on this computer only, read-only."""
    flags = "\n".join(f"      - {one}" for one in arguments())
    return f"""# docker compose up: REST on port 8501, gRPC on port 8500, for this computer only.
services:
  serving:
    image: {IMAGE}
    command:
{flags}
    ports:
      - "127.0.0.1:8500:8500"
      - "127.0.0.1:8501:8501"
    volumes:
      - .:{MODELS}:ro
    read_only: true
    tmpfs: [/tmp]
    restart: unless-stopped
"""


# === Calls, as shown in cards ===


def curl_call(
    name: str,
    version: int | None = None,
    *,
    encoded: str | None = "image_bytes",
    file: str = "image.jpg",
    literal: str | None = None,
) -> str:
    """Returns the shell line that sends an example to a model.

    Args:
        name: of the model.
        version: of it; the one that is served when None.
        encoded: input of the signature that accepts encoded examples, such as `image_bytes`; None for a model of tensors.
        file: to send.
        literal: the example itself, which is sent instead of a file.
    """
    model = f"{name}/versions/{version}" if version else name
    url = f"http://localhost:8501/v1/models/{model}:predict"
    if encoded is None:
        program = f'import json, numpy; print(json.dumps({{"instances": numpy.load("{file}")[None].tolist()}}))'
        return f"python -c '{program}' |\n  curl -s -d @- {url}"
    if literal is not None:
        return f"""curl -s -d '{{"instances": [{{"{encoded}": "{literal}"}}]}}' {url}"""
    body = f"""'{{"instances": [{{"{encoded}": {{"b64": "'"$(base64 < {file} | tr -d '\\n')"'"}}}}]}}'"""
    return f"printf '%s' {body} |\n  curl -s -d @- {url}"


def grpc_call(
    name: str,
    *,
    encoded: str | None = "image_bytes",
    file: str = "image.jpg",
    literal: str | None = None,
    tensor: str = "image",
    label_output: str = "label",
    labelled: bool = True,
) -> str:
    """Returns a Python program that sends an example to a model by gRPC.

    Args:
        name: of the model.
        encoded, file, literal: see `curl_call`.
        tensor: input of a model of tensors.
        label_output: output that is the answer as text, of a model of encoded examples; empty to print every output.
        labelled: whether the scores belong to labels.
    """
    content = f'open("{file}", "rb").read()' if literal is None else f'"{literal}"'
    value = f"[{content}]" if encoded else f'np.load("{file}")[None].astype("float32")'
    if not encoded:
        answer = 'print(tf.make_ndarray(answer.outputs["scores"])[0])' + "  # in the order of labels.txt" * labelled
    elif label_output:
        answer = f'print(tf.make_ndarray(answer.outputs["{label_output}"])[0].decode(), tf.make_ndarray(answer.outputs["scores"])[0].max())'
    else:
        answer = "for name, value in answer.outputs.items():\n    print(name, tf.make_ndarray(value)[0])"
    return f"""import grpc
{"" if encoded else "import numpy as np" + chr(10)}import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

request = predict_pb2.PredictRequest()
request.model_spec.name = "{name}"
request.inputs["{encoded or tensor}"].CopyFrom(tf.make_tensor_proto({value}))
stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel("localhost:8500"))
answer = stub.Predict(request, timeout=10)
{answer}
"""
