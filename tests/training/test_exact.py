"""Exact heads: the minimum that other libraries find, folded into layers that receive features as they are."""

import types

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from tests.targets import TARGETS
from tlkeras.data.target import Target
from tlkeras.registry import load_function
from tlkeras.tasks.registry import TARGET, TASKS, Options, take
from tlkeras.training import eager, exact, fit, head_problem
from tlkeras.training.features import Arrays
from tlkeras.training.options import Options as TrainingOptions
from tlkeras.training.recipes.registry import Phase

N, WIDTH = 90, 12


def head_of(task, target, dropout=0.3, policy=None):
    """Returns a task with its head alone, on features of some width."""
    row = TASKS.get(task)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy or before)
    try:
        features = keras.Input((WIDTH,), name="features")
        model = keras.Model(features, load_function(row.build_head)(features, target, dropout))
    finally:
        keras.config.set_dtype_policy(before)
    row.prepared(model, target)
    return types.SimpleNamespace(task=row, target=target, model=model)


def features(seed=0):
    """Returns features of very different means and scales, and what they tell."""
    rng = np.random.default_rng(seed)
    told = rng.normal(size=(N, 3))
    mixed = told @ rng.normal(size=(3, WIDTH)) + rng.normal(size=(N, WIDTH))
    return (mixed * 10.0 ** rng.uniform(-2, 2, WIDTH) + rng.normal(size=WIDTH) * 50).astype("float32"), told


def solved(task, x, y, strengths, tmp_path, views=1, groups=None, **options):
    phase = Phase(name="head", unfreeze="none", epochs=1, learning_rate=0.0, solver="exact", strengths=strengths)
    arrays = Arrays(inputs=[x], y=y, views=views, groups=groups)
    return exact.solve(task, phase, task.model, arrays, TrainingOptions(checkpoints=tmp_path, **options))


def scaled(x):
    deviation = x.std(0)
    return (x - x.mean(0)) / np.sqrt(deviation * deviation.mean())


CLASSES = Target(kind="class", labels=("a", "b", "c"))


@pytest.mark.parametrize("weights", [None, {0: 0.5, 1: 1.0, 2: 2.0}])
def test_the_head_of_classes_is_the_logistic_regression_of_scikit_learn(weights, tmp_path):
    x, told = features()
    y = told.argmax(1).astype("int32")
    task = head_of("classification", CLASSES)
    solution = solved(task, x, y, (0.01,), tmp_path, class_weights=weights)
    assert solution.to_dict() == {"strength": 0.01}
    other = LogisticRegression(C=1 / (0.01 * N), class_weight=weights, max_iter=2000, tol=1e-8).fit(scaled(x), y)
    np.testing.assert_allclose(task.model.predict(x, verbose=0), other.predict_proba(scaled(x)), atol=2e-3)


def test_the_head_of_numbers_is_ridge_regression(tmp_path):
    x, told = features()
    row, target = TASKS.get("regression"), TARGETS["numbers"]
    values = {TARGET: told[:, : len(target.labels)].astype("float32") * 3 + 20}
    target = row.learnt(target, values, Options(loss=None, class_weights=False, target_weights=None))
    task = head_of("regression", target)
    solved(task, x, values[TARGET], (0.05,), tmp_path)
    y = (values[TARGET] - values[TARGET].mean(0)) / values[TARGET].std(0)
    alpha = 0.05 * N * len(target.labels) / 2  # our loss is the mean over examples and numbers
    other = Ridge(alpha=alpha).fit(scaled(x), y).predict(scaled(x)).reshape(y.shape) * values[TARGET].std(0) + values[TARGET].mean(0)
    np.testing.assert_allclose(task.model.predict(x, verbose=0), other, rtol=2e-3)


def test_the_head_of_sets_of_labels_is_a_logistic_regression_for_each(tmp_path):
    x, told = features()
    target = Target(kind="labels", labels=("a", "b", "c"))
    y = (told > 0.3).astype("float32")
    task = head_of("multilabel", target)
    solved(task, x, y, (0.02,), tmp_path)
    for index, column in enumerate(y.T):
        other = LogisticRegression(C=1 / (0.02 * 3 * N), max_iter=2000, tol=1e-8).fit(scaled(x), column)
        np.testing.assert_allclose(task.model.predict(x, verbose=0)[:, index], other.predict_proba(scaled(x))[:, 1], atol=2e-3)


def test_cross_validated_scores_are_those_of_a_head_solved_on_the_other_folds(tmp_path):
    x, told = features()
    y, fold_of = told.argmax(1).astype("int32"), np.arange(N) % 4
    task = head_of("classification", CLASSES)
    options = TrainingOptions(checkpoints=tmp_path)
    found = exact.cross_validated(task, task.model, Arrays(inputs=[x], y=y), fold_of, (0.01, 10.0), options)
    assert found.solution.strength == min(found.solution.losses, key=found.solution.losses.get) == 0.01
    for fold in range(4):
        inside = fold_of == fold
        other = LogisticRegression(C=1 / (0.01 * (~inside).sum()), max_iter=2000, tol=1e-8).fit(scaled(x)[~inside], y[~inside])
        np.testing.assert_allclose(found.scores[inside], other.predict_proba(scaled(x)[inside]), atol=3e-3)


