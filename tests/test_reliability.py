"""What docs/reliability.md says comes of a fault is what tests show."""

from tests import faults
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "reliability.md"


def test_the_table_of_faults_is_that_of_the_tests():
    assert faults.rows_of(PAGE.read_text(encoding="utf-8")) == faults.declared(), "run `python scripts/make_reliability.py --faults`"


def test_a_row_without_a_test_that_showed_it_is_missing():
    first, *others = faults.declared()
    assert faults.missing(others) == [first] and not faults.missing([first, *others])
