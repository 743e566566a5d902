"""Texts on several devices: whole runs. tests/modalities/texts/test_families.py has the copies of every family."""

import pytest

from tests.modalities.texts.conftest import reviews
from tests.modalities.texts.test_workflow import config
from tlkeras.jobs import finetune


@pytest.mark.slow  # images on two devices: tests/distribution
def test_frozen_texts_train_on_two_devices_as_on_one(presets, tmp_path):
    told = {"recipe": "feature-extraction", "epochs": 3, "export": "none"}
    one, two = (
        finetune.finetune(config(presets, "Bert", tmp_path / name.replace(":", ""), placement=name, **told), dataset=reviews(61))
        for name in ("cpu", "mirrored:2")
    )
    assert two.metrics["test"]["loss"] == pytest.approx(one.metrics["test"]["loss"], abs=1e-4)
    assert two.metrics["phases"][0]["examples_computed_once"] == 61


@pytest.mark.slow  # images, and frozen texts, are trained on two devices by default
def test_a_text_model_trained_on_two_devices_learns_and_ends_in_verified_artifacts(presets, tmp_path):
    result = finetune.finetune(config(presets, "Bert", tmp_path / "run", placement="mirrored:2", export="tflite"), dataset=reviews(160))
    assert result.metrics["test"]["accuracy"] >= 0.9
    assert result.metrics["exports"]["tflite"]["agreement"] == 1.0
