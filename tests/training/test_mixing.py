"""Mixtures of examples, and targets that are probabilities."""

import numpy as np
import pytest

from tests.helpers import BLOCKS
from tests.training.test_phases import PHASE, splits, tiny_task
from tlkeras.config import RunConfig
from tlkeras.data import pipeline
from tlkeras.data.mixing import Mixing
from tlkeras.distribution.strategies import ONE_DEVICE, open_distribution
from tlkeras.errors import ConfigError
from tlkeras.jobs import option_checks, plan
from tlkeras.tasks.registry import TASKS
from tlkeras.training import phases as training
from tlkeras.training.distillation import enable
from tlkeras.training.features import Arrays
from tlkeras.training.fit import fit
from tlkeras.training.freeze_rules import parse
from tlkeras.training.recipes.registry import Phase

pytestmark = pytest.mark.usefixtures("graphs")

N = 12
X = (np.arange(N, dtype="uint8")[:, None, None, None] * 10 * np.ones((1, 10, 8, 3))).astype("uint8")  # image i is of colour 10 i
Y = np.arange(N)


def passes(mixing, *, batch_size=5, x=X, share=None, **settings):
    """Returns the inputs, targets and weights of one pass, by example as far as order goes."""
    data = pipeline.batches(x, Y, batch_size=batch_size, shuffle=False, seed=3, mixing=mixing, share=share, **settings)
    data = data.take(-(-N // batch_size) * (share.count if share else 1))
    return [np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*(batch[:2] for batch in data), strict=True)]


@pytest.mark.parametrize("how", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_targets_are_mixed_as_the_pixels_are(how):
    images, targets = passes(Mixing(width=N, **how))
    assert images.dtype == targets.dtype == np.float32
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), targets @ (np.arange(N) * 10), atol=1e-3)
    assert (targets.max(axis=1) < 1).sum() > N / 3
    if "mixup" not in how:
        assert set(np.unique(images)) <= set(np.arange(N) * 10.0)  # boxes hold pixels of another image


def test_mixtures_depend_on_seed_epoch_and_example_alone():
    mixing = Mixing(width=N, mixup=1.0, cutmix=1.0)
    whole = passes(mixing)
    for other in (passes(mixing, batch_size=4), passes(mixing, batch_size=4, share=pipeline.Share(parts=2, first=0, count=2))):
        for a, b in zip(whole, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_weights_of_classes_are_mixed_as_the_classes_are():
    weights = {index: float(index) for index in range(N)}
    data = pipeline.batches(X, Y, batch_size=N, shuffle=False, seed=0, mixing=Mixing(width=N, mixup=1.0), class_weights=weights)
    _, targets, weight = next(iter(data))
    np.testing.assert_allclose(weight, np.asarray(targets) @ np.arange(N), rtol=1e-5)


def test_smoothed_targets_give_a_share_to_the_uniform_answer():
    np.testing.assert_allclose(Mixing(width=4, smoothing=0.2).targets(np.array([1])), [[0.05, 0.85, 0.05, 0.05]], rtol=1e-6)
    np.testing.assert_allclose(Mixing(width=2, smoothing=0.2).targets(np.array([[1, 0]])), [[0.9, 0.1]], rtol=1e-6)


def train(folder, unfreeze, distribution=ONE_DEVICE, **options):
    phase = Phase(name="s", unfreeze=unfreeze, epochs=2, learning_rate=1e-2)
    settings = training.Options(batch_size=8, checkpoints=folder, distribution=distribution, **options)
    return training.run(tiny_task(), [(phase, parse(unfreeze, list(BLOCKS)))], splits(), settings).phases[0].history


@pytest.mark.slow
def test_mixed_features_train_a_head_on_two_devices_as_on_one(tmp_path):
    how = {"mixup": 0.4, "label_smoothing": 0.1, "class_weights": {0: 2.0, 1: 0.5, 2: 1.0}}
    alone = train(tmp_path, "none", **how)
    both = train(tmp_path, "none", open_distribution("mirrored:2"), **how)
    for a, b in zip(alone, both, strict=True):
        np.testing.assert_allclose([b[name] for name in a], [a[name] for name in a], rtol=1e-4)
    plain = train(tmp_path, "none")
    assert alone[-1]["loss"] != plain[-1]["loss"]


def test_mixtures_of_images_reach_a_network_that_trains_as_a_whole(tmp_path):
    history = train(tmp_path, "all", mixup=0.4, cutmix=1.0, augment="flip")
    assert np.isfinite([row["val_loss"] for row in history]).all()


# === What is refused ===


def test_boxes_of_images_cannot_be_cut_from_features(tmp_path):
    with pytest.raises(ConfigError, match="cutmix is 1, and replaces parts of images, but layers are frozen"):
        train(tmp_path, "last:1", cutmix=1.0)


@pytest.mark.parametrize("name", option_checks.MIXTURES)
def test_a_task_without_classes_or_labels_refuses_mixtures(name):
    for task in TASKS:
        config = RunConfig(task=task.name, recipe="full", **{name: 0.1})
        if task.soft_loss:
            plan.resolve(config)
        else:
            with pytest.raises(ConfigError, match=f"{name} is 0.1, and needs one set of classes or labels"):
                plan.resolve(config)


def test_a_recipe_without_steps_refuses_mixtures():
    with pytest.raises(ConfigError, match="mixup is 0.2, and recipe 'linear-probe' solves the head exactly"):
        plan.phases(plan.resolve(RunConfig(recipe="linear-probe", mixup=0.2)), ["block1"])


def test_targets_with_the_scores_of_a_teacher_are_not_smoothed(tmp_path):
    task = enable(tiny_task(), teacher="", temperature=2.0)
    taught = Arrays(inputs=[X[:4]], y=np.zeros((4, 4), "float32"))
    with pytest.raises(ConfigError, match="such as a teacher's scores"):
        fit(task, PHASE, task.model, taught, taught, training.Options(label_smoothing=0.1, checkpoints=tmp_path))


def test_tokens_are_not_mixed(tmp_path):
    task, tokens = tiny_task(), Arrays(inputs=[np.zeros((4, 7), "int32")], y=Y[:4])
    with pytest.raises(ConfigError, match="mixup is 0.2.* what trains here receives tokens"):
        fit(task, PHASE, task.model, tokens, tokens, training.Options(mixup=0.2, checkpoints=tmp_path))
