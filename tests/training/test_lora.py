"""Low-rank adapters: only they train, the model that stays has none, and a file with some can go on training."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import BLOCKS, pictures
from tests.training.test_phases import splits, tiny_task, train
from tlkeras.distribution import replicas
from tlkeras.distribution.strategies import open_distribution
from tlkeras.errors import ConfigError
from tlkeras.training import freezing, lora
from tlkeras.training import phases as training
from tlkeras.training.freeze_rules import parse
from tlkeras.training.recipes.lora import ADAPTERS
from tlkeras.training.recipes.registry import RECIPES, Facts

pytestmark = pytest.mark.usefixtures("graphs")

RECIPE = RECIPES.get("lora")
PHASES = [dataclasses.replace(phase, epochs=min(phase.epochs, 2)) for phase in RECIPE.phases_for(BLOCKS, Facts())]
X = pictures(6)[0].astype("float32")


def adapted(rank=2):
    """Returns a tiny task model whose adapters have learned something."""
    task = lora.enable(tiny_task(), lora_rank=rank)
    for layer in task.model.layers:
        if getattr(layer, "lora_enabled", False):
            layer.lora_kernel_b.assign(np.full(layer.lora_kernel_b.shape, 0.01))
    return task


def names(model):
    return [variable.path for variable in model.variables]


def trained_outside_the_head(model):
    return {variable.name for variable in model.trainable_variables if "head" not in variable.path}


def test_a_run_trains_the_adapters_and_the_head_alone_and_leaves_neither_adapters_nor_their_config(tmp_path):
    plain = tiny_task()
    result = train(tmp_path, *PHASES, recipe=RECIPE)
    assert names(result.task.model) == names(plain.model) and "lora_rank" not in result.task.model.to_json()
    moved = {v.path for v, b in zip(result.task.model.variables, plain.model.variables, strict=True) if not np.array_equal(v, b)}
    assert moved == {*(f"conv_{name}/kernel" for name in BLOCKS), "head_logits/kernel", "head_logits/bias"}
    adapters = sum(9 * channels * 8 + 8 * 8 for channels in (3, 8, 8))  # of rank 8, for kernels 3 x 3
    assert result.phases[-1].trainable_parameters == adapters + 8 * 3 + 3
    for name in ("val", "test"):
        np.testing.assert_allclose(
            result.scores[name], result.task.model.predict(splits()[name].inputs.astype("float32"), verbose=0), atol=1e-5
        )


def test_merging_changes_no_score_whatever_was_traced_before():
    task = adapted()
    before = task.model.predict(X, verbose=0)
    assert np.abs(before - tiny_task().model.predict(X, verbose=0)).max() > 1e-3
    lora.merge(task)
    np.testing.assert_allclose(task.model.predict(X, verbose=0), before, atol=1e-5)
    np.testing.assert_allclose(keras.Model(task.model.inputs, task.model.outputs).predict(X, verbose=0), before, atol=1e-5)


def test_unfreezing_a_layer_with_adapters_does_not_unfreeze_its_kernel():
    task = adapted()
    freezing.apply(task.model, parse("all", BLOCKS), sections=task.sections)
    assert "kernel" not in trained_outside_the_head(task.model) and "lora_kernel_a" in trained_outside_the_head(task.model)
    freezing.freeze(task.model, "*")
    freezing.unfreeze(task.model, "conv_*")
    assert trained_outside_the_head(task.model) == {"lora_kernel_a", "lora_kernel_b", "bias"}


def test_a_model_saved_with_adapters_answers_the_same_and_goes_on_training(tmp_path):
    task = adapted()
    task.model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_allclose(model.predict(X, verbose=0), task.model.predict(X, verbose=0), atol=1e-5)

    task = lora.enable(dataclasses.replace(task, model=model), lora_rank=2)
    rules = parse("all", BLOCKS)
    freezing.apply(model, rules, sections=task.sections, only=ADAPTERS)
    assert trained_outside_the_head(model) == {"lora_kernel_a", "lora_kernel_b"}
    before = freezing.frozen_digests(model)
    result = train(tmp_path, PHASES[-1], task=task)
    freezing.check_frozen(result.task.model, before)
    assert np.abs(np.asarray(result.task.model.get_layer("conv_s2").lora_kernel_b)).max() > 0


def test_an_interrupted_run_leaves_a_model_without_adapters_that_can_be_read(tmp_path):
    def stop(name, done, total, text):
        if name == "tune" and text.startswith("epoch 1/"):
            raise KeyboardInterrupt

    with pytest.raises(training.Interrupted) as stopped:
        train(tmp_path, *PHASES, recipe=RECIPE, progress=stop)
    model = stopped.value.task.model
    model.save(tmp_path / "model.keras")
    read = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    scores = [each.predict(X, verbose=0) for each in (model, read)]
    assert names(read) == names(tiny_task().model)
    np.testing.assert_allclose(*scores, atol=1e-6)


def test_adapters_inside_layers_of_layers_are_saved_merged_and_copied_to_other_devices(tmp_path):
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((5, 8), name="tokens")
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.GlobalAveragePooling1D(name="features")(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="scores")(x))
    sections = {"tokens": "", "attention": "s0", "features": "head", "scores": "head"}
    task = lora.enable(dataclasses.replace(tiny_task(), model=model, sections=sections), lora_rank=2)
    for layer in model.get_layer("attention")._flatten_layers(include_self=False):
        if getattr(layer, "lora_enabled", False):
            layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    freezing.apply(model, (("*", True),), sections=sections, only=ADAPTERS)
    assert len(model.trainable_variables) == 4 * 2 + 2
    values = np.random.default_rng(0).normal(size=(4, 5, 8)).astype("float32")
    expected = model.predict(values, verbose=0)
    copy = replicas.twin(model, open_distribution("mirrored:2"), "sparse_categorical_crossentropy").model
    assert [v.path for v in copy.trainable_variables] == [v.path for v in model.trainable_variables]
    np.testing.assert_allclose(copy(values), expected, atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras").predict(values, verbose=0), expected, atol=1e-5)
    np.testing.assert_allclose(lora.merge(task).model.predict(values, verbose=0), expected, atol=1e-5)


def test_adapters_are_where_the_patterns_say():
    task = lora.enable(tiny_task(), lora_targets=("conv_s[12]",))
    assert [layer.name for layer in task.model.layers if getattr(layer, "lora_enabled", False)] == ["conv_s1", "conv_s2"]


@pytest.mark.parametrize(("patterns", "words"), [(("convs",), "lora_targets is 'convs'.*conv_s0"), (("bn_s0",), "matches no layer")])
def test_patterns_without_such_layers_are_an_error(patterns, words):
    with pytest.raises(ConfigError, match=words):
        lora.enable(tiny_task(), lora_targets=patterns)


def test_a_backbone_without_layers_that_can_have_adapters_is_an_error():
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.GlobalAveragePooling2D(name="features")(layers.DepthwiseConv2D(3, name="depthwise")(inputs))
    model = keras.Model(inputs, layers.Dense(3, name="scores")(x))
    task = dataclasses.replace(tiny_task(), model=model, sections={"image": "", "depthwise": "s0", "features": "head", "scores": "head"})
    with pytest.raises(ConfigError, match="no layer of 'cnn' can have low-rank adapters"):
        lora.enable(task)
