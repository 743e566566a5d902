"""Two models on the same examples, and the tests behind the words."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from tests.tasks.test_measures import CASES, N, measures_of
from tlkeras.evaluation import comparison
from tlkeras.evaluation.significance import holm, mcnemar, wilcoxon, worse, worse_by_group
from tlkeras.tasks.registry import TARGET, take


def degraded(targets, p, target, share=0.5):
    """Returns a case whose model answers by chance on some examples."""
    rng = np.random.default_rng(5)
    changed = p.copy()
    index = rng.permutation(len(p))[: int(share * len(p))]
    changed[index] = changed[rng.permutation(index)]
    return targets, changed, target


@pytest.mark.parametrize("task", CASES)
def test_a_model_that_guesses_on_half_of_the_examples_is_worse_with_an_interval(task):
    case = CASES[task]()
    content = comparison.compare(measures_of(task, *case), measures_of(task, *degraded(*case)))
    row = content["figures"][content["headline"]]
    assert row["low"] < row["difference"] < row["high"] and (row["low"] > 0 if row["higher"] else row["high"] < 0)
    assert ": better by " in content["words"]
    test = content.get("mcnemar") or next(iter(content["wilcoxon"].values()))
    assert test["p"] < 0.05
    assert content["n"] == N and set(content["labels"]) == (set() if not content["labels"] else set(case[2].labels))
    json.dumps(content, allow_nan=False)


@pytest.mark.parametrize("task", CASES)
def test_a_model_compared_with_itself_shows_no_difference(task):
    measured = measures_of(task, *CASES[task]())
    content = comparison.compare(measured, measured)
    assert {row["difference"] for row in content["figures"].values()} == {0.0}
    assert "no difference is shown" in content["words"]
    assert (content.get("mcnemar") or next(iter(content["wilcoxon"].values())))["p"] == 1.0


def test_label_maps_may_be_ordered_differently():
    targets, p, target = CASES["classification"]()
    p = p + np.random.default_rng(0).random(p.shape) * 1e-3  # of equal scores, the first label is the answer
    order = np.array([5, 4, 3, 2, 1, 0])
    other = type(target)(kind="class", labels=tuple(target.labels[index] for index in order))
    reordered = measures_of("classification", {TARGET: np.argsort(order)[targets[TARGET]]}, p[:, order], other)
    content = comparison.compare(measures_of("classification", targets, p, target), reordered)
    differences = [row["difference"] for rows in content["labels"].values() for row in rows.values()]
    assert len(differences) == 30 and differences == pytest.approx([0.0] * 30)


WORDS = [
    ((0.018, 0.004, 0.031, True, True), "accuracy: better by 1.8 points, between 0.4 and 3.1"),
    ((-0.018, -0.031, -0.004, True, True), "accuracy: worse by 1.8 points, between 0.4 and 3.1"),
    ((-0.018, -0.031, -0.004, False, True), "accuracy: better by 1.8 points, between 0.4 and 3.1"),
    ((0.25, 0.1, 0.5, False, False), "accuracy: worse by 0.250, between 0.100 and 0.500"),
    ((0.003, -0.009, 0.015, True, True), "accuracy: no difference is shown: 0.3 points better, between 0.9 worse and 1.5 better"),
    ((None, None, None, True, True), "accuracy: not defined on these examples"),
    ((0.01, None, None, True, True), "accuracy: 1.0 points better, without an interval"),
]


@pytest.mark.parametrize(("values", "text"), WORDS)
def test_a_difference_is_said_in_words(values, text):
    assert comparison.words(dict(zip(("difference", "low", "high", "higher", "share"), values, strict=True), title="accuracy")) == text


def test_the_section_and_the_lines_hold_the_words_and_the_test():
    case = CASES["classification"]()
    content = {"label": comparison.compare(measures_of("classification", *case), measures_of("classification", *degraded(*case)))}
    title, page = comparison.section("runs/b", content)
    assert content["label"]["words"] in page and "McNemar" in page and "runs/b" in page and "style=" not in page
    assert any(content["label"]["words"] in line for line in comparison.lines("runs/b", content))


@pytest.mark.parametrize("task", CASES)
def test_copies_in_a_group_show_no_difference_better_than_one_example_and_no_test_counts_them(task):
    case = CASES[task]()
    alone = comparison.compare(measures_of(task, *case), measures_of(task, *degraded(*case)))
    groups, guess = np.repeat(np.arange(N), 10), degraded(*case)
    first = dataclasses.replace(measures_of(task, take(case[0], groups), case[1][groups], case[2]), groups=groups)
    found = comparison.compare(first, measures_of(task, take(case[0], groups), guess[1][groups], case[2]))
    one, many = (part["figures"][part["headline"]] for part in (alone, found))
    assert many["high"] - many["low"] == pytest.approx(one["high"] - one["low"], rel=0.05)
    assert found["groups"] == N and not {"mcnemar", "wilcoxon"} & set(found)
    text = "\n".join(comparison.lines("b", {"label": found}))
    assert "120 groups, which are drawn as a whole" in text and "are left out" in text and text.count("p =") == 0


# === Tests ===


@pytest.mark.parametrize(
    ("only_first", "only_second", "method"), [(3, 9, "exact"), (0, 0, "exact"), (40, 12, "chi-squared, continuity-corrected")]
)
def test_mcnemar_is_exact_for_few_discordant_examples(only_first, only_second, method):
    first = np.array([True] * only_first + [False] * only_second + [True] * 20)
    second = np.array([False] * only_first + [True] * only_second + [True] * 20)
    found = mcnemar(first, second)
    exact = stats.binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1.0
    assert found["method"] == method and (found["only_first"], found["only_second"]) == (only_first, only_second)
    assert found["p"] == pytest.approx(exact, abs=1e-9 if method == "exact" else 2e-3)


def test_the_signed_rank_test_counts_the_smaller_errors():
    rng = np.random.default_rng(0)
    first, second = rng.random(50), rng.random(50) + 0.5
    found = wilcoxon(first, second)
    assert found["p"] == stats.wilcoxon(first, second).pvalue < 1e-3 and found["smaller_first"] > found["smaller_second"]
    assert wilcoxon(first, first)["p"] == 1.0


def test_holms_correction_is_that_of_the_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_group_is_worse_only_where_its_mistakes_are_larger():
    few, many = np.array([0.0] * 38 + [1.0] * 2), np.array([1.0] * 20 + [0.0] * 20)
    assert worse(many, few) < 1e-4 < 0.5 < worse(few, many)
    assert worse(many + np.linspace(0, 0.1, 40), few) < 1e-3 and worse(few, few * 0) > 0.2
    assert worse(np.zeros(5), np.zeros(9)) == 1.0 == worse(np.zeros(0), few)


def test_a_slice_is_tested_by_its_groups_whose_copies_tell_no_more():
    rng = np.random.default_rng(0)
    few, many = rng.random(20), rng.random(20) + 0.2
    mistakes, inside = np.concatenate([many, few]), np.arange(40) < 20
    groups = np.repeat(np.arange(40), 10)
    expected = stats.t.sf(stats.ttest_ind(many, few).statistic, 19)
    assert worse_by_group(mistakes[groups], inside[groups], groups) == pytest.approx(expected)
    assert worse(mistakes[groups][inside[groups]], mistakes[groups][~inside[groups]]) < 1e-6 < expected < 0.05
    assert worse_by_group(mistakes[groups], ~inside[groups], groups) == pytest.approx(1 - expected)


def test_slices_of_people_are_rarely_marked_where_people_differ_and_slices_do_not():
    found = {"groups": 0, "examples": 0}
    people = np.repeat(np.arange(20), 10)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        mistakes = (rng.random((20, 10)) < rng.random((20, 1))).astype("float64").ravel()
        inside = (rng.permutation(20) < 8)[people]
        found["groups"] += worse_by_group(mistakes, inside, people) < 0.05
        found["examples"] += worse(mistakes[inside], mistakes[~inside]) < 0.05
    assert found["groups"] <= 18 and found["examples"] > 25  # of 200, 10 are expected


def test_one_group_or_two_say_little_of_a_slice():
    people = np.repeat(np.arange(12), 10)
    alone, two = people == 0, people < 2
    assert worse_by_group(alone.astype("float64"), alone, people) == 1.0
    assert worse_by_group(two.astype("float64"), two, people) == pytest.approx(1 / 66)  # Fisher's test of 2 wrong and 10 right groups
