"""A run that the tests of several targets and those of every task look at."""

import pytest


@pytest.fixture(scope="session")
def run_of_several_targets(tmp_path_factory):
    """A run of three targets with weights by uncertainty, and each of them alone."""
    from tests.tasks.test_several import trained

    return trained(tmp_path_factory.mktemp("several"))
