"""The race: estimates with their errors, who leaves and why, and what happens where time is short."""

import numpy as np
import pytest

from tlkeras.selection import race
from tlkeras.selection import recommend as selection


def right(count, share, seed):
    """Returns whether each of some answers is right."""
    return np.random.default_rng(seed).random(count) < share


def estimate_of(correct, folds=5):
    return race.estimate(lambda index: float(correct[index].mean()), np.arange(len(correct)) % folds)


def test_the_error_of_an_accuracy_is_the_binomial_one_corrected_for_overlapping_training_examples():
    correct = right(4000, 0.8, 0)
    own = estimate_of(correct)
    assert own.figure == correct.mean() and len(own.values) == 20
    plain = np.sqrt(own.figure * (1 - own.figure) / 4000)
    assert own.error == pytest.approx(plain * np.sqrt(1 + 20 * own.ratio), rel=0.4)  # 19 degrees of freedom
    assert own.ratio == pytest.approx((4000 / 20) / (4000 * 4 / 5))


def test_the_parts_of_a_mean_are_the_means_of_the_parts():
    correct = right(60, 0.5, 1)
    own, parts = estimate_of(correct), race.parts_of(np.arange(60) % 5)
    np.testing.assert_allclose(own.values, [correct[parts == part].mean() for part in range(20)], atol=1e-9)


def test_the_interval_of_an_accuracy_holds_the_true_one_in_at_least_95_of_100_cases():
    hits = [low <= 0.8 <= high for low, high in (estimate_of(right(300, 0.8, seed)).interval for seed in range(300))]
    assert np.mean(hits) >= 0.95


def test_a_difference_is_judged_on_the_same_examples():
    hard = right(1000, 0.7, 3)
    better = hard | right(1000, 0.1, 5)  # right on a tenth of the examples more, and never worse
    both = race.difference(estimate_of(better), estimate_of(hard))
    assert both.significant and both.interval[0] > 0
    other = race.difference(estimate_of(right(1000, 0.71, 4)), estimate_of(hard))
    assert other.error > 2 * both.error


def test_what_belongs_together_is_in_one_part_of_its_fold_and_makes_the_error_larger():
    units = np.arange(200) // 10
    fold_of = units % 5
    correct = right(20, 0.7, 2)[units]  # all of a group are answered alike
    parts = race.parts_of(fold_of, units)
    assert len(set(zip(units, parts, strict=True))) == 20 == len(np.unique(parts))
    figure = lambda index: float(correct[index].mean())  # noqa: E731
    assert race.estimate(figure, fold_of, units).error > 1.5 * race.estimate(figure, fold_of).error


@pytest.mark.parametrize("count", [7, 10, 23])
def test_a_few_examples_have_an_estimate_too(count):
    own = estimate_of(right(count, 0.5, 0), folds=3)
    assert np.isfinite(own.error) and own.examples == count


# Which answers are wrong, by position: so `good` is a little better than `near`, and that than `slow`, on any number of examples.
WRONG = {
    "good": lambda i: i % 10 == 0,
    "near": lambda i: (i % 10 == 5) | (i % 100 == 7),
    "slow": lambda i: (i % 10 == 3) | (i % 50 == 9),
}


def run(shares, steps, seconds=None, budget=1e9):
    """Runs a race of candidates with known accuracies; returns it and what was measured."""
    asked = []
    places = np.arange(max(steps))
    answers = {name: ~WRONG[name](places) if name in WRONG else right(max(steps), share, 9) for name, share in shares.items()}

    def measure(name, size):
        asked.append((name, size))
        return estimate_of(answers[name][:size])

    seconds = seconds or dict.fromkeys(shares, 0.0)
    spent = {"seconds": 0.0}

    def remaining():
        spent["seconds"] = sum(seconds[name] * size for name, size in {name: size for name, size in asked}.items())
        return budget - spent["seconds"]

    course = race.run(list(shares), steps, measure, seconds, remaining=remaining, clock=lambda: 0.0)
    return course, asked


def test_who_is_significantly_worse_leaves_with_the_reason_and_is_not_measured_again():
    course, asked = run({"good": 0.9, "near": 0.895, "bad": 0.5}, [300, 600, 1200])
    assert [size for name, size in asked if name == "bad"] == [300]
    assert "significantly worse" in course.rungs[0].left["bad"] and "behind good" in course.rungs[0].left["bad"]
    assert [size for name, size in asked if name == "near"] == [300, 600, 1200]
    assert course.order[2] == "bad" and len(course.order) == 3


