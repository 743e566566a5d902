"""The table of backbones: every string in a row leads to code, every message to another way."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tlkeras.backbones import alternatives, load, loaders
from tlkeras.backbones.registry import BACKBONES
from tlkeras.errors import ConfigError, WeightsUnavailable
from tlkeras.registry import load_function
from tlkeras.weights import presets


@pytest.mark.parametrize("name", BACKBONES.names())
def test_the_loader_the_builder_and_the_alternatives_of_a_row_exist(name):
    row = BACKBONES.get(name)
    assert all(callable(load_function(dotted)) for dotted in (row.loader, row.alternatives, row.builder))


@pytest.mark.parametrize("name", BACKBONES.names())
def test_the_alternatives_of_a_row_are_on_one_line_and_do_not_name_the_row_itself(name):
    text = alternatives.ways(BACKBONES.get(name))
    assert "--weights" in text and "\n" not in text
    assert f"--backbone {name}," not in text


def test_reading_the_table_loads_no_library():
    code = "import sys, tlkeras.backbones.registry; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'numpy', 'h5py')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_backbone_of_a_new_modality_is_a_row_with_its_own_loader(monkeypatch):
    """Nothing in `load` knows the modalities."""
    import dataclasses

    import keras

    def sound(row, arguments):
        inputs = keras.Input((16, 2), name="sound")
        return load.Base(model=keras.Model(inputs, keras.layers.Dense(row.features, name="dense")(inputs)), sections=row.sections)

    monkeypatch.setattr(loaders, "sound", sound, raising=False)
    row = dataclasses.replace(
        BACKBONES.get("rnn"), name="wave", modality="sound", loader=f"{loaders.__name__}:sound", options={}, sections=(("dense", "dense"),)
    )
    monkeypatch.setattr(load, "find", lambda name: row)
    assert load.load("wave").model.output_shape == (None, 16, row.features)


def test_an_elmo_that_has_nothing_to_download_names_the_files_of_allennlp():
    with pytest.raises(WeightsUnavailable, match="options.json and weights.hdf5.*--backbone minilm_l6"):
        load.load("elmo")


def test_a_preset_is_only_what_a_row_has(tmp_path):
    assert presets.is_preset(BACKBONES.get("vit_base"), "pretrained") and presets.is_preset(BACKBONES.get("vit_base"), str(tmp_path))
    assert not presets.is_preset(BACKBONES.get("resnet50"), "pretrained") and not presets.is_preset(BACKBONES.get("vit_base"), "none")


@pytest.mark.parametrize("name", ["minilm_l6", "rnn", "resnet50"])
def test_a_channel_adapter_that_nothing_needs_is_refused_whatever_the_modality(name):
    with pytest.raises(ConfigError, match="channel_adapter is 'conv', but images of 3 channels need no adapter"):
        load.load(name, adapter="conv", weights="none")
