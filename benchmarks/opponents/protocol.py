"""What the methods of a comparison share: jobs come in as JSON, one line of JSON for each goes out. Standard library only."""

from __future__ import annotations

import csv
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "RESULT "
STARTED = "BENCHMARK_STARTED"  # environment variable: seconds since the epoch when the process was started
TABLE = "examples.csv"  # in the folder of a data set: `path` or `text`, targets, `split` (train, val, test)

Job = dict[str, Any]


def serve(measure: Callable[[Job], dict[str, Any]]) -> None:
    """Measures each job that the command line names and prints its result.

    The argument is a file with a list of jobs, or the folder of one data set, then optionally the seed. A job is
    `{"folder": …, "seed": …, …}`; `measure` returns at least its `score` and `train_seconds`. Added are `seconds` (of the whole process
    so far; for later jobs of the same process, its start and the job), `cpu_seconds`, `memory_gb` (largest so far), and `warm`: whether
    other jobs ran in the process before.
    """
    argument = Path(sys.argv[1])
    if argument.is_dir():
        jobs = [{"folder": str(argument), "seed": int(sys.argv[2]) if len(sys.argv) > 2 else 0}]
    else:
        jobs = json.loads(argument.read_text(encoding="utf-8"))
    now = time.time()
    start, start_cpu = now - float(os.environ.get(STARTED, now)), _processor_seconds()
    for number, job in enumerate(jobs):
        began, cpu = time.time(), _processor_seconds()
        try:
            figures = measure(job)
        except Exception as error:  # the other jobs of the process are still worth their time
            traceback.print_exc()
            figures = {"error": f"{type(error).__name__}: {error}"[:300]}
        figures |= {
            "seconds": round(start + time.time() - began, 2),
            "cpu_seconds": round(start_cpu + _processor_seconds() - cpu, 2),
            "memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            "warm": number > 0,
        }
        print(MARK + json.dumps({"job": job, **figures}), flush=True)


def read_table(folder: str | Path) -> dict[str, list[dict[str, str]]]:
    """Returns the rows of each split of a data set."""
    splits: dict[str, list[dict[str, str]]] = {"train": [], "val": [], "test": []}
    with open(Path(folder) / TABLE, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            splits[row["split"]].append(row)
    return splits


def _processor_seconds() -> float:
    """Seconds of processor time of this process and of those it started and awaited."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
