"""The classic networks from pictures to a file: fine-tuned, exported, and the file evaluated as the Keras model is."""

import numpy as np
import pytest

from tlkeras import config as configs
from tlkeras.data.examples import Dataset, Example, from_arrays, make_dataset
from tlkeras.jobs import evaluate, finetune

ALL = "saved_model,tflite,onnx"
FILES = {"saved_model": "saved_model", "tflite": "model.tflite", "onnx": "model.onnx"}


def pictures(count: int = 36) -> Dataset:
    """Three classes, told apart by their brightest colour."""
    rng = np.random.default_rng(0)
    y = np.arange(count) % 3
    x = rng.integers(0, 80, (count, 40, 40, 3))
    x[np.arange(count), :, :, y] += 150
    return from_arrays(x.astype("uint8"), [("red", "green", "blue")[one] for one in y])


def sequences(count: int = 36) -> Dataset:
    """Two classes: rising and falling."""
    rng = np.random.default_rng(0)
    slope = np.where(np.arange(count) % 2, 1.0, -1.0)
    x = slope[:, None, None] * np.linspace(0, 1, 6)[None, :, None] + rng.normal(0, 0.05, (count, 6, 2))
    rows = (Example(id=f"{i}", label=("falling", "rising")[i % 2], array=x[i].astype("float32")) for i in range(count))
    return make_dataset("slopes", rows)


@pytest.mark.parametrize(
    ("backbone", "size", "recipe", "formats"),
    [
        pytest.param("cnn", 16, "feature-extraction", "tflite", marks=pytest.mark.slow),
        pytest.param("resnet50", 32, "feature-extraction", "tflite", marks=pytest.mark.slow),
        pytest.param("resnet50", 32, "full", ALL, marks=pytest.mark.slow),
        pytest.param("vgg16", 32, "feature-extraction", ALL, marks=pytest.mark.slow),
        pytest.param("inception_v3", 75, "feature-extraction", ALL, marks=pytest.mark.slow),
        pytest.param("cnn", 16, "full", ALL, marks=pytest.mark.slow),
        pytest.param("vae", 16, "full", ALL, marks=pytest.mark.slow),
        pytest.param("rnn", None, "full", ALL, marks=pytest.mark.slow),
        pytest.param("deit_tiny", 32, "full", ALL, marks=pytest.mark.slow),
    ],
)
def test_a_network_is_fine_tuned_exported_and_its_files_answer_as_the_keras_model(tmp_path, backbone, size, recipe, formats):
    data = sequences() if size is None else pictures()
    values = {"backbone": backbone, "weights": "none", "recipe": recipe, "epochs": 1, "export": formats, "out": str(tmp_path / "run")}
    if backbone == "deit_tiny":
        values["backbone_options"] = "num_layers=2"
    config = configs.RunConfig.from_dict({**values, **({"image_size": size} if size else {})})
    result = finetune.finetune(config, dataset=data)
    ours = evaluate.evaluate(result.run.root, data=data)
    for format in formats.split(","):
        told = result.metrics["exports"][format]
        assert told["relative_diff"] <= 1e-3 and told["agreement"] == 1.0 and told["accuracy"] == result.metrics["test"]["accuracy"]
        theirs = evaluate.evaluate(result.run.exports / FILES[format], data=data)
        assert theirs.score.accuracy == ours.score.accuracy
