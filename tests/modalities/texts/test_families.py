"""Every family of text backbones: width, sections, freezing, save and load, its copy for several devices."""

import keras
import numpy as np
import pytest

from tests.helpers import outputs
from tests.modalities.texts.conftest import families
from tests.modalities.texts.test_tokens import ROWS
from tlkeras import models
from tlkeras.distribution import replicas
from tlkeras.distribution.strategies import open_distribution
from tlkeras.training import freezing
from tlkeras.weights.keras_file import read_keras

IDS = np.array([[2, 9, 10, 11, 12, 3]], "int32")


@pytest.fixture(scope="module", params=families())
def task(request, presets):
    keras.backend.clear_session()
    return models.build(ROWS[request.param], 3, weights=presets(request.param))


def test_features_are_as_wide_as_the_network(task):
    assert task.model.get_layer(models.FEATURES).output.shape == (None, 16)


def test_what_is_saved_loads_equal(task, tmp_path):
    task.model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(outputs(read_keras(tmp_path / "m.keras"), IDS), outputs(task.model, IDS))


def test_the_copy_for_several_devices_is_the_model(task):
    ids = np.array([[2, 9, 10, 11, 12, 3], [2, 9, 3, 0, 0, 0]], "int32")
    twin = replicas.twin(task.model, open_distribution("mirrored:2"), task.task.keras_loss)
    np.testing.assert_allclose(twin.model(ids, training=False), task.model(ids, training=False), atol=1e-6)


def test_every_section_can_be_unfrozen_and_nothing_below_it_trains(task):
    order = {name: place for place, name in enumerate([*task.section_names, "head"])}
    counts = []
    for section in task.section_names:
        report = freezing.apply(task.model, freezing.parse(f"from:{section}", task.section_names), sections=task.sections)
        assert all(order[row.section] >= order[section] for row in report.layers if row.trainable and row.parameters)
        counts.append(report.trainable_parameters)
    assert counts == sorted(counts, reverse=True) and len(counts) >= 2
