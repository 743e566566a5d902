"""Training on pairs: what the loss is, and that features of a class become alike before the head is solved."""

import dataclasses

import numpy as np
import pytest

from tests.helpers import BLOCKS
from tests.targets import classes
from tests.training.test_phases import N, splits, tiny_task, train
from tlkeras.config import RunConfig
from tlkeras.data.examples import from_arrays
from tlkeras.errors import ConfigError
from tlkeras.jobs import plan
from tlkeras.training import contrastive, phases
from tlkeras.training.recipes.registry import RECIPES, Facts

RECIPE = RECIPES.get("contrastive")


def expected(y, features):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    losses = []
    for i in range(len(y)):
        cosines = {j: float(unit[i] @ unit[j]) for j in range(len(y)) if j != i}
        alike, unlike = ([c for j, c in cosines.items() if (y[i] == y[j]) is same] for same in (True, False))
        losses.append(sum(0.5 * np.mean(part) for part in ([(1 - c) ** 2 for c in alike], [c**2 for c in unlike]) if part))
    return losses


@pytest.mark.parametrize("y", [[0, 1, 0, 1, 1], [0, 0, 0], [0, 1, 2], [0]])
def test_the_loss_is_that_of_all_pairs_of_a_batch(y):
    features = np.random.default_rng(0).normal(size=(len(y), 4)).astype("float32")
    loss = contrastive.loss(classes("a", "b"))
    np.testing.assert_allclose(loss(np.array(y), features), expected([*map(bool, y)] if max(y) < 2 else y, features), atol=1e-5)


def test_the_backbone_trains_on_pairs_and_then_the_head_is_solved(tmp_path):
    pairs, head = RECIPE.phases_for(BLOCKS, Facts(examples=N))
    task = tiny_task()
    before = task.model.get_layer("head_logits").kernel.numpy()
    result = train(tmp_path, dataclasses.replace(pairs, epochs=8, learning_rate=3e-3), head, task=task)
    losses = [row["loss"] for row in result.phases[0].history]
    assert losses[-1] < 0.7 * losses[0] and "val_loss" in result.phases[0].history[0]
    assert result.phases[1].details["strength"] and not np.array_equal(before, result.task.model.get_layer("head_logits").kernel)
    assert (result.scores["val"].argmax(1) == splits()["val"].y).mean() > 0.8


def test_an_interrupted_run_leaves_the_whole_model(tmp_path):
    def stop(name, done, total, text):
        if text.startswith("epoch 1/"):
            raise KeyboardInterrupt

    with pytest.raises(phases.Interrupted) as stopped:
        train(tmp_path, *RECIPE.phases_for(BLOCKS, Facts(examples=N)), progress=stop)
    assert stopped.value.task.model.output.shape[-1] == 3


def test_few_examples_are_seen_more_often():
    passes = [RECIPE.phases_for(BLOCKS, Facts(examples=examples))[0].epochs for examples in (16, 400, 10_000)]
    assert passes == [20, 5, 2]


def test_other_targets_are_an_error_before_anything_is_read():
    dataset = from_arrays(np.zeros((6, 8, 8, 3), "uint8"), [i + 0.5 for i in range(6)])
    with pytest.raises(ConfigError, match="recipe 'contrastive' trains classification, and the task is regression"):
        plan.for_examples(plan.resolve(RunConfig(backbone="cnn", recipe="contrastive")), dataset)
