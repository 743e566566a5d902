"""Folds and splits: what is tested together covers everything once, has its share of every class, and separates no group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.targets import NUMBERS, TARGETS, values
from tlkeras.data.folds import deal, parse
from tlkeras.data.sources.columns import Columns
from tlkeras.data.split import SPLITS, split
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError, DataError
from tlkeras.modalities.sources import open_source


def named(n):
    return [f"{i:04}" for i in range(n)]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 7), st.integers(1, 3), st.integers(0, 5), st.booleans())
def test_every_example_is_tested_once_in_each_repeat_and_no_group_is_on_both_sides(count, repeats, seed, grouped):
    rng = np.random.default_rng(seed)
    groups = [f"p{i}" for i in rng.integers(0, 30, 120)] if grouped else None
    content = named(120) if grouped else [f"{i}" for i in rng.integers(0, 100, 120)]  # with copies
    folds = deal(rng.integers(0, 3, 120), content, count=count, repeats=repeats, groups=groups, seed=seed)
    assert folds.tested.shape == (repeats, 120) and folds.repeats == repeats
    for repeat in range(repeats):
        tested = [test for number, _, _, test in folds.pairs() if number == repeat]
        assert sorted(np.concatenate(tested).tolist()) == list(range(120))
    for _, _, learn, test in folds.pairs():
        assert not set(learn) & set(test) and len(learn) + len(test) == 120
        assert not {content[i] for i in learn} & {content[i] for i in test}
        if groups:
            assert not {groups[i] for i in learn} & {groups[i] for i in test}


def test_classes_have_their_share_in_each_fold_and_repeats_differ():
    y = np.repeat([0, 1, 2], [60, 30, 10])
    folds = deal(y, named(100), count=5, repeats=2, seed=1)
    for _, _, _, test in folds.pairs():
        assert np.bincount(y[test], minlength=3).tolist() == [12, 6, 2]
    assert (folds.tested[0] != folds.tested[1]).any()
    assert np.array_equal(folds.tested, deal(y, named(100), count=5, repeats=2, seed=1).tested)


@pytest.mark.parametrize("kind", sorted(TARGETS))
def test_folds_of_every_kind_of_target_are_stratified(kind):
    target, own = TARGETS[kind], values(kind, 120)
    strata = target.fold_strata(own)
    columns = strata if strata.ndim > 1 else np.eye(strata.max() + 1, dtype=int)[strata]
    folds = deal(strata, named(120), count=4)
    counts = np.array([columns[test].sum(axis=0) for _, _, _, test in folds.pairs()])
    assert np.ptp(counts, axis=0).max() <= (8 if kind == "several" else 5)  # of 40 and 60 examples


def test_numbers_are_stratified_by_tenths():
    target = Target(kind="numbers", labels=("x",))
    numbers = [(float(x),) for x in np.random.default_rng(0).lognormal(size=200)]
    assert np.bincount(target.fold_strata(numbers)).tolist() == [20] * 10
    means = [
        np.log([numbers[i][0] for i in test]).mean() for _, _, _, test in deal(target.fold_strata(numbers), named(200), count=5).pairs()
    ]
    assert np.ptp(means) < 0.25
    assert NUMBERS.fold_strata([(1.0, 2.0)] * 3).shape == (3, 20)


def test_groups_of_unequal_size_are_shared_out_evenly():
    groups = [f"p{i}" for i in np.random.default_rng(1).geometric(0.05, 500)]
    folds = deal(np.zeros(500, int), named(500), count=5, groups=groups)
    assert np.bincount(folds.tested[0]).max() - np.bincount(folds.tested[0]).min() <= 10


def test_more_folds_than_groups_are_refused():
    with pytest.raises(ConfigError, match="asks for 5 folds, and there are 3 groups; expected 3 folds or less"):
        deal(np.zeros(9, int), named(9), count=5, groups=["a", "b", "c"] * 3)


def test_folds_and_repeats_are_read():
    assert parse("5") == (5, 1) and parse("10x3") == (10, 3)


# === Splits ===


def groups_of(splits, groups):
    return [{groups[i] for i in getattr(splits, name)} for name in SPLITS]


def test_a_split_separates_no_group_and_holds_out_its_share():
    rng = np.random.default_rng(0)
    groups = [f"p{i}" for i in rng.integers(0, 80, 400)]
    splits = split(named(400), rng.integers(0, 2, 400), [None] * 400, groups=groups)
    train, val, test = groups_of(splits, groups)
    assert not train & val and not train & test and not val & test
    assert [len(getattr(splits, name)) for name in SPLITS] == pytest.approx([280, 60, 60], abs=12)


def test_groups_that_share_a_content_are_not_separated():
    content = ["same", "same", *named(38)]
    groups = ["a", "b", *(["a", "b", "c", "d"] + [f"e{i}" for i in range(34)])]
    splits = split(content, np.zeros(40, int), [None] * 40, groups=groups)
    where = {groups[i]: name for name in SPLITS for i in getattr(splits, name)}
    assert where["a"] == where["b"]


def test_without_groups_a_split_is_as_it_was():
    y = np.arange(100) % 3
    before, after = split(named(100), y, [None] * 100), split(named(100), y, [None] * 100, groups=[None] * 100)
    assert all(np.array_equal(getattr(before, name), getattr(after, name)) for name in SPLITS)


def test_a_group_in_two_splits_of_the_source_is_refused():
    with pytest.raises(DataError, match="the group 'a' is in the splits train and test of the source"):
        split(named(4), np.zeros(4, int), ["train", "train", "test", "test"], groups=["a", "b", "a", "c"])


# === Sources ===


def test_a_column_of_groups_is_read_and_rows_without_one_are_counted(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label,patient\ngood,a,7\nbad,b,7\nfine,a,\n")
    dataset = open_source(str(path), columns=Columns(group="patient"))
    assert [example.group for example in dataset.examples] == ["7", "7", None]
    assert [note.reason for note in dataset.notes if note.kind == "no-group"] == [
        "1 rows have nothing in column 'patient'; each is a group of its own"
    ]
    assert [example.group for example in open_source(str(path)).examples] == [None] * 3


def test_the_steps_of_a_sequence_belong_to_one_group_and_groups_are_no_feature(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,patient,x,label\n" + "".join(f"{i // 3},{i // 6},{i},{'ab'[i // 3 % 2]}\n" for i in range(24)))
    dataset = open_source(str(path), columns=Columns(group="patient"))
    assert [example.group for example in dataset.examples] == ["0", "0", "1", "1", "2", "2", "3", "3"]
    assert dataset.examples[0].array.shape == (3, 1)


def test_a_missing_column_of_groups_and_a_source_without_columns_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label,patient\ngood,a,7\nbad,b,7\n")
    with pytest.raises(DataError, match="has no column 'patients'; did you mean 'patient'"):
        open_source(str(path), columns=Columns(group="patients"))
    with pytest.raises(DataError, match="holds the labels, so it is no group"):
        open_source(str(path), columns=Columns(group="label"))
    with pytest.raises(DataError, match="group_column is 'patient', and 'digits' has no columns; expected a table"):
        open_source("digits", columns=Columns(group="patient"))
