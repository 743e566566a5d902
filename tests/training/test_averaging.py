"""Averages of weights: mixtures, greedy soups, and what they are judged by."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.training.test_phases import PHASE, splits, tiny_task, train
from tlkeras.training import averaging
from tlkeras.training.averaging import Merit


def one_weight(value=0.0):
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(value))]
    )
    return model, lambda best: lambda: Merit(figure=-abs(float(model.weights[0].numpy().item()) - best), gain=0.0)


@pytest.mark.parametrize(("best", "share"), [(0.0, 0.0), (0.5, 0.5), (2.0, 1.0)])
def test_the_mixture_that_is_best_on_validation_is_kept(best, share):
    model, judge = one_weight()
    start, end = [np.array([[0.0]], "float32")], [np.array([[1.0]], "float32")]
    chosen, merits = averaging.interpolated(model, start, end, (0.0, 0.5, 1.0), judge(best))
    assert (chosen, float(model.weights[0].numpy().item())) == (share, share) and len(merits) == 3


def test_of_equal_mixtures_the_one_nearest_to_the_start_is_kept():
    model, _ = one_weight()
    chosen, _ = averaging.interpolated(model, [np.zeros((1, 1))], [np.ones((1, 1))], (1.0, 0.5, 0.0), lambda: Merit(figure=0.5, gain=0.0))
    assert chosen == 0.0


def test_of_equal_figures_the_lower_loss_decides():
    assert Merit(figure=0.9, gain=-0.2) > Merit(figure=0.9, gain=-0.3) > Merit(figure=0.8, gain=-0.1)


def test_an_ingredient_that_makes_the_soup_worse_is_left_out():
    model, judge = one_weight()
    ingredients = [[np.array([[value]], "float32")] for value in (1.2, 0.7, 9.0)]
    assert averaging.greedy_soup(model, ingredients, judge(1.0)) == [0, 1]
    assert float(model.weights[0].numpy().item()) == pytest.approx(0.95)


def test_a_phase_never_ends_worse_on_validation_than_it_began(tmp_path):
    ruinous = dataclasses.replace(PHASE, learning_rate=3.0, keep="last", interpolate=(0.0, 0.5, 1.0))
    task = tiny_task()
    before = averaging.merit(task, splits()["val"].y, task.model.predict(splits()["val"].inputs.astype("float32"), verbose=0))
    result = train(tmp_path, ruinous, task=task)
    after = averaging.merit(result.task, splits()["val"].y, result.scores["val"])
    details = result.phases[0].to_dict()
    assert after >= dataclasses.replace(before, gain=before.gain - 1e-5)
    assert details["validation"]["0"]["figure"] == pytest.approx(before.figure) and details["share_of_the_way"] in (0.0, 0.5, 1.0)


def test_a_soup_of_repetitions_is_trained_from_the_same_start(tmp_path):
    phase = dataclasses.replace(PHASE, epochs=2, keep="last", repeats=2)
    result = train(tmp_path, phase)
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4]
    assert result.phases[0].to_dict()["soup_of"] in ([0], [1], [0, 1])
    alone = train(tmp_path, dataclasses.replace(phase, repeats=1))
    assert result.history[:2] == alone.history  # and the second repetition in another order
    assert result.history[2]["loss"] != result.history[0]["loss"]
