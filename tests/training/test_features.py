"""Features of several augmented views of each example."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkeras.data import pipeline
from tlkeras.errors import DataError
from tlkeras.training.features import Views


@given(start=st.integers(0, 12), size=st.integers(1, 12))
def test_views_are_read_as_one_array(start, size):
    views = [np.arange(4) + 10 * view for view in range(3)]
    both = Views(views=views)
    assert len(both) == 12
    if start < 12:
        assert both[start : start + size].tolist() == np.concatenate(views)[start : start + size].tolist()


@pytest.mark.parametrize("share", [None, pipeline.Share(parts=2, first=0, count=2)])
def test_pass_e_reads_view_e_modulo_the_views_of_every_example(share):
    n, views = 5, 2
    x, y = np.arange(views * n)[:, None], np.arange(n)
    data = pipeline.batches(x, y, batch_size=2, shuffle=True, seed=0, views=views, share=share)
    batches = list(data.take(3 * 6)) if share else [batch for _ in range(3) for batch in data]
    rows = [(int(row), int(label)) for inputs, labels, *_ in batches for row, label in zip(inputs[:, 0], labels, strict=True)]
    assert all(row % n == label for row, label in rows)
    thirds = np.array_split(np.array([row // n for row, _ in rows]), 3)
    assert [set(part.tolist()) for part in thirds] == [{0}, {1}, {0}]


def test_arrays_without_all_views_are_an_error():
    with pytest.raises(DataError, match="5 labels for arrays of 9 examples"):
        pipeline.batches(np.zeros((9, 1)), np.arange(5), batch_size=2, shuffle=False, seed=0, views=2)
