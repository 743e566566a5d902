"""The faults that tests put in the way of a run: `@fault(what, moment, outcome)` marks a test that shows an outcome.

`scripts/make_reliability.py --faults` runs those tests and writes what they showed into docs/reliability.md.
"""

import importlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

RECORDS = "TLKERAS_TEST_FAULTS"  # names the file that receives a line of JSON for each test that showed an outcome
MODULES = (
    "tests.jobs.test_kills",
    "tests.jobs.test_resume",
    "tests.jobs.test_resume_comparisons",
    "tests.jobs.test_damage",
    "tests.jobs.test_full_disk",
    "tests.cli.test_signals",
    "tests.data.test_row_cache",
    "tests.pretraining.test_resume",
    "tests.distribution.test_resume",
)
BEGIN, END = "<!-- faults: written by scripts/make_reliability.py --faults -->", "<!-- end of faults -->"
NOT_RUN = "not recorded yet"
HEAD = ("what happens", "when", "outcome", "tests")

Row = tuple[str, str, str]


def fault(what: str, moment: str, outcome: str) -> pytest.MarkDecorator:
    """Marks a test that shows what comes of a fault at a moment."""
    return pytest.mark.fault(what, moment, outcome)


def declared() -> list[Row]:
    """Returns what all tests show, each row once."""
    rows = (row for name in MODULES for row in _of_module(importlib.import_module(name)))
    return list(dict.fromkeys(rows))


def _of_module(module: object) -> Iterator[Row]:
    for name, test in vars(module).items():
        if name.startswith("test_"):
            for mark in getattr(test, "pytestmark", []):
                yield from _of_mark(mark)


def _of_mark(mark: pytest.Mark) -> Iterator[Row]:
    if mark.name == "fault":
        yield mark.args
    elif mark.name == "parametrize":
        for parameters in mark.args[1]:
            for one in getattr(parameters, "marks", ()):
                yield from _of_mark(one)


def record(item: pytest.Item) -> None:
    """Notes what a test that passed has shown."""
    marks = list(item.iter_markers("fault"))
    if marks and RECORDS in os.environ:
        with Path(os.environ[RECORDS]).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps([*mark.args, item.nodeid]) + "\n" for mark in marks)


def recorded(paths: Iterable[Path]) -> Counter[Row]:
    """Returns how many tests have shown each outcome, each test once, in however many files it is."""
    lines = {tuple(json.loads(line)) for path in paths for line in path.read_text(encoding="utf-8").splitlines()}
    return Counter((what, moment, outcome) for what, moment, outcome, _ in lines)


def table(shown: Counter[Row]) -> str:
    """Returns the rows as Markdown, in the order of the tests."""
    rows = [f"| {' | '.join(row)} | {shown[row] or NOT_RUN} |" for row in declared()]
    return "\n".join([f"| {' | '.join(HEAD)} |", "| --- | --- | --- | ---: |", *rows])


def rows_of(text: str) -> list[Row]:
    """Returns the rows that a page shows."""
    lines = text.partition(BEGIN)[2].partition(END)[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [(row[0], row[1], row[2]) for row in cells[2:]]


def missing(shown: Iterable[Row]) -> list[Row]:
    """Returns the rows that no test has shown."""
    return [row for row in declared() if row not in set(shown)]
