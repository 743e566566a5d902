"""The examples in docstrings are true: those with >>> run here, the others in tests/jobs/test_examples.py."""

import ast
import doctest
import importlib
import inspect
import re
import textwrap

import numpy as np
import pytest

import tlkeras
from tests.test_architecture import MODULES, nodes, parsed

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def docstrings(name):
    for node in nodes(parsed(name)[3]):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node):
            yield ast.get_docstring(node)


def blocks_of(text):
    """Returns the programs in a docstring."""
    return [textwrap.dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)]


DOCSTRINGS = {name: list(docstrings(name)) for name in MODULES}
RUN = [name for name, texts in DOCSTRINGS.items() if any(re.search(r"^\s*>>> ", text, re.MULTILINE) for text in texts)]
BLOCKS = [
    pytest.param(name, block, id=f"{name}-{index}")
    for name, texts in DOCSTRINGS.items()
    for index, block in enumerate(block for text in texts for block in blocks_of(text))
]
# Not by `getattr`: the package `tlkeras.explain` hides the function of this name once it is imported, and can be called like it.
PUBLIC = {name: function for name in tlkeras.__all__ if name[0] != "_" and callable(function := tlkeras.__getattr__(name))}


@pytest.mark.parametrize("name", RUN)
def test_examples_in_docstrings_are_true(name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    # A function that stands in several modules is tested where it is defined.
    tests = [test for test in finder.find(module, extraglobs={"np": np}) if test.examples]
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test)
    assert runner.tries > 0 and runner.failures == 0


@pytest.mark.parametrize(("name", "block"), BLOCKS)
def test_blocks_in_docstrings_compile_and_use_names_that_exist(name, block):
    for node in ast.walk(ast.parse(block)):
        dotted = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if re.fullmatch(r"tlkeras(\.\w+)+", dotted):
            assert resolved(dotted) is not None
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)


def resolved(dotted):
    """Returns what a dotted name below `tlkeras` means."""
    value = tlkeras
    for part in dotted.split(".")[1:]:
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_and_class_shows_an_example(name):
    text = inspect.getdoc(PUBLIC[name])
    assert "```python" in text or ">>>" in text
