"""What several export tests share."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import layers

from tlkeras.data.target import Target
from tlkeras.export.export import export
from tlkeras.export.parity import Samples
from tlkeras.export.spec import ExportSpec
from tlkeras.modalities.images import decode
from tlkeras.tasks import classification
from tlkeras.tasks.registry import TARGET

FORMATS = ("saved_model", "tflite", "onnx")
LABELS = ("ant", "bée", "蜂")


def images(n=4, size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (n, size, size, 3)).astype("float32")


def conv_net(size=16, classes=3, augmentation=False):
    inputs = x = keras.Input((size, size, 3), name="image")
    if augmentation:
        x = layers.RandomFlip()(x)
        x = layers.RandomRotation(0.2)(x)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = layers.Conv2D(16, 3, name="conv")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    model = keras.Model(inputs, layers.Dense(classes, activation="softmax", name="dense")(x))
    calibrate(model)
    return model


def calibrate(model, seed=1):
    """Gives BatchNorm statistics as of a trained network, so that outputs are not degenerate."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.05, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.moving_variance.shape))


def classifier(labels):
    """Returns what an `ExportSpec` of a classifier has."""
    return {
        "labels": labels,
        "judge": classification.judge,
        "signature": partial(classification.signature, target=Target(kind="class", labels=labels)),
    }


def spec(size=16, features=True, **options):
    decoder = partial(decode.decode_and_resize, size=size)
    return ExportSpec(**classifier(LABELS), decode=decoder, features_layer="features" if features else None, **options)


def picture_samples(n=4, size=16):
    x = images(n, size)
    return Samples(
        inputs={"image": x},
        encoded=[decode.encode_png(one.astype("uint8")) for one in x],
        score_inputs=x,
        score_targets={TARGET: np.zeros(n, int)},
    )


def export_all(model, folder, size=16, formats=FORMATS, **options):
    return export(model, spec(size), folder, picture_samples(size=size), formats=formats, **options)


def graph_ops(saved_model):
    """Returns all operations of a SavedModel, those of its functions too."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    graph = proto.meta_graphs[0].graph_def
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def weight_bytes(model):
    return sum(v.numpy().nbytes for v in model.variables)


def answered_by_mediapipe(path, images, **options):
    """Returns label -> score for each image, as MediaPipe's classifier answers it."""
    mediapipe = pytest.importorskip("mediapipe", reason="MediaPipe is in the extra `test`")
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=str(path)), **options)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        results = [
            classifier.classify(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)))
            for image in images
        ]
    return [{one.category_name: one.score for one in result.classifications[0].categories} for result in results]
