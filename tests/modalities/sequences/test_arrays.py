"""How sequences are scaled."""

import numpy as np
import pytest

from tlkeras.data.examples import Example, make_dataset
from tlkeras.modalities.sequences import arrays


def dataset(x):
    return make_dataset("sequences", [Example(id=str(i), label=str(i % 2), array=row.astype("float32")) for i, row in enumerate(x)])


def scaled(x, facts):
    return (x - np.array(facts["mean"])) / np.array(facts["std"])


@pytest.fixture(scope="module")
def digits():
    """Rows of the digits 0-4 and of the others; the border columns of the first are nearly or wholly empty, those of the others are not."""
    from sklearn.datasets import load_digits

    images, y = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) * 255 / 16
    known, new = images[y < 5].copy(), images[y >= 5].copy()
    known[:, :, 7], known[3, 2, 7], known[:, :, 0] = 0, 10, 0
    new[:, :, [0, 7]] = 255
    return known, new


def test_columns_that_hardly_vary_do_not_explode_on_new_data(digits):
    known, new = digits
    facts = arrays.described(dataset(known), None)
    own = np.where(known.reshape(-1, 8).std(0) > 0, known.reshape(-1, 8).std(0), 1)
    assert np.abs((new - known.reshape(-1, 8).mean(0)) / own).max() > 200
    assert np.abs(scaled(known, facts)).max() <= arrays.FURTHEST + 1e-5
    assert np.abs(scaled(new, facts)).max() < 10


def test_features_that_vary_are_scaled_by_themselves_whatever_their_units():
    x = np.random.default_rng(0).normal(size=(200, 5, 3)) * [1e-3, 1, 1e5] + [290, 0, 1e5]
    facts = arrays.described(dataset(x), None)
    np.testing.assert_allclose(facts["std"], x.reshape(-1, 3).std(0), rtol=1e-3)
    assert scaled(x, facts).std((0, 1)) == pytest.approx([1, 1, 1], rel=2e-2)


def test_a_rare_event_in_its_own_unit_is_still_seen():
    x = np.random.default_rng(0).normal(size=(200, 5, 2)) * [1, 1000]
    x[:, :, 0] = 0
    x[::20, 2, 0] = 1  # in one sequence of twenty
    assert np.abs(scaled(x, arrays.described(dataset(x), None))[..., 0]).max() > 5


def test_sequences_that_never_change_are_not_divided_by_nothing():
    facts = arrays.described(dataset(np.full((4, 3, 2), 0.1)), None)
    assert facts["std"] == [1.0, 1.0]
