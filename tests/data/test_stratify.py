"""Splits of sets of labels: every label has its share, copies stay together, and the result depends on content and seed alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.targets import TARGETS, values
from tlkeras.data.examples import Example, make_dataset
from tlkeras.data.split import SPLITS, split
from tlkeras.data.subset import subset


def skewed(n, seed=0):
    """Returns labels of which each is half as frequent as the one before, down to about 1 %."""
    chances = 0.5 ** np.arange(1, 8)
    return (np.random.default_rng(seed).random((n, len(chances))) < chances).astype("uint8")


def named(n):
    return [f"{i:04}" for i in range(n)]


SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def surplus(labels, found):
    """Returns by how many examples each label misses its share in each split, (splits, labels)."""
    return np.abs([labels[getattr(found, name)].sum(axis=0) - SHARES[name] * labels.sum(axis=0) for name in SPLITS])


@pytest.mark.parametrize("seed", range(5))
def test_each_label_has_its_share_in_each_split_and_hashing_alone_does_worse(seed):
    labels = skewed(1000, seed)
    stratified = split(named(1000), labels, [None] * 1000, seed=seed)
    hashed = split(named(1000), np.zeros(1000, int), [None] * 1000, seed=seed)
    assert surplus(labels, stratified).max() <= 2 < surplus(labels, hashed).max()
    assert [len(getattr(stratified, name)) for name in SPLITS] == pytest.approx([700, 150, 150], abs=5)


def test_examples_without_labels_have_their_share_too():
    labels = skewed(1000)
    none = labels.sum(axis=1) == 0
    found = split(named(1000), labels, [None] * 1000)
    assert none[found.val].sum() == pytest.approx(0.15 * none.sum(), abs=8)


rows = st.lists(st.tuples(st.integers(0, 30), st.lists(st.booleans(), min_size=4, max_size=4)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(0, 3), st.sampled_from([(None, None), ("train", "val"), ("train", "test"), (None, "test")]))
def test_splits_are_disjoint_and_complete_copies_stay_together_and_every_label_is_trained(pairs, seed, words):
    hashes = [str(content) for content, _ in pairs]
    labels = np.array([row for _, row in pairs], "uint8")
    source = [words[int(content) % 2] for content in hashes]
    found = split(hashes, labels, source, seed=seed)
    assert sorted(np.concatenate([found.train, found.val, found.test]).tolist()) == list(range(len(pairs)))
    where = {i: name for name in SPLITS for i in getattr(found, name).tolist()}
    assert all(where[i] == where[j] for i in where for j in where if hashes[i] == hashes[j])
    assert all(where[i] == word for i, word in enumerate(source) if word not in (None, "train"))
    again = split(hashes, labels, source, seed=seed)
    assert all(np.array_equal(getattr(found, name), getattr(again, name)) for name in SPLITS)


def test_a_label_of_three_examples_is_in_every_split():
    labels = np.zeros((100, 2), "uint8")
    labels[:3, 0] = labels[:, 1] = 1
    found = split(named(100), labels, [None] * 100)
    assert all(labels[getattr(found, name), 0].any() for name in SPLITS)


def test_the_order_of_the_examples_does_not_matter():
    labels, hashes = skewed(300), named(300)
    order = np.random.default_rng(1).permutation(300)
    first = split(hashes, labels, [None] * 300)
    second = split([hashes[i] for i in order], labels[order], [None] * 300)
    assert {hashes[i] for i in first.test} == {hashes[order[i]] for i in second.test}


def test_another_seed_gives_another_split():
    labels = skewed(300)
    first, second = (split(named(300), labels, [None] * 300, seed=seed) for seed in (0, 1))
    assert set(first.test) != set(second.test)


# === A smaller data set ===


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("source", [(None,), ("train", "test")])
def test_a_subset_of_every_kind_of_target_is_of_the_size_asked_for_and_of_the_same_mixture(kind, source):
    examples = [Example(id=str(i), label=value, text="t", split=source[i // 12 % len(source)]) for i, value in enumerate(values(kind, 480))]
    whole = make_dataset("x", examples, target=TARGETS[kind])
    part = subset(whole, 120, seed=1)
    assert 0.9 * 120 <= len(part.examples) <= 120 and part.examples == subset(whole, 120, seed=1).examples
    assert [e for e in whole.examples if e in part.examples] == list(part.examples)
    for label in whole.labels:
        share = [np.mean([label in whole.target.tally(e.label) for e in dataset.examples]) for dataset in (whole, part)]
        assert share[1] == pytest.approx(share[0], abs=0.05)
