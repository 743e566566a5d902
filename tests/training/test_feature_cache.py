"""What is frozen is computed once, and gives the same answers and losses."""

import keras
import numpy as np
import pytest

from tests.helpers import BLOCKS, pictures, tiny_model
from tlkeras.modalities.images.augment import augmentation
from tlkeras.training import feature_cache, freezing, half_precision

pytestmark = pytest.mark.usefixtures("graphs")


def split(spec, dropout=0.0):
    model, sections = tiny_model(dropout=dropout)
    freezing.apply(model, freezing.parse(spec, BLOCKS), sections=sections)
    return model, feature_cache.split(model)


@pytest.mark.parametrize("spec", ["none", "last:1", "last:2", "conv_s1"])
def test_suffix_of_prefix_is_the_model(spec):
    model, parts = split(spec)
    x, _ = pictures(5)
    cached = feature_cache.compute(parts.prefix, x, batch_size=2)
    assert all(len(one) == 5 for one in cached)
    np.testing.assert_allclose(parts.suffix.predict(cached, verbose=0), model.predict(x, verbose=0), atol=1e-6)


def test_nothing_is_cut_where_the_first_layer_trains():
    model, parts = split("all")
    assert parts.prefix is None and parts.suffix is model


def test_the_suffix_holds_no_frozen_weights_when_the_backbone_is_frozen():
    _, parts = split("none", dropout=0.5)
    assert [layer.name for layer in parts.suffix.layers if not isinstance(layer, keras.layers.InputLayer)] == [
        "head_dropout",
        "head_logits",
        "scores",
    ]


def test_splitting_twice_cuts_at_the_new_boundary():
    model, sections = tiny_model()
    x, _ = pictures(4)
    for spec in ("none", "last:2", "none"):
        freezing.apply(model, freezing.parse(spec, BLOCKS), sections=sections)
        parts = feature_cache.split(model)
        answers = parts.suffix.predict(feature_cache.compute(parts.prefix, x), verbose=0)
        np.testing.assert_allclose(answers, model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize("spec", ["none", "last:1"])
def test_training_the_suffix_gives_the_losses_of_training_the_model(spec):
    x, y = pictures(24)
    losses = []
    for cut in (True, False):
        keras.utils.set_random_seed(3)
        model, parts = split(spec)
        trained = parts.suffix if cut else model
        given = feature_cache.compute(parts.prefix, x) if cut else x.astype("float32")
        trained.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy")
        losses.append(trained.fit(given, y, epochs=3, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)


def test_large_features_are_memory_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "MEMORY_LIMIT", 10)
    model, parts = split("none")
    x, _ = pictures(5)
    (cached,) = feature_cache.compute(parts.prefix, x, folder=tmp_path)
    assert isinstance(cached, np.memmap)
    np.testing.assert_allclose(parts.suffix.predict(np.asarray(cached), verbose=0), model.predict(x, verbose=0), atol=1e-6)


def test_rows_of_a_memory_map_and_of_many_inputs_are_read_on_demand_and_equal_their_copy(tmp_path, monkeypatch):
    from tlkeras.data import pipeline, store
    from tlkeras.data.store import Rows, rows

    x, y = pictures(9)
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype="uint8", shape=x.shape)
    mapped[:] = x
    index = np.array([7, 2, 5, 0])
    view = rows(mapped, index)
    assert isinstance(rows(x, index), np.ndarray)
    monkeypatch.setattr(store, "COPIED", 0)
    assert isinstance(rows(x, index), Rows)
    assert isinstance(view, Rows) and np.array_equal(view[1:3], x[[2, 5]]) and np.array_equal(np.asarray(view[np.array([3, 0])]), x[[0, 7]])
    _, parts = split("none")
    assert np.array_equal(feature_cache.compute(parts.prefix, view)[0], feature_cache.compute(parts.prefix, x[index])[0])
    options = {"batch_size": 3, "shuffle": True, "seed": 0, "augment": augmentation("flip")}
    for one, other in zip(pipeline.batches(view, y[index], **options), pipeline.batches(x[index], y[index], **options), strict=True):
        assert np.array_equal(one[0].numpy(), other[0].numpy())


# === Half precision ===


def test_a_head_on_features_that_float16_holds_is_the_same_and_others_are_refused(tmp_path):
    from tests.training.test_exact import CLASSES, features, head_of, solved

    x, told = features()
    assert half_precision.rounding(x) > half_precision.COARSEST  # a feature of 50 that varies by 0.01
    with pytest.raises(half_precision.TooCoarse, match="of what a feature varies by"):
        half_precision.HalfPrecision().check([x])
    x = np.maximum((x - x.mean(0)) / x.std(0), 0) * np.linspace(0.1, 5, x.shape[1], dtype="float32")  # as behind a ReLU
    half_precision.HalfPrecision().check([x])
    scores, weights = [], []
    for dtype in ("float32", "float16"):
        task = head_of("classification", CLASSES)
        solved(task, x.astype(dtype), told.argmax(1).astype("int32"), (0.01,), tmp_path)
        scores.append(task.model.predict(x, verbose=0))
        weights.append(np.concatenate([weight.ravel() for weight in task.model.get_weights()]))
    assert np.array_equal(scores[0].argmax(1), scores[1].argmax(1))
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-3)
    np.testing.assert_allclose(weights[1], weights[0], atol=1e-3 * np.abs(weights[0]).max())


def test_only_the_training_part_is_stored_in_float16_where_features_are_large(tmp_path, monkeypatch):
    from tlkeras.training import features
    from tlkeras.training.options import Examples, Options

    monkeypatch.setattr(features, "HALF_ABOVE", 0)
    _, parts = split("last:1")
    x, y = pictures(9)
    examples = {name: Examples(inputs=x, y=y) for name in ("train", "val")}
    arrays = features.compute(parts, examples, ("val", "train"), 1, Options(checkpoints=tmp_path))
    for half, full in zip(arrays["train"].inputs, arrays["val"].inputs, strict=True):
        assert (half.dtype, full.dtype) == ("float16", "float32")
        np.testing.assert_allclose(half, full, rtol=1e-3, atol=1e-3)


def test_features_beyond_float16_stay_in_float32_and_it_is_said(tmp_path, monkeypatch):
    from tlkeras.training import features
    from tlkeras.training.options import Examples, Options

    monkeypatch.setattr(features, "HALF_ABOVE", 0)
    model, parts = split("none")
    model.get_layer("conv_s0").kernel.assign(model.get_layer("conv_s0").kernel * 1e6)
    x, y = pictures(9)
    lines = []
    arrays = features.compute(parts, {"train": Examples(inputs=x, y=y)}, ("train",), 1, Options(checkpoints=tmp_path, say=lines.append))
    assert arrays["train"].inputs[0].dtype == "float32" and "float32" in lines[0] and "65504" in lines[0]
