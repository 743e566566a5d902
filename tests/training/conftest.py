"""Networks of these tests are traced, as larger ones are."""

import pytest

from tlkeras.training import tracing


@pytest.fixture(scope="package", autouse=True)
def traced():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "STEPS", 0)
        yield
