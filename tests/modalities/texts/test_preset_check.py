"""Folders of weights whose parts do not belong together are refused before anything is trained."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.src.backend.common import global_state
from safetensors.numpy import save_file

from tlkeras.backbones.registry import BACKBONES
from tlkeras.errors import ConfigError, WeightsMismatch
from tlkeras.weights import presets as weights

ROW = BACKBONES.get("bert")


@pytest.fixture
def folder(presets, tmp_path):
    shutil.copytree(presets("Bert"), tmp_path / "preset")
    return tmp_path / "preset"


def configured(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (config["config"] if "config" in config else config).update(values)
    (folder / "config.json").write_text(json.dumps(config))


def read(folder, what="Backbone"):
    with weights.without_warnings():
        return weights.read(ROW, str(folder), what)


def test_a_preset_is_read(folder):
    assert read(folder).num_layers == 2


def test_weights_of_more_layers_than_the_config_has_are_refused(folder):
    configured(folder, num_layers=1)
    with pytest.raises(WeightsMismatch, match=r"\d+ arrays of layers that config.json does not have \(layers/transformer_encoder_1/"):
        read(folder)


def test_weights_of_fewer_layers_are_refused(folder):
    configured(folder, num_layers=3)
    with pytest.raises(WeightsMismatch, match="contains no backbone for"):
        read(folder)


def hugging_face(folder, layers, config_layers):
    """Writes random weights of a small BERT as Hugging Face names them, with a head that nobody reads."""
    folder.mkdir()
    shapes = {
        "embeddings.word_embeddings.weight": (20, 8),
        "embeddings.position_embeddings.weight": (16, 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
        **{f"embeddings.LayerNorm.{name}": (8,) for name in ("weight", "bias")},
        **{"pooler.dense.weight": (8, 8), "pooler.dense.bias": (8,), "cls.predictions.decoder.weight": (20, 8)},
    }
    for i in range(layers):
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"encoder.layer.{i}.{part}.weight": (8, 8), f"encoder.layer.{i}.{part}.bias": (8,)}
        for part, shape in (("intermediate.dense", (12, 8)), ("output.dense", (8, 12))):
            shapes |= {f"encoder.layer.{i}.{part}.weight": shape, f"encoder.layer.{i}.{part}.bias": shape[:1]}
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"encoder.layer.{i}.{part}.{name}": (8,) for name in ("weight", "bias")}
    rng = np.random.default_rng(0)
    save_file({name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}, folder / "model.safetensors")
    config = {"model_type": "bert", "vocab_size": 20, "num_hidden_layers": config_layers, "num_attention_heads": 2}
    config |= {"hidden_size": 8, "intermediate_size": 12, "max_position_embeddings": 16}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_model_folder_with_a_head_of_its_own_is_read(tmp_path):
    assert read(hugging_face(tmp_path / "whole", 2, 2)).num_layers == 2


def test_a_model_folder_of_more_layers_than_its_config_has_is_refused(tmp_path):
    with pytest.raises(WeightsMismatch, match=r"16 arrays of layers that config.json does not have \(encoder.layer.1"):
        read(hugging_face(tmp_path / "cut", 2, 1))


def test_a_vocabulary_longer_than_the_embedding_is_refused_before_training(folder):
    from tlkeras.backbones import load as loading

    vocabulary = next(Path(folder).rglob("vocabulary.txt"))
    vocabulary.write_text(vocabulary.read_text() + "".join(f"more{i}\n" for i in range(7)))
    with pytest.raises(WeightsMismatch, match=r"the vocabulary in .* has \d+ entries and the network embeds \d+"):
        loading.load("bert", weights=str(folder))


@pytest.mark.parametrize("content", ["[" * 100_000, "[1]", "", "{"], ids=["deep", "a list", "nothing", "cut"])
def test_a_config_that_is_none_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(WeightsMismatch, match="config.json' cannot be read"):
        read(folder)


def test_an_index_that_leaves_the_folder_is_refused(tmp_path):
    whole = hugging_face(tmp_path / "whole", 1, 1)
    (whole / "model.safetensors").rename(tmp_path / "secret.safetensors")
    (whole / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../secret.safetensors"}}')
    with pytest.raises(WeightsMismatch, match="which is not in the same folder"):
        read(whole)


def test_a_preset_is_not_read_while_unsafe_reading_is_switched_on(folder):
    keras.config.enable_unsafe_deserialization()
    try:
        with pytest.raises(ConfigError, match="unsafe deserialisation is switched on in this process"):
            read(folder)
    finally:
        global_state.set_global_attribute("safe_mode_saving", None)
