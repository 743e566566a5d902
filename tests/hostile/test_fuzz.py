"""Ten minutes of random input for every parser of ours (`pytest -m fuzz`): each answers, or says on one line why it cannot.

`TLKERAS_FUZZ_SECONDS` sets the time for all of them together; where atheris is installed, half of it is guided by what code an input reaches.
What is found becomes a case of the corpus.
"""

import importlib.util
import os
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings

from tests.conftest import ROOT
from tests.hostile.parsers import PARSERS, check

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(0)]

GUIDED = importlib.util.find_spec("atheris") is not None
SECONDS = float(os.environ.get("TLKERAS_FUZZ_SECONDS", 600)) / len(PARSERS) / (2 if GUIDED else 1)  # of a parser


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_answers_or_says_why_not(name):
    until = time.monotonic() + SECONDS

    @settings(max_examples=10**6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(PARSERS[name][0])
    def tried(value):
        if time.monotonic() > until:
            raise TimeIsUp
        check(name, value)

    try:
        tried()
    except TimeIsUp:
        pass


class TimeIsUp(BaseException):
    """Ends the search: it found nothing."""


@pytest.mark.skipif(not GUIDED, reason="atheris is not installed: pip install 'tlkeras[fuzz]'")
@pytest.mark.parametrize("name", PARSERS)
def test_input_that_reaches_new_code_is_answered_too(name, tmp_path):
    command = [sys.executable, "-m", "tests.hostile.guided", name, str(max(1, round(SECONDS))), f"{tmp_path}/"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
