"""Features kept between runs are those that would be computed, bit for bit."""

import numpy as np
import pytest

from tests.helpers import BLOCKS, pictures, tiny_model
from tlkeras.data import row_cache
from tlkeras.data.row_cache import RowCache
from tlkeras.modalities.images.augment import AugmentedView
from tlkeras.training import feature_cache, freezing
from tlkeras.training.feature_rows import FeatureRows, digest
from tlkeras.training.features import Views

X, _ = pictures(45)


def prefix_of(spec="none", seed=0):
    model, sections = tiny_model()
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 0.5, weight.shape))
    freezing.apply(model, freezing.parse(spec, BLOCKS), sections=sections)
    return feature_cache.split(model).prefix


class Forward:
    """Counts the batches that are run."""

    def __init__(self, prefix):
        self.prefix, self.batches = prefix, 0

    def __call__(self, count):
        forward = feature_cache.constant_function(self.prefix)

        def run(batch):
            self.batches += 1
            return forward(batch)

        return run


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.setattr(row_cache, "WORTH", 0.0)

    def make(prefix):
        forward = Forward(prefix)
        return FeatureRows(prefix=prefix, cache=RowCache(folder=tmp_path / "rows"), forward=forward), forward

    return make


@pytest.mark.parametrize("spec", ["none", "last:1", "last:2"])
def test_features_from_the_cache_are_those_that_are_computed_whatever_the_order_and_the_other_examples(rows, spec):
    prefix = prefix_of(spec)
    plain = feature_cache.compute(prefix, X)
    cold, forward = rows(prefix)
    for _ in range(2):
        for got, expected in zip(cold.compute(X[:40]), plain, strict=True):
            assert np.array_equal(got, expected[:40])
    assert forward.batches == 2  # of 32 and of 8 examples
    order = np.random.default_rng(1).permutation(45)
    warm, forward = rows(prefix_of(spec))  # as another process builds it
    for got, expected in zip(warm.compute(X[order]), plain, strict=True):
        assert np.array_equal(got, expected[order])
    assert forward.batches == 1  # the five that are new


def test_other_weights_have_other_features(rows):
    rows(prefix_of())[0].compute(X)
    prefix = prefix_of(seed=1)
    other, forward = rows(prefix)
    assert np.array_equal(other.compute(X)[0], feature_cache.compute(prefix, X)[0]) and forward.batches == 2


def test_views_are_known_by_their_images_and_random_numbers(rows):
    prefix = prefix_of()

    def views(seed):
        return Views(views=[AugmentedView(images=X, name="flip", seed=seed, epoch=epoch) for epoch in range(2)])

    plain = feature_cache.compute(prefix, views(0))[0]
    cached, forward = rows(prefix)
    for _ in range(2):
        assert np.array_equal(cached.compute(views(0))[0], plain)
    assert forward.batches == 3
    assert np.array_equal(cached.compute(views(1))[0], feature_cache.compute(prefix, views(1))[0])
    assert np.array_equal(cached.compute(X)[0], feature_cache.compute(prefix, X)[0])


def test_a_damaged_row_is_computed_again(rows, tmp_path):
    prefix = prefix_of()
    cached, forward = rows(prefix)
    plain = cached.compute(X)[0]
    (path,) = (tmp_path / "rows").glob("*/*/rows.bin")
    path.write_bytes(path.read_bytes()[:-1])
    assert np.array_equal(cached.compute(X)[0], plain) and forward.batches > 2


def test_the_digest_is_of_what_is_computed_and_not_of_what_trains():
    prefix = prefix_of()
    before = digest(prefix)
    prefix.trainable = True
    assert digest(prefix) == before == digest(prefix_of()) != digest(prefix_of("last:1"))
    prefix.weights[0].assign(prefix.weights[0] + 1)
    assert digest(prefix) != before
