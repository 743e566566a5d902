"""Networks of these tests are traced, as larger ones are."""

import pytest

from tlkeras.training import eager


@pytest.fixture(scope="package", autouse=True)
def traced():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eager, "STEPS", 0)
        yield
