"""Which networks of these tests are traced: all where numbers of steps are the subject, none where it is what training does."""

import pytest

from tlkeras.training import eager


@pytest.fixture(scope="package", autouse=True)
def few_steps():
    """Up to 64 steps are not traced: they are of networks that are smaller than those of users."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eager, "STEPS", 64)
        yield


@pytest.fixture(scope="module")
def graphs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eager, "STEPS", 0)
        yield
