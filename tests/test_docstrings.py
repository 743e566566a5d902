"""The examples in docstrings are true."""

import doctest
import importlib

import numpy as np
import pytest

MODULES = (
    "tlkeras.config",
    "tlkeras.training.freeze_rules",
    "tlkeras.training.freezing",
    "tlkeras.backbones.sections",
    "tlkeras.data.examples",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    found = doctest.testmod(importlib.import_module(name), extraglobs={"np": np})
    assert found.attempted > 0 and found.failed == 0
