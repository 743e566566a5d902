"""Every task trains with everything that training offers: several devices, mixed precision, each recipe, cached features, tiny data."""

import functools
import json

import keras
import numpy as np
import pytest

import tlkeras
from tests.targets import LABELS, TARGETS, values
from tlkeras import models
from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset, Example
from tlkeras.distribution.strategies import ONE_DEVICE, open_distribution
from tlkeras.errors import ConfigError
from tlkeras.jobs import finetune
from tlkeras.registry import load_function
from tlkeras.tasks.registry import DEFAULT, TARGET, TASKS, Options, take
from tlkeras.training import feature_cache, phases
from tlkeras.training.callbacks import Progress
from tlkeras.training.freeze_rules import parse
from tlkeras.training.recipes.registry import RECIPES, Phase

N = 25  # three batches of 8 and one example: a last batch that two devices cannot share
WEIGHED = {"class_weights": True}
LEARNT = {"target_weights": "uncertainty"}
OTHERS = [task.name for task in TASKS if task.name != DEFAULT]  # tests/distribution and tests/training ask the same of the default task
SEVERAL = [task.name for task in TASKS if task.check]
CASES = [
    *((name, {}) for name in OTHERS),
    *((task.name, WEIGHED) for task in TASKS if task.class_weights and task.name != DEFAULT),
    *((name, LEARNT) for name in SEVERAL),
    *((name, {**LEARNT, **WEIGHED}) for name in SEVERAL),
]
# The last one has everything at once, so it stands for the others, which take minutes.
PARAMS = [
    pytest.param(index, id="-".join([name, *options]), marks=pytest.mark.slow if index < len(CASES) - 1 else ())
    for index, (name, options) in enumerate(CASES)
]


# The first is what runs without options; tests/training covers what the others consist of.
RECIPE_PARAMS = [pytest.param(name, marks=pytest.mark.slow if index else ()) for index, name in enumerate(RECIPES.names())]


def images(n):
    """Returns n noisy images of 16 pixels whose colour tells the class of `tests.targets.values`."""
    x = np.random.default_rng(0).integers(0, 100, (n, 16, 16, 3))
    x[np.arange(n), :, :, np.arange(n) % len(LABELS)] += 100
    return x.astype("uint8")


def dataset_of(task, n):
    """Returns examples of what a task predicts."""
    kind = TASKS.get(task).target
    labelled = zip(images(n), values(kind, n), strict=True)
    return Dataset(
        name="made up",
        target=TARGETS[kind],
        examples=tuple(Example(id=f"{i}", label=value, array=x) for i, (x, value) in enumerate(labelled)),
    )


def trained(name, folder, *, distribution=ONE_DEVICE, unfreeze="all", options=None, policy=None):
    """Trains a tiny network on N examples, with others held out; returns what training does."""
    task, n = TASKS.get(name), N + 7
    y = load_function(task.encode_targets)(values(task.target, n), TARGETS[task.target])
    target = task.learnt(TARGETS[task.target], take(y, slice(N)), Options(**(options or {})))
    finetune.seed_everything(5)  # kernels that add up in any order would differ by more than two devices do
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy or before)
    try:
        model = models.build("cnn", target, image_size=16, weights="none", task=name)
    finally:
        keras.config.set_dtype_policy(before)
    task.prepared(model.model, target)
    ranges = {"train": slice(N), "val": slice(N, N + 4), "test": slice(N + 4, n)}
    parts = {split: phases.Examples(inputs=images(n)[rows], y=y[TARGET][rows]) for split, rows in ranges.items()}
    phase = Phase(name="s", unfreeze=unfreeze, epochs=2, learning_rate=1e-2, weight_decay=1e-2, warmup=0.1)
    settings = phases.Options(batch_size=8, checkpoints=folder, distribution=distribution)
    return phases.run(model, [(phase, parse(unfreeze, model.section_names))], parts, settings)


NARROW = {"filters1": 4, "filters2": 4, "dense": 8}


def config_of(name, out, **settings):
    options = [f"{key}={value}" for key, value in NARROW.items()]
    basic = {"backbone": "cnn", "backbone_options": options, "image_size": 16, "weights": "none", "epochs": 2, "export": "none"}
    basic |= {"task": name, "out": str(out)}
    return RunConfig.from_dict({**basic, **settings})


