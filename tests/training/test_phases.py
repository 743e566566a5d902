"""Phases: what an epoch is, which weights are kept, and what a recipe may change."""

import dataclasses
import math

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import BLOCKS, pictures, tiny_model
from tests.targets import classes
from tlkeras.backbones.registry import BACKBONES
from tlkeras.distribution.strategies import ONE_DEVICE
from tlkeras.modalities.images.augment import AugmentedView
from tlkeras.models import TaskModel
from tlkeras.tasks.registry import TASKS
from tlkeras.training import checkpoint, feature_cache, freezing
from tlkeras.training import phases as training
from tlkeras.training.freeze_rules import parse
from tlkeras.training.optimizer import optimizer
from tlkeras.training.recipes.registry import RECIPES, Facts, Phase, Recipe

N, BATCH, SEED = 21, 8, 3
PHASE = Phase(name="s", unfreeze="none", epochs=6, learning_rate=1e-2, weight_decay=1e-2, warmup=0.1)


def tiny_task():
    keras.utils.set_random_seed(5)
    model, sections = tiny_model()
    model.get_layer("conv_s0").kernel.assign(model.get_layer("conv_s0").kernel / 100)  # else 0-255 makes losses of hundreds
    return TaskModel(
        model=model,
        backbone=BACKBONES.get("cnn"),
        task=TASKS.get("classification"),
        target=classes("a", "b"),
        sections=sections,
        section_names=list(BLOCKS),
    )


def splits(wrong=0):
    """Returns the examples of each split; the held-out labels are `wrong` classes off."""
    x, y = pictures(N + 6)
    return {
        "train": training.Examples(inputs=x[:N], y=y[:N]),
        "val": training.Examples(inputs=x[N:], y=(y[N:] + wrong) % 3),
        "test": training.Examples(inputs=x[:5], y=y[:5]),
    }


def train(folder, *phases, task=None, parts=None, recipe=None, **options):
    task = task or tiny_task()
    rules = [(phase, parse(phase.unfreeze, list(BLOCKS))) for phase in phases]
    options = training.Options(**{"batch_size": BATCH, "seed": SEED, "checkpoints": folder, **options})
    return training.run(task, rules, parts or splits(), options, recipe=recipe)


@pytest.fixture
def fits(monkeypatch):
    """Returns what every `fit` of Keras is called with and on, in order."""
    calls = []
    plain = keras.Model.fit

    def fit(self, data, **arguments):
        calls.append((self, data, arguments))
        return plain(self, data, **arguments)

    monkeypatch.setattr(keras.Model, "fit", fit)
    return calls


# === Epochs ===


def test_cached_views_train_as_the_whole_model_does_on_the_same_views(tmp_path):
    phase = dataclasses.replace(PHASE, unfreeze="last:1")
    cached = train(tmp_path, phase, augment="light", patience=99)
    assert cached.phases[0].cached_examples and phase.epochs > training.Options.views  # so that views are read a second time

    task, examples = tiny_task(), splits()["train"]
    freezing.apply(task.model, parse("last:1", list(BLOCKS)), sections=task.sections)
    views = [AugmentedView(images=examples.inputs, name="light", seed=SEED, epoch=view)[0:N] for view in range(training.Options.views)]
    whole = keras.Model(task.model.inputs, task.model.outputs[0])
    whole.compile(optimizer(phase, math.ceil(N / BATCH) * phase.epochs, ONE_DEVICE), "sparse_categorical_crossentropy")
    losses = []
    for epoch in range(phase.epochs):
        order = np.random.default_rng((SEED, epoch)).permutation(N)
        total = 0.0
        for rows in (order[start : start + BATCH] for start in range(0, N, BATCH)):
            whole.reset_metrics()
            total += len(rows) * float(whole.train_on_batch(views[epoch % len(views)][rows], examples.y[rows]))
        losses.append(total / N)
    np.testing.assert_allclose([row["loss"] for row in cached.phases[0].history], losses, rtol=1e-3)


