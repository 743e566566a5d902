"""Writes what the tests show into docs/reliability.md.

`python scripts/make_reliability.py` counts the hostile inputs that they try. With `--faults` it runs every test of a fault first, which takes
half an hour, and writes what came of each; `--faults FILE…` takes what earlier runs have noted (`TLKERAS_TEST_FAULTS=FILE pytest -m fault`).
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests import faults  # noqa: E402
from tests.hostile import corpus  # noqa: E402

PAGE = ROOT / "docs" / "reliability.md"


def replaced(text: str, begin: str, end: str, section: str) -> str:
    """Returns a page with a section between its marks, or at its end where the marks are missing."""
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    return f"{before.rstrip()}\n\n{begin}\n\n{section}\n\n{end}\n\n{after.lstrip()}".rstrip() + "\n"


def run_the_tests(folder: Path) -> list[Path]:
    """Runs all tests of faults, and returns the file of what they have shown."""
    records = folder / "faults.jsonl"
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "fault", "-q", *dict.fromkeys(module_files())]
    subprocess.run(command, cwd=ROOT, env={**os.environ, faults.RECORDS: str(records)}, check=True)
    return [records]


def module_files() -> list[str]:
    return [f"{name.replace('.', '/')}.py" for name in faults.MODULES]


def of_faults(paths: list[Path]) -> str:
    """Returns the table of faults; what no test has shown is said in it, and printed."""
    shown = faults.recorded(paths)
    for row in faults.missing(shown):
        print("no test has shown:", " / ".join(row[:2]), file=sys.stderr)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"{faults.table(shown)}\n\nWritten on {date} from {sum(shown[row] for row in faults.declared()):,} tests."


def main() -> None:
    """Replaces the sections between their marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", nargs="*", type=Path, metavar="FILE")
    paths = parser.parse_args().faults
    text = replaced(PAGE.read_text(encoding="utf-8"), corpus.BEGIN, corpus.END, corpus.table())
    if paths is not None:
        with tempfile.TemporaryDirectory() as folder:
            text = replaced(text, faults.BEGIN, faults.END, of_faults(paths or run_the_tests(Path(folder))))
    PAGE.write_text(text, encoding="utf-8")
    print(corpus.table())


if __name__ == "__main__":
    main()
