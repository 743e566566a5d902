"""`.keras` files: read without running code, with the layers that only tlkeras has, whatever earlier version wrote them."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras.src.saving import serialization_lib

from tlkeras.errors import ConfigError
from tlkeras.weights import layers
from tlkeras.weights.keras_file import read_keras

# name -> the layer, and the shape and type of each of its inputs.
REGISTERED = {
    "ProjectedLSTM": (lambda: layers.ProjectedLSTM(4, 2), [((3, 5), "float32"), ((3,), "bool")]),
    "ScalarMix": (lambda: layers.ScalarMix(), [((3, 4), "float32")]),
    "NextWord": (lambda: layers.NextWord(7), [((3, 4), "float32")]),
    "Reparameterise": (lambda: layers.Reparameterise(1), [((4,), "float32"), ((4,), "float32")]),
}
MODULES = ("tlkeras.elmo_layers", "tlkeras.backbones.builders.elmo_layers", "tlkeras.pretraining.variational")  # of earlier versions


def saved(path, name):
    """Saves a model of one layer; returns it."""
    layer, shapes = REGISTERED[name]
    inputs = [keras.Input(shape, dtype=dtype) for shape, dtype in shapes]
    model = keras.Model(inputs, layer()(inputs if len(inputs) > 1 else inputs[0]))
    model.save(path)
    return model


def test_every_layer_of_tlkeras_has_its_registered_name():
    classes = [value for value in vars(layers).values() if isinstance(value, type) and value.__module__ == layers.__name__]
    assert {keras.saving.get_registered_name(one) for one in classes} == {f"tlkeras>{name}" for name in REGISTERED}


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", REGISTERED)
def test_a_layer_saved_by_an_earlier_version_is_read(tmp_path, name, module):
    model = saved(tmp_path / "new.keras", name)
    with zipfile.ZipFile(tmp_path / "new.keras") as new, zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for member in new.namelist():
            content = new.read(member)
            if member == "config.json":
                config = json.loads(content)
                (own,) = [layer for layer in config["config"]["layers"] if layer["registered_name"] == f"tlkeras>{name}"]
                own["module"] = module
                content = json.dumps(config).encode()
            old.writestr(member, content)
    again = read_keras(tmp_path / "old.keras")
    assert [layer.__class__ for layer in again.layers] == [layer.__class__ for layer in model.layers]
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(model.weights, again.weights, strict=True))


def test_a_file_is_not_read_while_keras_would_run_its_code(tmp_path):
    saved(tmp_path / "m.keras", "ScalarMix")
    with serialization_lib.SafeModeScope(False), pytest.raises(ConfigError, match="unsafe deserialisation is switched on"):
        read_keras(tmp_path / "m.keras")
