"""Intervals of figures."""

import json
import time

import numpy as np
import pytest
from scipy import stats

from tests.tasks.test_measures import CASES, copies, measures_of
from tlkeras.data.target import Target
from tlkeras.evaluation import intervals
from tlkeras.tasks.registry import TARGET


@pytest.mark.parametrize("task", CASES)
def test_every_figure_lies_inside_its_interval_and_json_holds_it(task):
    content = intervals.estimates(measures_of(task, *CASES[task]()))
    rows = [*content["figures"].values(), *(row for rows in content["labels"].values() for row in rows.values())]
    assert rows and content["headline"] in content["figures"]
    for row in rows:
        assert row["low"] < row["high"]
        if "calibration" not in row.get("title", "") and row not in [rows.get("ece") for rows in content["labels"].values()]:
            assert row["low"] <= row["value"] <= row["high"]
    json.dumps(content, allow_nan=False)


def test_the_interval_of_a_mean_is_that_of_scipy():
    rng = np.random.default_rng(0)
    errors = rng.exponential(size=200)
    measured = measures_of("regression", {TARGET: errors}, np.zeros((200, 1)), Target(kind="numbers", labels=("x",)))
    found = intervals.estimates(measured)["figures"]["mae"]
    expected = stats.bootstrap((errors,), np.mean, n_resamples=2000, method="percentile", rng=1).confidence_interval
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected), abs=0.02)


def test_intervals_contain_the_true_figure_as_often_as_they_say():
    target, contained = Target(kind="numbers", labels=("x",)), 0
    for seed in range(100):
        errors = np.abs(np.random.default_rng(seed).normal(size=80))
        measured = measures_of("regression", {TARGET: errors}, np.zeros((80, 1)), target)
        found = intervals.estimates(measured, seed=seed, families=[measured.family_of("mae")])["figures"]["mae"]
        contained += found["low"] <= np.sqrt(2 / np.pi) <= found["high"]
    assert contained >= 89  # of a binomial with 100 x 0.95, 1 of 100 draws is lower


def test_equal_seeds_give_equal_intervals_and_other_seeds_others():
    measured = measures_of("multilabel", *CASES["multilabel"]())
    first, again, other = (intervals.headline(measured, seed=seed) for seed in (0, 0, 1))
    assert first == again and first != other


def test_an_accuracy_of_one_has_an_interval_with_a_width():
    y, p = np.zeros(30, int), np.tile([0.9, 0.1], (30, 1))
    content = intervals.estimates(measures_of("classification", {TARGET: y}, p, Target(kind="class", labels=("a", "b"))))
    row = content["figures"]["accuracy"]
    assert row["high"] == pytest.approx(1.0) and row["low"] == pytest.approx(0.8865, abs=1e-3)
    assert content["figures"]["macro_roc_auc"]["value"] is None and intervals.text(content["figures"]["macro_roc_auc"]) == "–"


def test_a_single_example_has_figures_and_no_resampled_intervals():
    y, p = np.zeros(1, int), np.array([[0.9, 0.1]])
    figures = intervals.estimates(measures_of("classification", {TARGET: y}, p, Target(kind="class", labels=("a", "b"))))["figures"]
    assert figures["log_loss"]["value"] == pytest.approx(-np.log(0.9)) and figures["log_loss"]["low"] is None


def test_a_thousand_examples_of_ten_classes_take_less_than_a_second():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(10), 1000)
    measured = measures_of("classification", {TARGET: rng.integers(0, 10, 1000)}, p, Target(kind="class", labels=tuple("abcdefghij")))
    before = time.thread_time()
    content = intervals.estimates(measured)
    assert time.thread_time() - before < 1.0
    assert {row["resamples"] for row in content["figures"].values()} == {intervals.RESAMPLES}


def test_many_classes_have_fewer_resamples_or_no_interval_instead_of_minutes():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(200), 1500)
    measured = measures_of(
        "classification", {TARGET: rng.integers(0, 200, 1500)}, p, Target(kind="class", labels=tuple(map(str, range(200))))
    )
    assert [intervals.count_of(family, measured) for family in measured.families] == [1000, 1000, 884, 133]


@pytest.mark.parametrize("task", CASES)
def test_the_section_and_the_lines_show_every_figure(task):
    content = {"label": intervals.estimates(measures_of(task, *CASES[task]()))}
    title, page = intervals.section(content)
    text = "\n".join(intervals.lines(content))
    for row in content["label"]["figures"].values():
        assert row["title"] in page and intervals.text(row) in page and intervals.text(row) in text
    assert title and "<script" not in page and "style=" not in page


# === Groups ===


def width(row):
    return row["high"] - row["low"]


@pytest.mark.parametrize("task", CASES)
def test_copies_in_a_group_tell_no_more_than_one_example(task):
    alone, groups, apart = (intervals.estimates(measured) for measured in copies(task, 10))
    assert alone["groups"] is apart["groups"] is None and groups["groups"] == alone["n"] == groups["n"] / 10
    for name, row in groups["figures"].items():
        assert width(row) == pytest.approx(width(alone["figures"][name]), rel=0.25), name
    for label, rows in groups["labels"].items():
        assert all(width(row) == pytest.approx(width(alone["labels"][label][name]), rel=0.25) for name, row in rows.items())
    headline = groups["headline"]
    assert width(apart["figures"][headline]) < 0.5 * width(groups["figures"][headline])


def test_intervals_of_groups_contain_the_true_figure_about_as_often_as_they_say():
    target, contained, in_vain = Target(kind="class", labels=("a", "b")), 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        right = rng.random((40, 10)) < rng.beta(2, 1, (40, 1))  # of 40 people, some are easier than others
        y, p = np.zeros(400, int), np.where(right.reshape(-1, 1), [0.9, 0.1], [0.1, 0.9])
        measured = {"label": measures_of("classification", {TARGET: y}, p, target)}
        for groups in (None, np.arange(400) // 10):
            found = intervals.headline(intervals.grouped(measured, groups)["label"], seed=seed)
            hit = found.low <= 2 / 3 <= found.high
            contained, in_vain = (contained, in_vain + hit) if groups is None else (contained + hit, in_vain)
    assert contained >= 88 and in_vain < 85


def test_where_all_groups_are_answered_rightly_each_counts_as_one_answer():
    y, p = np.zeros(30, int), np.tile([0.9, 0.1], (30, 1))
    measured = {"label": measures_of("classification", {TARGET: y}, p, Target(kind="class", labels=("a", "b")))}
    found = intervals.headline(intervals.grouped(measured, np.arange(30) // 3)["label"])
    assert found.high == pytest.approx(1.0) and found.low == pytest.approx(0.7225, abs=1e-3)


def test_one_group_has_figures_and_no_resampled_intervals():
    measured = intervals.grouped({"label": measures_of("multilabel", *CASES["multilabel"]())}, np.zeros(120, int))["label"]
    content = intervals.estimates(measured)
    assert {row["low"] for name, row in content["figures"].items() if name != "exact_match"} == {None}


def test_groups_of_one_example_each_are_no_groups():
    measured = {"label": measures_of("classification", *CASES["classification"]())}
    assert intervals.grouped(measured, np.arange(120)) == measured


def test_the_method_says_that_whole_groups_are_drawn():
    _, groups, apart = ({"label": intervals.estimates(measured)} for measured in copies("classification", 2))
    assert "draw whole groups, of which there are 120" in intervals.lines(groups)[-1] and "Wilson" not in intervals.section(groups)[1]
    assert "Wilson" in intervals.lines(apart)[-1] and "groups" not in intervals.section(apart)[1]
