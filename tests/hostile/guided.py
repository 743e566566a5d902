"""Input for a parser that is guided by what code it reaches, by atheris: `python -m tests.hostile.guided NAME SECONDS FOLDER/`.

Hypothesis makes the values of the parser from the bytes that libFuzzer changes. What is found is printed, and its bytes are in FOLDER.
"""

import sys
import warnings

import atheris
from hypothesis import HealthCheck, given, settings

from tests import conftest  # noqa: F401  # finds the packages in a bare checkout

with atheris.instrument_imports(include=["tlkeras"]):
    from tests.hostile.parsers import PARSERS, check

name, seconds, folder = sys.argv[1:]


@settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(PARSERS[name][0])
def tried(value):
    check(name, value)


warnings.simplefilter("ignore")
atheris.Setup(
    [
        sys.argv[0],
        f"-max_total_time={seconds}",
        "-timeout=10",
        "-len_control=0",
        "-max_len=8192",
        "-rss_limit_mb=4000",
        f"-artifact_prefix={folder}",
        "-print_final_stats=1",
    ],
    tried.hypothesis.fuzz_one_input,
)
atheris.Fuzz()