def test_the_last_step_ranks_and_nobody_leaves():
    course, _ = run({"good": 0.9, "bad": 0.5}, [400])
    assert course.rungs[-1].left == {} and course.order == ["good", "bad"]


def test_where_time_is_short_the_worst_leave_and_the_best_goes_on():
    shares = {"good": 0.9, "near": 0.895, "slow": 0.89}
    course, asked = run(shares, [300, 600], {"good": 0.01, "near": 0.01, "slow": 0.01}, budget=15.5)
    assert [name for name, size in asked if size == 600] == ["good", "near"]
    assert "time was short" in course.rungs[0].left["slow"]


def test_where_time_is_short_at_the_start_the_dearest_do_not_take_part():
    course, _ = run({"cheap": 0.8, "dear": 0.9}, [300, 600], {"cheap": 0.001, "dear": 10.0}, budget=100)
    assert list(course.refused) == ["dear"] and course.order == ["cheap"]


def test_the_race_ends_early_where_no_step_fits_any_more():
    course, asked = run({"a": 0.9, "b": 0.895}, [300, 600, 1200], {"a": 0.1, "b": 0.1}, budget=61)
    assert {size for _, size in asked} == {300} and len(course.order) == 2


@pytest.mark.parametrize(
    ("examples", "classes", "first"), [(3000, 10, 375), (100, 3, 100), (511, 2, 511), (512, 2, 256), (4000, 100, 1000)]
)
def test_each_step_has_twice_as_many_examples_and_the_first_some_of_each_class(examples, classes, first):
    steps = race.sizes(examples, classes)
    assert steps[0] == first and steps[-1] == examples
    assert all(b // 2 == a for a, b in zip(steps, steps[1:], strict=False))


# === The choice ===


def records(course, **facts):
    own = {name: {"price": facts.get(name)} for name in course.order}
    return selection.ranking(course, own)


def test_the_best_is_chosen_where_no_price_counts_and_the_cheapest_of_the_near_ones_where_one_does():
    course, _ = run({"good": 0.9, "near": 0.899, "bad": 0.5}, [600])
    known = records(course, good=9.0, near=1.0, bad=0.1)
    assert selection.chosen(known)["backbone"] == "good"
    assert selection.chosen(known, "price")["backbone"] == "near"
    assert known[2]["behind"]["significant"] and not known[1]["behind"]["significant"]


def test_a_price_that_is_not_known_does_not_count():
    course, _ = run({"good": 0.9, "near": 0.899}, [600])
    assert selection.chosen(records(course, good=2.0), "price")["backbone"] == "good"
    assert selection.chosen(records(course), "price")["backbone"] == "good"


def test_the_reason_says_by_how_much_and_whether_that_may_be_chance():
    course, _ = run({"good": 0.9, "near": 0.895}, [600])
    known = records(course)
    text = selection.reason(known, known[0], "accuracy", 5, None)
    assert text.startswith("good has accuracy 0.") and "5-fold" in text and "near is 0." in text and "which may be chance" in text


def test_the_front_has_every_point_that_no_other_one_beats():
    points = [(1.0, 0.5), (2.0, 0.5), (2.0, 0.7), (3.0, 0.6), (1.0, 0.5)]
    assert selection.front(points) == [0, 2, 4]


def test_the_more_comparisons_a_race_has_the_surer_one_must_be_to_send_a_candidate_away():
    apart = race.Difference(figure=0.1, error=0.04, parts=20)
    assert apart.significant and apart.interval_of(1) == apart.interval
    assert apart.interval_of(12)[0] < 0 < apart.interval_of(2)[0]


def test_what_left_early_is_on_no_front_and_beats_nothing():
    def record(cost, figure, examples=600):
        return {"cost": cost, "figure": figure, "examples": examples}

    records = [record(9.0, 0.9), record(3.0, 0.8), record(5.0, 0.7), record(2.0, 0.85, 300), record(None, 0.99), record(1.0, 0.95, 300)]
    assert selection.left_early(records) == [False, False, False, True, False, True]
    assert selection.on_front(records, "cost") == [True, True, False, False, False, False]
