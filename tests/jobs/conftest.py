"""A finished run that the tests of several jobs look at."""

import pytest


@pytest.fixture(scope="session")
def run_of_photos(tmp_path_factory):
    """A run on photos of three colours, exported to the three formats of the default, and the folder of photos."""
    from tests.jobs.test_finetune import trained

    return trained(tmp_path_factory.mktemp("photos"))
