"""One published entry, every runtime: the same label for every held-out photo."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from tlkeras.config import RunConfig
from tlkeras.export import c_api
from tlkeras.jobs import finetune, publish
from tlkeras.modalities.images import decode
from tlkeras.zoo.store import Zoo

pytestmark = [pytest.mark.slow, pytest.mark.promise]
FORMATS = "saved_model,tflite,onnx"


@pytest.fixture(scope="module")
def entry(shared_data, tmp_path_factory):
    """EfficientNet-Lite0 on ants and bees, published."""
    root = tmp_path_factory.mktemp("everywhere")
    config = RunConfig.from_dict({"data": str(shared_data / "hymenoptera"), "out": str(root / "run"), "export": FORMATS})
    result = finetune.finetune(config)
    return publish.publish(result.run.root, "insects", Zoo(root / "zoo"), data_licence="unknown")


@pytest.fixture(scope="module")
def held_out(shared_data):
    """Encoded held-out photos, and the same as the model's decoder gives them."""
    paths = sorted((shared_data / "hymenoptera" / "val").rglob("*.jpg"))
    content = [path.read_bytes() for path in paths]
    return content, np.stack([decode.decode_and_resize(one, size=224).numpy() for one in content])


@pytest.fixture(scope="module")
def expected(entry, held_out):
    from tlkeras.zoo import load

    model = load("insects", runtime="keras", root=entry.path.parent.parent)
    return [one.label for one in model.predict(held_out[0])]


def label_map(entry):
    return (entry.path / "labels.txt").read_text(encoding="utf-8").split()


def test_the_c_api_gives_the_labels_of_keras(entry, held_out, expected):
    session = c_api.Session(str(entry.path))
    got = [
        session.run("serving_default", {"image_bytes": np.array(held_out[0][i : i + 16], object)})["label"]
        for i in range(0, len(expected), 16)
    ]
    assert [one.decode() for one in np.concatenate(got)] == expected


@pytest.mark.parametrize("runtime", ["savedmodel", "tflite", "onnx"])
def test_the_entry_gives_the_labels_of_keras_in_every_runtime(entry, held_out, expected, runtime):
    from tlkeras.zoo import load

    assert [one.label for one in load("insects", runtime=runtime, root=entry.path.parent.parent).predict(held_out[0])] == expected


def test_openvino_gives_the_labels_of_keras(entry, held_out, expected):
    import openvino

    # Else OpenVINO computes in bfloat16 where the processor can: one photo of 153 then had the other label.
    model = openvino.Core().compile_model(str(entry.path / "model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    got = np.concatenate([model({"image": one[None].astype("float32")})[0] for one in held_out[1]])
    assert [label_map(entry)[index] for index in got.argmax(-1)] == expected


def test_mediapipe_gives_the_labels_of_keras_and_stays_near_them_with_its_own_resize(entry, held_out, expected, record_property):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(entry.path / "model.tflite")), max_results=1)
    with vision.ImageClassifier.create_from_options(options) as classifier:

        def label(pixels):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
            return classifier.classify(image).classifications[0].categories[0].category_name

        rounded = np.clip(np.round(held_out[1]), 0, 255).astype("uint8")
        assert [label(one) for one in rounded] == expected
        whole = [label(np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(one))).convert("RGB"))) for one in held_out[0]]
    agreement = float(np.mean([ours == theirs for ours, theirs in zip(expected, whole, strict=True)]))
    record_property("agreement_with_mediapipe_s_resize", agreement)
    assert agreement >= 0.97
