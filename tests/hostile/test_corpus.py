"""Every hostile or broken input is rejected on one line: no file is left, no code runs, little time and memory go."""

from pathlib import Path

import pytest

from tests.hostile import corpus
from tests.hostile.cases import outcome

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
CASES = corpus.cases()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id, marks=[pytest.mark.slow] * case.slow) for case in CASES])
@pytest.mark.filterwarnings("ignore")  # libraries tell of damaged files in their own ways
def test_an_input_that_is_hostile_or_broken_costs_one_line(case, tmp_path):
    outcome(case, tmp_path)


def test_no_case_stands_twice():
    assert len({case.id for case in CASES}) == len(CASES)


def test_the_documented_counts_are_those_of_the_corpus():
    assert corpus.section() in DOCS.read_text(encoding="utf-8"), "run `python scripts/make_reliability.py`"
