"""What the audit says of labels, numbers and several targets."""

import dataclasses

import numpy as np
import pytest

from tests.targets import TARGETS, values
from tlkeras.data.audit import audit
from tlkeras.data.examples import Example
from tlkeras.data.split import Splits
from tlkeras.data.store import Store
from tlkeras.data.target import Target


def audited(target, values, *, held_out=0, same=()):
    """Returns the audit of examples of which the last `held_out` are for the test; those in `same` have the same content."""
    n = len(values)
    store = Store(
        inputs=np.zeros((n, 1)),
        examples=tuple(Example(id=f"e{i}", label=value) for i, value in enumerate(values)),
        sha256=tuple("same" if i in same else str(i) for i in range(n)),
        dhash=np.zeros(n, "uint64"),
        target=target,
        skipped=(),
        notes=(),
    )
    index = np.arange(n)
    return audit(store, Splits(train=index[: n - held_out], val=index[:0], test=index[n - held_out :]))


def kinds(result):
    return {(issue.kind, issue.path) for issue in result.issues}


SET = Target(kind="labels", labels=("red", "dress", "rare"))
NUMBER = Target(kind="numbers", labels=("price",))


@pytest.mark.parametrize("kind", TARGETS)
def test_ordinary_values_of_every_kind_are_not_reported(kind):
    result = audited(TARGETS[kind], values(kind, 60), held_out=20)
    assert not result.issues and set(result.classes) == set(TARGETS[kind].labels)


@pytest.mark.parametrize("kind", TARGETS)
def test_contradicting_values_are_reported_for_every_kind(kind):
    first, other = values(kind, 2)
    (issue,) = (i for i in audited(TARGETS[kind], values(kind, 60), same=(0, 1)).issues if i.kind == "contradicting-labels")
    texts = [TARGETS[kind].text(value) for value in (first, other)]
    assert issue.path == "e1" and issue.reason == f"same content as e0, labelled {texts[0]!r} there and {texts[1]!r} here"


def test_labels_are_counted_in_each_split():
    result = audited(SET, [("red", "dress"), ("red",), (), ("red", "rare")], held_out=1)
    assert result.classes["red"] == {"train": 2, "val": 0, "test": 1} and result.classes["rare"] == {"train": 0, "val": 0, "test": 1}


def test_rare_labels_and_those_that_are_held_out_only_are_reported():
    result = audited(SET, [("red", "dress"), ("red",)] * 30 + [("red", "rare")], held_out=1)
    assert {("single-example-label", "rare"), ("imbalance", "rare"), ("untrained-label", "rare")} <= kinds(result)


def test_a_label_that_every_training_example_has_or_none_is_reported():
    reported = kinds(audited(SET, [("red", "dress"), ("red",)] * 30))
    assert {("constant-label", "red"), ("constant-label", "rare")} <= reported and ("constant-label", "dress") not in reported


def test_the_range_of_numbers_is_given_for_each_split():
    result = audited(NUMBER, [(1.0,), (2.0,), (6.0,), (4.0,)], held_out=1)
    assert result.classes["price"]["train"] == {"n": 3, "min": 1.0, "mean": 3.0, "max": 6.0}
    assert result.classes["price"]["val"] == {"n": 0, "min": None, "mean": None, "max": None}


def test_an_outlier_is_reported_with_its_name_and_value():
    normal = [(float(x),) for x in np.random.default_rng(0).normal(20, 3, 200)]
    (issue,) = audited(NUMBER, [*normal, (99999.0,)]).issues
    assert (issue.kind, issue.path, issue.action) == ("outlier", "e200", "kept") and "price is 99999" in issue.reason


def test_a_number_that_never_changes_in_training_is_reported():
    assert ("constant-number", "price") in kinds(audited(NUMBER, [(1.0,)] * 20 + [(2.0,), (3.0,)], held_out=2))


def test_of_several_targets_each_is_audited_under_its_name():
    target = Target.several([dataclasses.replace(NUMBER, name="offer"), Target(kind="class", labels=("a", "b"), name="brand")])
    rows = [((float(i),), "a") for i in range(30)] + [((1e6,), "b")]
    assert kinds(audited(target, rows)) >= {("outlier", "e30"), ("single-example-class", "brand:b"), ("imbalance", "brand:b")}