BY_STEPS = [row.name for row in RECIPES if any(phase.solver != "exact" for phase in row.phases_for(BLOCKS, Facts(examples=N)))]


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_STEPS)
def test_every_recipe_trains_upon_cached_features_as_it_trains_the_whole_model(name, tmp_path, monkeypatch):
    recipe = RECIPES.get(name)
    recipe = recipe if "teacher" not in recipe.settings else dataclasses.replace(recipe, transform=None, finish=None)  # its loss is another
    phases = [
        dataclasses.replace(phase, epochs=min(phase.epochs, 3), unfreeze="last:1" if phase.unfreeze == "all" else phase.unfreeze)
        for phase in recipe.phases_for(BLOCKS, Facts(examples=N))
    ]
    split, runs = feature_cache.split, []
    for whole in (False, True):
        solvers = iter([phase.solver for phase in phases])  # an exact head has no steps to compare

        def cut(model, whole=whole, solvers=solvers):
            exact = next(solvers) == "exact"
            return feature_cache.Split(prefix=None, suffix=model) if whole and not exact else split(model)

        monkeypatch.setattr(feature_cache, "split", cut)
        keras.utils.set_random_seed(7)
        runs.append(train(tmp_path, *phases, recipe=recipe, patience=99))
    cached, uncached = runs
    assert all(phase.cached_examples for phase in cached.phases)
    assert not any(phase.cached_examples for phase, planned in zip(uncached.phases, phases, strict=True) if planned.solver != "exact")
    losses = [[[row[key] for key in ("loss", "val_loss")] for row in run.history] for run in runs]
    np.testing.assert_allclose(*losses, rtol=1e-4, atol=1e-4)


# By default what is cached in several views, and what is not cached.
CACHED = [
    ("none", "light"),
    ("all", "light"),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in (("none", "none"), ("last:1", "light"))),
]


@pytest.mark.parametrize(("unfreeze", "augment"), CACHED)
def test_an_epoch_is_one_pass_over_the_examples_whatever_is_cached(unfreeze, augment, fits, tmp_path):
    phase = dataclasses.replace(PHASE, unfreeze=unfreeze)
    result = train(tmp_path, phase, augment=augment, patience=99)
    assert [row["epoch"] for row in result.history] == list(range(1, phase.epochs + 1))
    ((model, _, _),) = fits
    assert int(model.optimizer.iterations) == phase.epochs * math.ceil(N / BATCH)


@pytest.mark.parametrize("augment", [pytest.param("none", marks=pytest.mark.slow), "light"])
def test_patience_counts_passes(augment, tmp_path):
    still = dataclasses.replace(PHASE, learning_rate=0.0, epochs=9)
    result = train(tmp_path, still, augment=augment, patience=2)
    assert len(result.history) == 1 + 2 and result.phases[0].best_epoch == 1


# === Which weights are kept ===


def test_a_phase_that_keeps_the_last_weights_does_not_stop_early_and_writes_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", -1.0)
    still = dataclasses.replace(PHASE, learning_rate=0.0, keep="last")
    result = train(tmp_path, still, patience=1)
    assert len(result.history) == result.phases[0].best_epoch == still.epochs
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", ["best", "last"])
def test_an_interrupted_phase_leaves_the_weights_that_it_keeps(keep, tmp_path):
    task, weights = tiny_task(), []

    def stop(name, done, total, text):
        epoch = len(weights) + 1
        if text.startswith(f"epoch {epoch}/"):
            weights.append(task.model.get_weights())
            if epoch == 4:
                raise KeyboardInterrupt

    phase = dataclasses.replace(PHASE, keep=keep, learning_rate=0.05, epochs=20)
    with pytest.raises(training.Interrupted, match="stopped after 4 epochs") as stopped:  # what is learned is wrong for them
        train(tmp_path, phase, task=task, parts=splits(wrong=1), progress=stop, patience=99)
    history = stopped.value.history
    best = int(np.argmin([row["val_loss"] for row in history]))
    assert len(history) == 4 and {row["phase"] for row in history} == {"s"} and stopped.value.keep == keep
    assert best != 3, "the last epoch is the best one: this tells nothing"
    for kept, value in zip(task.model.get_weights(), weights[best if keep == "best" else 3], strict=True):
        np.testing.assert_array_equal(kept, value)


