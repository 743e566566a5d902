"""Keras' switch for unsafe reading, set elsewhere in the process, opens no door."""

import keras
import pytest
from keras.src.backend.common import global_state

from tests.hostile import models
from tests.hostile.cases import outcome
from tlkeras.errors import ConfigError
from tlkeras.jobs.model_files import read
from tlkeras.weights.keras_file import read_keras


@pytest.fixture
def unsafe():
    keras.config.enable_unsafe_deserialization()
    yield
    global_state.set_global_attribute("safe_mode_saving", None)


HOSTILE = [case for case in models.cases() if case.category in (".keras: layer", "Keras 2") and case.expect == "rejected" and not case.slow]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in HOSTILE])
@pytest.mark.filterwarnings("ignore")
def test_a_hostile_model_is_rejected_all_the_same(case, tmp_path, unsafe):
    outcome(case, tmp_path)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["x.keras", "x.h5"])
def test_a_harmless_model_is_not_read_either(tmp_path, unsafe, name):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / name)
    with pytest.raises(ConfigError, match="unsafe deserialisation is switched on in this process"):
        read(tmp_path / name)
    if name == "x.keras":
        with pytest.raises(ConfigError, match="unsafe deserialisation is switched on in this process"):
            read_keras(tmp_path / name)