@functools.cache
def alone(case, unfreeze, folder):
    name, options = CASES[case]
    return trained(name, folder, unfreeze=unfreeze, options=options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("alone")


def assert_same_training(one, other, tolerance=2e-4):
    """Asserts equal losses, scores and weights, and that there was something to learn."""
    losses, others = ([[row["loss"], row["val_loss"]] for row in trained.history] for trained in (one, other))
    np.testing.assert_allclose(others, losses, rtol=1e-3)
    assert losses[0][0] != losses[1][0]
    for split in ("val", "test"):
        np.testing.assert_allclose(other.scores[split], one.scores[split], atol=10 * tolerance)
    for a, b in zip(one.task.model.weights, other.task.model.weights, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=tolerance, err_msg=a.path)
    weights, other_weights = (result.task.target.facts.get("learnt_weights", {}) for result in (one, other))
    assert other_weights == pytest.approx(weights, rel=1e-4)


# === Devices ===


@pytest.mark.parametrize("unfreeze", ["all", pytest.param("none", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", PARAMS)
def test_two_devices_train_as_one_does_where_the_last_batch_cannot_be_shared(case, unfreeze, folder, tmp_path):
    name, options = CASES[case]
    other = trained(name, tmp_path, distribution=open_distribution("mirrored:2"), unfreeze=unfreeze, options=options)
    assert_same_training(alone(case, unfreeze, folder), other)


# === Cached features ===


@pytest.mark.parametrize("case", PARAMS)
def test_training_on_cached_features_is_training_the_whole_network(case, folder, tmp_path, monkeypatch):
    name, options = CASES[case]
    cached = alone(case, "none", folder)
    assert cached.phases[0].cached_examples == N + 7
    monkeypatch.setattr(feature_cache, "split", lambda model: feature_cache.Split(prefix=None, suffix=model))
    whole = trained(name, tmp_path, unfreeze="none", options=options)
    assert whole.phases[0].cached_examples == 0
    assert_same_training(cached, whole)


# === Whole runs ===


def finetuned(case, out, n=60, **settings):
    name, options = CASES[case]
    return finetune.finetune(config_of(name, out, **options, **settings), dataset=dataset_of(name, n), reporter=None)


@pytest.mark.parametrize("case", PARAMS)
def test_scores_of_mixed_precision_are_float32_and_artifacts_are_verified(case, tmp_path):
    result = finetuned(case, tmp_path / "run", mixed_precision=True, recipe="full", export="tflite")
    model = keras.models.load_model(result.run.model)
    assert {"bfloat16", "float16"} & {layer.compute_dtype for layer in model.layers}
    assert model.output.dtype == "float32" and not [weight.path for weight in model.weights if weight.dtype == "bfloat16"]
    assert result.metrics["exports"]["tflite"]["verified"] and result.metrics["mixed_precision_gap"] is not None


@pytest.mark.parametrize("recipe", RECIPE_PARAMS)
@pytest.mark.parametrize("case", PARAMS)
def test_every_recipe_trains_every_task_on_a_network_with_sections_and_the_limit_leaves_it_something_to_learn(case, recipe, tmp_path):
    row = RECIPES.get(recipe)
    by_steps, kind = not row.decides, TASKS.get(CASES[case][0]).target
    if None in row.settings.values() or (row.targets and kind not in row.targets):  # says what it needs, before anything is trained
        with pytest.raises(ConfigError, match=f"recipe '{recipe}' (needs|trains)"):
            finetuned(case, tmp_path / "run", limit=24, recipe=recipe, epochs=None)
        return
    result = finetuned(case, tmp_path / "run", limit=24, recipe=recipe, **({"learning_rate": 0.01} if by_steps else {"epochs": None}))
    assert sum(result.metrics["data"][split] for split in ("train", "val", "test")) == 24
    assert TARGETS[TASKS.get(CASES[case][0]).target].labels == tlkeras.load(result.run.root).target.labels
    phases = result.metrics["phases"]
    assert not by_steps or phases[-1]["epochs"] in (2, 6)  # a soup is of three times two
    assert all(np.isfinite(row["val_loss"]) for row in history_of(result))
    assert phases[-1]["examples_computed_once"] > 0 or phases[-1]["unfreeze"] != "none"


def history_of(result):
    header, *rows = [line.split(",") for line in result.run.history.read_text(encoding="utf-8").splitlines()]
    return [{title: float(cell) for title, cell in zip(header, row, strict=True) if title != "phase"} for row in rows]


def facts_of(result):
    """Returns everything that tasks have learnt, with the target itself and its parts as the keys."""
    target = json.loads(result.run.target.read_text(encoding="utf-8"))
    return {part["kind"]: part.get("facts", {}) for part in [target, *target.get("parts", [])]}


@pytest.mark.parametrize("case", PARAMS)
def test_with_nothing_held_out_thresholds_are_a_half_and_there_are_no_intervals(case, tmp_path):
    result = finetuned(case, tmp_path / "run", val_split=0, test_split=0, limit=30)
    assert result.metrics["data"]["train"] == 30 and result.metrics["val"]["n"] == result.metrics["test"]["n"] == 0
    facts = facts_of(result)
    assert set(facts.get("labels", {}).get("thresholds", [0.5])) == {0.5}
    model = tlkeras.load(result.run.root)
    answer = json.dumps([one.to_dict() for one in model.predict(list(images(2)))])
    assert "interval" not in answer and "NaN" not in answer


@pytest.mark.parametrize("case", PARAMS)
@pytest.mark.parametrize("n", [4, pytest.param(9, marks=pytest.mark.slow)])
def test_a_handful_of_examples_trains(case, n, tmp_path):
    result = finetuned(case, tmp_path / "run", n=n, recipe="full", batch_size=64)
    assert sum(result.metrics["data"][split] for split in ("train", "val", "test")) == n
    json.dumps(result.metrics, allow_nan=False)


@pytest.mark.parametrize("case", PARAMS)
def test_an_interrupted_run_is_evaluated_as_a_finished_one(case, tmp_path, monkeypatch):
    ended = Progress.on_epoch_end

    def interrupt(self, epoch, logs=None):
        ended(self, epoch, logs)
        if epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "on_epoch_end", interrupt)
    with pytest.raises(phases.Interrupted, match="stopped after 2 epochs; the best weights so far are in"):
        finetuned(case, tmp_path / "run", epochs=9, recipe="full")
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert model.output.shape[-1] == len(TARGETS[TASKS.get(CASES[case][0]).target].labels)
    score = tlkeras.evaluate(tmp_path / "run", dataset_of(CASES[case][0], 60), part="all").score
    assert score.n == 60 and score.headline("all") and json.dumps(score.to_dict(), allow_nan=False)
