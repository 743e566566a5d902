"""The same work on several devices gives what one device gives."""

import dataclasses
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import BLOCKS, pictures, tiny_model
from tests.targets import classes
from tlkeras.backbones.registry import BACKBONES
from tlkeras.config import RunConfig
from tlkeras.data import pipeline
from tlkeras.data.pipeline import Share
from tlkeras.distribution import registry, replicas
from tlkeras.distribution.strategies import ONE_DEVICE, Distribution, open_distribution
from tlkeras.errors import ConfigError, UnknownName
from tlkeras.jobs import finetune, plan
from tlkeras.models import TaskModel
from tlkeras.registry import load_function
from tlkeras.tasks.registry import TASKS
from tlkeras.training import feature_cache, freezing
from tlkeras.training import phases as run
from tlkeras.training.freeze_rules import parse
from tlkeras.training.recipes.registry import Phase


def trained(distribution, tmp_path, *, spec="all", n=33, batch_size=8, batch_norm="frozen", augment="none"):
    """Trains the tiny model, dropout and class weights included, on n pictures; returns it, its history and its scores."""
    keras.utils.set_random_seed(5)
    model, sections = tiny_model(dropout=0.3)
    for layer in model.layers:  # else the pictures' 0-255 make losses of hundreds
        if layer.name == "conv_s0":
            layer.kernel.assign(layer.kernel / 100)
    task = TaskModel(
        model=model,
        backbone=BACKBONES.get("cnn"),
        task=TASKS.get("classification"),
        target=classes("a", "b"),
        sections=sections,
        section_names=list(BLOCKS),
    )
    x, y = pictures(n + 7)
    parts = {
        "train": run.Examples(inputs=x[:n], y=y[:n]),
        "val": run.Examples(inputs=x[n : n + 5], y=y[n : n + 5]),
        "test": run.Examples(inputs=x[n:], y=y[n:]),
    }
    phase = Phase(name="s", unfreeze=spec, epochs=2, learning_rate=1e-2, weight_decay=1e-2, warmup=0.1)
    options = run.Options(
        batch_size=batch_size,
        batch_norm=batch_norm,
        augment=augment,
        checkpoints=tmp_path,
        distribution=distribution,
        class_weights={0: 2.0, 1: 0.5, 2: 1.0},
    )
    result = run.run(task, [(phase, parse(spec, list(BLOCKS)))], parts, options)
    rows = [[row[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")] for row in result.phases[0].history]
    return model, rows, result.scores


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Returns a function: what `trained` gives on one device, trained once."""
    results = {}

    def get(**options):
        key = tuple(options.items())
        if key not in results:
            results[key] = trained(ONE_DEVICE, tmp_path_factory.mktemp("alone"), **options)
        return results[key]

    return get


OTHERS = [("mirrored:1", "none"), ("mirrored:2", "none"), ("mirrored:2", "all")]


@pytest.mark.parametrize(
    ("name", "spec", "n", "batch_norm"),
    [
        pytest.param("mirrored:2", "last:1", 33, "frozen", marks=pytest.mark.slow),  # 33 = 4 * 8 + 1: one picture for two devices
        pytest.param("mirrored:3", "all", 31, "frozen", marks=pytest.mark.slow),  # 7 pictures for three devices
        ("mirrored:2", "all", 32, "train"),
        # A frozen backbone trains on two devices in the test of cached views, and a single picture in that of one picture.
        *(pytest.param(name, spec, 33, "frozen", marks=pytest.mark.slow) for name, spec in OTHERS),
    ],
)
def test_T15_several_devices_train_as_one_does_however_the_last_batch_divides(alone, name, spec, n, batch_norm, tmp_path):
    one, losses, scores = alone(spec=spec, n=n, batch_norm=batch_norm)
    other, mirrored, others = trained(open_distribution(name), tmp_path, spec=spec, n=n, batch_norm=batch_norm)
    np.testing.assert_allclose(mirrored, losses, rtol=1e-4)
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=2e-4, err_msg=a.path)
    for part in ("val", "test"):
        np.testing.assert_allclose(others[part], scores[part], atol=1e-4)


def test_several_devices_train_on_cached_views_as_one_does(alone, tmp_path):
    _, losses, _ = alone(spec="none", augment="light")
    _, mirrored, _ = trained(open_distribution("mirrored:2"), tmp_path, spec="none", augment="light")
    np.testing.assert_allclose(mirrored, losses, rtol=1e-4)


def test_T15_one_picture_trains_on_two_devices(tmp_path):
    _, losses, _ = trained(ONE_DEVICE, tmp_path, n=1)
    model, mirrored, _ = trained(open_distribution("mirrored:2"), tmp_path, n=1)
    np.testing.assert_allclose(mirrored, losses, rtol=1e-4)
    assert all(np.isfinite(one.numpy()).all() for one in model.weights)


def test_devices_get_batches_of_their_own_and_a_replica_of_the_model_each():
    distribution = open_distribution("mirrored:2")
    model, _ = tiny_model()
    twin = replicas.twin(model, distribution, "sparse_categorical_crossentropy")
    kernels = twin.model.get_layer("conv_s1").kernel.value.values
    assert len({one.device for one in kernels}) == 2
    x, y = pictures(6)
    data = distribution.distributed(lambda share: pipeline.batches(x, y, batch_size=6, shuffle=False, seed=0, share=share))
    given = distribution.strategy.experimental_local_results(next(iter(data))[1])
    assert [one.numpy().tolist() for one in given] == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("spec", ["none", "last:1"])
def test_a_twin_has_the_weights_and_the_flags_of_the_model(spec):
    model, sections = tiny_model(dropout=0.3)
    freezing.apply(model, parse(spec, list(BLOCKS)), sections=sections)
    twin = replicas.twin(model, open_distribution("mirrored:2"), "sparse_categorical_crossentropy")
    x = pictures(4)[0].astype("float32")
    np.testing.assert_allclose(twin.model(x, training=False), model(x, training=False), atol=1e-6)
    assert [v.trainable for v in twin.model.weights] == [v.trainable for v in model.weights]
    assert [layer.name for layer in twin.model.layers if layer.trainable] == [layer.name for layer in model.layers if layer.trainable]


def test_features_computed_by_several_devices_are_those_of_one():
    model, sections = tiny_model()
    freezing.apply(model, parse("none", list(BLOCKS)), sections=sections)
    parts, (x, _) = feature_cache.split(model), pictures(21)
    one = feature_cache.compute(parts.prefix, x, batch_size=4)
    told = []
    three = feature_cache.compute(
        parts.prefix, x, batch_size=4, distribution=open_distribution("mirrored:3"), progress=lambda *now: told.append(now)
    )
    for a, b in zip(one, three, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert told[-1] == (21, 21) and sorted(told) == told


# === Division of batches ===


@given(size=st.integers(1, 70), parts=st.integers(1, 9), workers=st.integers(1, 4))
def test_every_row_of_a_batch_counts_exactly_once_and_no_part_is_empty(size, parts, workers):
    shares = [Share(parts=parts * workers, first=parts * worker, count=parts) for worker in range(workers)]
    divided = [one for share in shares for one in share.positions(size)]
    assert len(divided) == parts * workers and all(len(rows) for rows, _ in divided)
    counted = np.concatenate([rows[counts] for rows, counts in divided])
    assert counted.tolist() == list(range(size))
    assert all((rows < size).all() for rows, _ in divided)
    lengths = [len(rows) for rows, _ in divided]
    assert max(lengths) - min(lengths) <= 1


@given(count=st.integers(0, 50), workers=st.integers(1, 7))
def test_workers_have_each_example_exactly_once(count, workers):
    rows = [Distribution(name="x", workers=workers, worker=worker).rows(count) for worker in range(workers)]
    assert [i for one in rows for i in range(one.start, one.stop)] == list(range(count))


@pytest.mark.parametrize("lengths", [None, np.array([3, 1, 2, 3, 1, 2, 3, 1, 2, 3])])
def test_the_parts_of_a_batch_are_the_batch(lengths):
    x, y = np.arange(10 * 3).reshape(10, 3).astype("int32"), np.arange(10)
    told = {"batch_size": 4, "shuffle": True, "seed": 7, "lengths": lengths}
    whole = [(a.numpy(), b.numpy()) for a, b in pipeline.batches(x, y, **told)]
    shares = [Share(parts=2, first=0, count=1), Share(parts=2, first=1, count=1)]
    parts = [list(pipeline.batches(x, y, share=share, **told).take(3)) for share in shares]
    for (inputs, labels), first, second in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate([first[0], second[0]])[: len(inputs)], inputs)
        np.testing.assert_array_equal(np.concatenate([first[1], second[1]])[: len(labels)], labels)
        assert first[2]["size"][0] == len(labels)


# === Whole runs ===


def finetuned(out, **more):
    values = {"backbone": "cnn", "backbone_options": ["filters1=4", "filters2=4", "dense=8"], "weights": "none", "image_size": 16}
    values |= {"limit": 60, "epochs": 2, "export": "tflite", "out": str(out)}
    return finetune.finetune(RunConfig.from_dict({**values, **more}))


# tests/modalities/texts/test_placement.py compares runs with a frozen backbone.
@pytest.mark.parametrize("recipe", [pytest.param("feature-extraction", marks=pytest.mark.slow), "full"])
def test_a_run_on_two_devices_ends_in_the_artifacts_of_one(recipe, tmp_path):
    one = finetuned(tmp_path / "one", recipe=recipe)
    two = finetuned(tmp_path / "two", recipe=recipe, placement="mirrored:2")
    assert two.metrics["placement"] == {"name": "mirrored:2", "replicas": 2, "workers": 1, "worker": 0}
    for a, b in zip(one.metrics["phases"], two.metrics["phases"], strict=True):
        assert a["epochs"] == b["epochs"] and a["best_epoch"] == b["best_epoch"]
    assert two.metrics["test"]["loss"] == pytest.approx(one.metrics["test"]["loss"], abs=1e-4)
    assert two.metrics["exports"]["tflite"]["agreement"] == 1.0
    scores = [np.load(run.run.exports / "verification.npz") for run in (one, two)]
    for name in scores[0].files:
        np.testing.assert_allclose(scores[1][name], scores[0][name], atol=1e-4, err_msg=name)


@pytest.mark.parametrize(("how", "factor"), [("none", 1.0), ("linear", 4.0), ("sqrt", 2.0)])
def test_learning_rates_can_grow_with_the_batch(how, factor):
    resolved = plan.resolve(RunConfig.from_dict({"batch_size": 128, "scale_learning_rate": how, "learning_rate": 1e-3}))
    assert resolved.config.train.learning_rate == 1e-3  # what is stored is what was asked for, so that a repeated run scales once
    (phase, _) = plan.phases(resolved, ["block1"])[-1]
    assert phase.learning_rate == pytest.approx(1e-3 * factor)


# === What is refused ===


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("miror", UnknownName, "did you mean 'mirrored'"),
        ("cpu:1", ConfigError, "expected 'cpu' alone"),
        ("gpu:x", ConfigError, "expected gpu:N, which GPU"),
        ("mirrored:0", ConfigError, "expected 1 to"),
        ("mirrored:99", ConfigError, "computes with 3 CPU devices already"),
        ("multiworker", ConfigError, "tlkeras launch --workers 2"),
    ],
)
def test_a_placement_that_is_not_to_be_had_is_one_clear_error(text, error, message, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(error, match=message):
        open_distribution(text)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU here")
@pytest.mark.parametrize("text", ["gpu:0", "tpu"])
def test_an_accelerator_that_is_not_here_is_told(text, monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(ConfigError, match="no GPU|this machine has no TPU"):
        open_distribution(text)


def test_without_more_devices_auto_is_the_plain_cpu(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if not tf.config.list_physical_devices("GPU"):
        assert open_distribution("auto") == open_distribution("cpu") == Distribution(name="cpu", devices=("/cpu:0",))


def test_every_row_of_placements_opens_by_a_function():
    for kind in registry.PLACEMENTS:
        assert callable(load_function(kind.open)) and kind.help
    assert "TF_CONFIG" not in os.environ


def test_one_worker_need_not_agree_with_anybody():
    ONE_DEVICE.agree("data", lambda: pytest.fail("it was asked"))
    ONE_DEVICE.wait()
    assert dataclasses.replace(ONE_DEVICE, worker=1).chief is False