@pytest.mark.parametrize("chunk", [7, 10_000])
def test_chunks_and_views_give_the_mean_over_all_rows(chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(head_problem, "CHUNK", chunk)
    monkeypatch.setattr(head_problem, "IN_MEMORY", 0 if chunk == 7 else head_problem.IN_MEMORY)
    x, told = features()
    y = told.argmax(1).astype("int32")
    twice, once = head_of("classification", CLASSES), head_of("classification", CLASSES)
    solved(twice, np.concatenate([x, x]), y, (0.01,), tmp_path, views=2)
    monkeypatch.undo()
    solved(once, x, y, (0.01,), tmp_path)
    np.testing.assert_allclose(twice.model.predict(x, verbose=0), once.model.predict(x, verbose=0), atol=2e-3)


def test_the_strength_is_the_best_on_held_out_folds(tmp_path):
    x, _ = features()
    y = (np.arange(N) % 3).astype("int32")  # nothing can be learned: the strongest penalty is best
    solution = solved(head_of("classification", CLASSES), x, y, (0.001, 0.1, 10.0), tmp_path)
    assert solution.strength == 10.0 == min(solution.losses, key=solution.losses.get) and len(solution.losses) == 3


def test_weaker_penalties_are_not_tried_once_they_only_get_worse(tmp_path):
    x, _ = features()
    y = (np.arange(N) % 3).astype("int32")
    solution = solved(head_of("classification", CLASSES), x, y, (100.0, 10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4), tmp_path)
    assert len(solution.losses) < 7


def test_a_feature_that_never_changes_does_no_harm(tmp_path):
    x, told = features()
    x[:, 3] = 7.0
    y = told.argmax(1).astype("int32")
    task = head_of("classification", CLASSES)
    solved(task, x, y, (0.01,), tmp_path)
    scores = task.model.predict(x, verbose=0)
    assert np.isfinite(scores).all() and (scores.argmax(1) == y).mean() > 0.6


def test_a_head_that_computes_in_half_precision_is_solved_for_features_as_it_sees_them(tmp_path):
    x, told = features()
    y = told.argmax(1).astype("int32")
    task = head_of("classification", CLASSES, policy="mixed_bfloat16")
    solved(task, x, y, (0.01,), tmp_path)
    assert (task.model.predict(x, verbose=0).argmax(1) == y).mean() > 0.6


def test_heads_of_several_targets_are_solved_together(tmp_path):
    row, target = TASKS.get("several"), TARGETS["several"]
    from tests.targets import values

    y = load_function(row.encode_targets)(values("several", N), target)
    learnt = row.learnt(target, take(y, slice(N)), Options(loss=None, class_weights=False, target_weights=None))
    task = head_of("several", learnt)
    x, _ = features()
    x[:, :6] += np.arange(N)[:, None] % 6 * 10
    before = task.model.get_weights()
    solved(task, x, y[TARGET], (0.001,), tmp_path)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(before, task.model.get_weights(), strict=True))
    assert np.isfinite(task.model.predict(x, verbose=0)).all()


def test_strengths_are_compared_without_a_group_on_both_sides(tmp_path):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 6)  # like frames of a video: nearly the same, and what is seen says nothing about the label
    x = (rng.normal(size=(30, WIDTH))[groups] + 0.01 * rng.normal(size=(180, WIDTH))).astype("float32")
    y, two = rng.integers(0, 2, 30)[groups].astype("int32"), Target(kind="class", labels=("a", "b"))
    chosen = [
        solved(head_of("classification", two), x, y, (10.0, 0.001), tmp_path / str(number), groups=of_example).strength
        for number, of_example in enumerate((None, groups, groups % 2))
    ]
    assert chosen == [0.001, 10.0, 0.001]  # two groups cannot be dealt out to three folds


def test_a_head_is_traced_once_for_all_numbers_of_rows(tmp_path, monkeypatch):
    steps, make = [], head_problem._step
    monkeypatch.setattr(head_problem, "_step", lambda *arguments: steps.append(make(*arguments)) or steps[-1])
    x, told = features()
    solved(head_of("classification", CLASSES), x, told.argmax(1).astype("int32"), (1.0, 0.1), tmp_path)  # folds have other numbers than all
    assert [step.experimental_get_tracing_count() for step in steps] == [1]


def test_few_examples_are_judged_without_tracing_and_the_figures_are_the_same(tmp_path, monkeypatch):
    x, told = features()
    y = told.argmax(1).astype("int32")
    task, options = head_of("classification", CLASSES), TrainingOptions(checkpoints=tmp_path, class_weights={0: 2.0, 1: 0.5, 2: 1.0})
    x = ((x - x.mean(0)) / x.std(0)).astype("float32")
    parts = [Arrays(inputs=[x[rows]], y=y[rows]) for rows in (slice(0, 60), slice(60, None))]
    row = fit.evaluated(task, task.model, *parts, options)
    monkeypatch.setattr(eager, "STEPS", 0)
    assert row == pytest.approx(fit.evaluated(task, task.model, *parts, options), rel=1e-5)
    assert set(row) == {"loss", "accuracy", "val_loss", "val_accuracy"}
