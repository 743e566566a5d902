"""Few examples: nothing is chosen on validation, so the head learns from its examples too."""

import dataclasses

import numpy as np
import pytest

from tests.training.test_phases import N, splits, tiny_task, train
from tlkeras.training import exact, features
from tlkeras.training.features import Arrays
from tlkeras.training.phases import Examples
from tlkeras.training.recipes.registry import RECIPES, Facts

(HEAD,) = RECIPES.get("few-shot").phases_for(("a",), Facts())


def test_the_head_is_solved_on_validation_examples_too_and_their_scores_are_of_the_head_without_them(tmp_path):
    lines = []
    parts = splits(wrong=1)
    nothing = dataclasses.replace(parts["test"], inputs=parts["test"].inputs[:0], y=parts["test"].y[:0])
    everything = Examples(**{key: np.concatenate([getattr(parts[name], key) for name in ("train", "val")]) for key in ("inputs", "y")})
    trained = train(tmp_path / "own", HEAD, parts=parts, say=lines.append)
    without = train(tmp_path / "without", HEAD, parts={**parts, "test": nothing})
    joined = train(tmp_path / "joined", HEAD, parts={**parts, "train": everything, "test": nothing})
    np.testing.assert_allclose(trained.scores["val"], without.scores["val"], atol=1e-5)
    assert trained.phases[0].details["solved_on"] == {"train": N, "val": 6} and "6 validation examples too" in lines[-1]
    assert "solved_on" not in without.phases[0].details
    scores, others, same = (run.task.model.predict(parts["test"].inputs, verbose=0) for run in (trained, without, joined))
    np.testing.assert_allclose(scores, same, atol=1e-4)
    assert not np.allclose(scores, others, atol=1e-3)


def test_a_second_solution_that_is_interrupted_leaves_the_first(tmp_path, monkeypatch):
    plain, calls, heads = exact.solve, [], []

    def solve(task, phase, head, train, options):
        if calls:
            heads.append([np.array(w) for w in head.get_weights()])
            for weight in head.weights:
                weight.assign(weight * 0)
            raise KeyboardInterrupt
        calls.append(phase)
        return plain(task, phase, head, train, options)

    monkeypatch.setattr(exact, "solve", solve)
    task = tiny_task()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, HEAD, task=task)
    for kept, weight in zip(heads[0], task.model.get_layer("head_logits").get_weights(), strict=True):
        assert np.array_equal(kept, weight)


@pytest.mark.parametrize("views", [1, 2])
def test_joined_splits_have_each_view_of_the_first_and_the_one_of_the_second(views):
    first = Arrays(inputs=[np.arange(3 * views)[:, None]], y=np.arange(3), views=views)
    second = Arrays(inputs=[np.array([[10], [11]])], y=np.array([7, 8]))
    both = features.joined(first, second)
    assert both.y.tolist() == [0, 1, 2, 7, 8] and both.views == views
    assert both.inputs[0][:, 0].tolist() == [0, 1, 2, 10, 11, *([3, 4, 5, 10, 11] if views == 2 else [])]


FEW = {"examples": 30, "classes": 3, "fewest": 10, "target": "class", "accelerator": False}


def names(**facts):
    return [phase.name for phase in RECIPES.get("auto").phases_for(("a",), Facts(**{**FEW, **facts}))]


def test_few_texts_of_classes_are_learned_from_in_pairs_by_default_and_few_images_are_not():
    assert names(few_recipe="contrastive") == ["pairs", "head"]
    assert names() == ["head"]


@pytest.mark.parametrize(("fewest", "expected"), [(63, ["pairs", "head"]), (64, ["head"])])
def test_pairs_are_learned_from_up_to_more_examples_of_a_class_than_a_fixed_penalty_is_for(fewest, expected):
    many = {"examples": 900, "fewest": fewest}
    assert names(few_recipe="contrastive", **many) == expected
    (images,) = RECIPES.get("auto").phases_for(("a",), Facts(**{**FEW, **many}))
    assert len(images.strengths) > 1


@pytest.mark.parametrize("facts", [{"target": "labels"}, {"examples": 5000}, {"minutes": 0}], ids=["sets", "many others", "no time"])
def test_the_head_alone_is_trained_where_pairs_do_not_fit(facts):
    assert names(few_recipe="contrastive", **facts) == ["head"]
