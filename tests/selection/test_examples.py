"""The examples of a comparison: none of the test split, each class in proportion from the first on, copies in one fold."""

import numpy as np
import pytest

from tests.helpers import pictures
from tlkeras.data.examples import from_arrays
from tlkeras.data.split import split
from tlkeras.errors import DataError
from tlkeras.modalities.images.inputs import Images
from tlkeras.selection.examples import compared, content_digest, folds, nested


def dataset(count=90):
    x, y = pictures(count, size=8)
    return from_arrays(x, y.astype(str))


def test_the_examples_are_those_that_a_run_trains_and_validates_on():
    whole = dataset()
    store = Images(size=8, resize="stretch").materialise(whole)
    own = split(store.sha256, store.strata, [None] * 90, seed=3)
    examples = compared(whole, val_split=None, test_split=None, seed=3)
    expected = {whole.examples[row].id for row in np.concatenate([own.train, own.val])}
    assert {example.id for example in examples.dataset.examples} == expected
    assert examples.held_out == len(own.test) > 0


def test_an_example_has_the_digest_that_its_store_has(tmp_path):
    from PIL import Image

    from tlkeras.modalities.sources import open_source

    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            Image.fromarray(pictures(4)[0][number]).save(tmp_path / label / f"{label}{number}.png")
    files = open_source(str(tmp_path))
    assert tuple(map(content_digest, files.examples)) == Images(size=8, resize="stretch").materialise(files).sha256


def test_any_number_of_the_first_examples_has_each_class_in_proportion():
    strata = np.array([0] * 60 + [1] * 30 + [2] * 10)
    order = nested(strata, [str(row) for row in range(100)], seed=0)
    assert sorted(order) == list(range(100))
    for size in (10, 50):
        np.testing.assert_allclose(np.bincount(strata[order[:size]], minlength=3), size * np.array([0.6, 0.3, 0.1]), atol=1)


@pytest.mark.parametrize("several", [False, True])
def test_folds_have_their_share_of_each_class_and_copies_stay_together(several):
    strata = np.arange(60) % 3
    if several:
        strata = np.eye(3, dtype="uint8")[strata] | np.eye(3, dtype="uint8")[(np.arange(60) // 20) % 3]
    digests = [str(row // 2 if row < 20 else row) for row in range(60)]
    fold_of, _ = folds(strata, digests, count=5, seed=1)
    assert (fold_of[0:20:2] == fold_of[1:20:2]).all()
    columns = np.eye(3)[strata] if strata.ndim == 1 else strata
    shares = np.stack([columns[fold_of == fold].sum(0) for fold in range(5)])
    assert (np.abs(shares - columns.sum(0) / 5) <= 2).all()


def test_there_are_no_more_folds_than_different_examples():
    assert len(np.unique(folds(np.zeros(3, int), ["a", "b", "b"], count=5, seed=0)[0])) == 2


def test_a_group_is_in_one_fold_and_folds_keep_their_share_of_each_class():
    rng = np.random.default_rng(0)
    groups = [f"patient {number}" if number < 15 else None for number in rng.integers(0, 20, 200)]
    strata = np.arange(200) % 2
    fold_of, units = folds(strata, [str(row) for row in range(200)], count=5, seed=1, groups=groups)
    for group in {name for name in groups if name}:
        members = [row for row, name in enumerate(groups) if name == group]
        assert len(set(fold_of[members])) == 1 == len(set(units[members]))
    alone = [row for row, name in enumerate(groups) if name is None]
    assert len(set(units[alone])) == len(alone)
    assert (np.abs(np.bincount(fold_of[strata == 0], minlength=5) - 20) <= 3).all()


def test_examples_that_all_belong_together_cannot_be_compared_on():
    with pytest.raises(DataError, match="one group, so none can be held out; expected two groups or more"):
        folds(np.arange(4) % 2, list("abcd"), count=5, seed=0, groups=["p"] * 4)


def test_a_group_of_the_test_split_is_left_out_whole():
    x, y = pictures(90, size=8)
    whole = from_arrays(x, y.astype(str), groups=[f"video {row // 6}" for row in range(90)])
    examples = compared(whole, val_split=None, test_split=None, seed=3)
    seen = {example.group for example in examples.dataset.examples}
    assert examples.held_out == 6 * (15 - len(seen)) > 0
