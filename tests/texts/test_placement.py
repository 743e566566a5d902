"""Texts on several devices."""

import keras
import numpy as np
import pytest

from tests.texts.conftest import VOCABULARIES, reviews
from tests.texts.test_tokens import ROWS
from tests.texts.test_workflow import config
from tlkeras import models, workflow
from tlkeras.training import replicas
from tlkeras.training.placement import open_placement

IDS = np.array([[2, 9, 10, 11, 12, 3], [2, 9, 3, 0, 0, 0]], "int32")


@pytest.mark.parametrize("app", VOCABULARIES)
def test_the_copy_of_every_family_for_several_devices_is_the_model(app, presets):
    task = models.build(ROWS[app], 3, weights=presets(app))
    twin = replicas.twin(task.model, open_placement("mirrored:2"), task.head.loss)
    np.testing.assert_allclose(twin.model(IDS, training=False), task.model(IDS, training=False), atol=1e-6)
    keras.backend.clear_session()


def test_frozen_texts_train_on_two_devices_as_on_one(presets, tmp_path):
    told = {"recipe": "feature-extraction", "epochs": 3, "export": "none"}
    one, two = (
        workflow.finetune(config(presets, "Bert", tmp_path / name.replace(":", ""), placement=name, **told), dataset=reviews(61))
        for name in ("cpu", "mirrored:2")
    )
    assert two.metrics["test"]["loss"] == pytest.approx(one.metrics["test"]["loss"], abs=1e-4)
    assert two.metrics["stages"][0]["examples_computed_once"] == 61


def test_a_text_model_trained_on_two_devices_learns_and_ends_in_verified_artifacts(presets, tmp_path):
    result = workflow.finetune(config(presets, "Bert", tmp_path / "run", placement="mirrored:2"), dataset=reviews(160))
    assert result.metrics["test"]["accuracy"] >= 0.9
    assert set(result.metrics["exports"]) == {"saved_model", "tflite", "onnx"}
    assert all(one["agreement"] == 1.0 for one in result.metrics["exports"].values())
