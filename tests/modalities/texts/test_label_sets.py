"""Texts with any number of labels: from a dataset to answers of every artifact, MediaPipe's among them."""

import numpy as np
import pytest
import tensorflow as tf

from tests.modalities.texts.conftest import sentences
from tests.modalities.texts.test_tokens import ROWS
from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset, Example
from tlkeras.data.target import Target
from tlkeras.jobs import evaluate, finetune, predict

pytestmark = pytest.mark.slow

LABELS = ("cast", "film", "plot")  # a text has the labels whose words are in it


def texts(n, seed=0):
    """Returns a dataset of n texts and the words that they mention."""
    examples = [
        Example(id=f"{index}", label=tuple(label for label in LABELS if label in text.split()), text=text)
        for index, (text, _) in enumerate(sentences(n, seed))
    ]
    return Dataset(name="mentions", examples=tuple(examples), target=Target(kind="labels", labels=LABELS, name="mentions"))


@pytest.fixture(scope="module")
def run(presets, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("mentions") / "run")
    values = {"backbone": ROWS["Bert"], "weights": presets("Bert"), "out": out, "recipe": "full", "epochs": 10, "learning_rate": 0.02}
    return finetune.finetune(RunConfig.from_dict({**values, "export": "saved_model,tflite,onnx"}), dataset=texts(400), reporter=None)


@pytest.mark.parametrize("name", ["", "exports/saved_model", "exports/model.tflite", "exports/model.onnx"])
def test_a_run_and_its_artifacts_find_the_labels_of_texts(run, name):
    figures = evaluate.evaluate(run.run.root / name, texts(100, seed=1), part="all", reporter=None).score
    assert figures.micro_f1 > max(0.9, figures.constant["micro_f1"])


# MediaPipe still uses a deprecated way of NumPy.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mediapipe_gives_the_label_sets_of_keras(run):
    pytest.importorskip("mediapipe", reason="MediaPipe is in the extra `test`")
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import text

    options = text.TextClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=str(run.run.exports / "model.tflite")))
    asked = [example.text for example in texts(120, seed=2).examples]
    with text.TextClassifier.create_from_options(options) as classifier:
        results = [classifier.classify(one).classifications[0].categories for one in asked]
    theirs = [{category.category_name: category.score for category in categories} for categories in results]
    ours = list(predict.predict(run.run.root, asked))
    assert [set(answer) for answer in theirs] == [set(answer.labels) for answer in ours]
    assert {len(answer) for answer in theirs} >= {0, 1, 2}
    for answer, own in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(list(answer.values()), [own.scores[label] for label in answer], atol=1e-4)


def test_the_saved_model_answers_raw_texts_with_names(run):
    served = tf.saved_model.load(str(run.run.exports / "saved_model")).signatures["serving_default"]
    asked = [example.text for example in texts(20, seed=3).examples]
    outputs = served(text=tf.constant(asked))
    assert [{cell.decode() for cell in row} - {""} for row in outputs["labels"].numpy()] == [
        set(answer.labels) for answer in predict.predict(run.run.root, asked)
    ]
    assert np.array_equal(outputs["label_mask"].numpy() == 1, outputs["labels"].numpy() != b"")
