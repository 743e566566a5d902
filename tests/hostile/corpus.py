"""All hostile and broken inputs, and how many there are of each kind."""

from collections import Counter

from tests.hostile import arrays, artifacts, checkpoints, configs, hdf5, images, models, parquet, records, tables
from tests.hostile.cases import Case

MODULES = (images, tables, parquet, configs, arrays, checkpoints, hdf5, models, artifacts, records)
BEGIN, END = "<!-- hostile inputs: written by scripts/make_reliability.py -->", "<!-- end of hostile inputs -->"


def cases() -> list[Case]:
    """Returns every case, those of the sweep too."""
    return [case for module in MODULES for case in module.cases()]


def table() -> str:
    """Returns the number of cases of each kind as Markdown."""
    whole = cases()
    every = Counter(case.category for case in whole)
    quick = Counter(case.category for case in whole if not case.slow)
    rows = [f"| {kind} | {quick[kind]:,} | {count:,} |" for kind, count in every.items()]
    rows.append(f"| **all** | **{quick.total():,}** | **{every.total():,}** |")
    return "\n".join(["| inputs | in every test run | with `pytest -m slow` |", "| --- | ---: | ---: |", *rows])


def section() -> str:
    """Returns what `docs/reliability.md` says about them."""
    return f"{BEGIN}\n\n{table()}\n\n{END}"