def test_an_interrupted_second_phase_keeps_the_history_of_the_first(tmp_path):
    def stop(name, done, total, text):
        if name == "second" and text.startswith("epoch 1/"):
            raise KeyboardInterrupt

    phases = [dataclasses.replace(PHASE, name=name, epochs=2) for name in ("first", "second")]
    with pytest.raises(training.Interrupted, match="stopped after 3 epochs") as stopped:
        train(tmp_path, *phases, progress=stop)
    assert [(row["phase"], row["epoch"]) for row in stopped.value.history] == [("first", 1), ("first", 2), ("second", 1)]


def test_weights_of_another_model_are_not_put_back(tmp_path):
    best = checkpoint.KeepBest(None, monitor="loss", patience=1, path=tmp_path / "x.weights.h5")
    best.restore()  # there is no best epoch yet
    for depth in (1, 2):
        best.set_model(keras.Sequential([keras.Input((2,)), *(layers.Dense(2) for _ in range(depth))]))
        if depth == 1:
            best.on_epoch_end(0, {"loss": 1.0})
    with pytest.raises(ValueError, match="zip"):
        best.restore()


# === Several phases ===


def test_each_phase_has_its_own_order_augmentation_and_checkpoint(fits, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", -1.0)
    phases = [dataclasses.replace(PHASE, name=name, unfreeze="all", epochs=1, learning_rate=0.0) for name in ("first", "second")]
    result = train(tmp_path, *phases, augment="light")
    assert [phase.name for phase in result.phases] == ["first", "second"]
    assert {path.name for path in tmp_path.iterdir()} == {"best-first.weights.h5", "best-second.weights.h5"}
    first, second = (np.concatenate([labels.numpy() for _, labels in data]) for _, data, _ in fits)
    assert sorted(first) == sorted(second) and first.tolist() != second.tolist()
    # Nothing was learned, so that the loss tells one augmentation from another.
    losses = [phase.history[0]["loss"] for phase in result.phases]
    assert abs(losses[0] - losses[1]) > 1e-4


def test_the_first_of_two_phases_trains_as_it_does_alone(tmp_path):
    phases = [dataclasses.replace(PHASE, name=name, epochs=2, unfreeze=unfreeze) for name, unfreeze in (("a", "none"), ("b", "last:1"))]
    both, alone = train(tmp_path, *phases, augment="light"), train(tmp_path, phases[0], augment="light")
    assert both.phases[0].history == alone.phases[0].history


# === Recipes that change the model ===


def with_temperature(task, temperature, name):
    """Returns the task model with its logits divided by a temperature, in a layer of that name."""
    scaled = layers.Rescaling(1 / temperature, name=name)(task.model.get_layer("head_logits").output)
    model = keras.Model(task.model.inputs, layers.Softmax(name=f"{name}_scores")(scaled))
    return dataclasses.replace(task, model=model, sections={layer.name: task.sections.get(layer.name, "head") for layer in model.layers})


def made_up(**functions):
    return Recipe(name="made-up", phases=lambda sections, facts: (PHASE,), why="", source="", **functions)


def test_a_recipe_may_change_the_model_before_and_after_training(tmp_path):
    trained = []

    def finish(task, parts):
        trained.append(task)
        assert set(parts) == {"train", "val", "test"}
        return with_temperature(task, 5.0, "finished")

    result = train(tmp_path, PHASE, recipe=made_up(transform=lambda task: with_temperature(task, 2.0, "transformed"), finish=finish))
    assert "transformed" in trained[0].sections and "finished" in result.task.sections
    for name in ("val", "test"):
        expected = result.task.model.predict(splits()[name].inputs.astype("float32"), verbose=0)
        np.testing.assert_allclose(result.scores[name], expected, atol=1e-5)


def test_an_interrupted_run_leaves_the_transformed_model(tmp_path):
    def stop(name, done, total, text):
        if text.startswith("epoch 1/"):
            raise KeyboardInterrupt

    recipe = made_up(transform=lambda task: with_temperature(task, 2.0, "transformed"), finish=lambda task, parts: pytest.fail("too early"))
    with pytest.raises(training.Interrupted) as stopped:
        train(tmp_path, PHASE, recipe=recipe, progress=stop)
    assert "transformed" in stopped.value.task.sections
