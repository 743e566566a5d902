"""Opens an artifact and runs it for another process: `python -P -m tlkeras.export.isolated_worker`; see `isolated.py`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.errors import TlkerasError, reason
from tlkeras.export import runner
from tlkeras.export.read import open_artifact
from tlkeras.startup import ISOLATE

BYTES, BYTES_PER_BYTE = 8 * 1024**3, 10  # of memory beyond what the process has once its runtime is loaded: room for a batch of activations


def serve() -> None:
    """Answers the questions of standard input, each a line of JSON, until there are no more, or until the first error."""
    os.environ.pop(ISOLATE, None)  # this is the process apart
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers

    def answer(record: dict[str, Any]) -> None:
        answers.write(json.dumps(record) + "\n")
        answers.flush()

    predictor: Any = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if question["do"] == "open":
                runner.IMPORTS[question["reader"]]()
                _limit(Path(question["path"]))
                predictor = open_artifact(question["path"], question["reader"])
                record = {name: getattr(predictor, name) for name in ("runtime", "input_name", "dtype", "gives_features")}
            else:
                call = predictor.call if question["do"] == "call" else predictor.call.wide
                with np.load(question["inputs"]) as file:
                    np.savez(question["answers"], **call(dict(file)))
                record = {}
        except Exception as error:  # each runtime has errors of its own
            answer({"reason": str(error) if isinstance(error, TlkerasError) else f"cannot run {question['path']!r}: {reason(error)}"})
            raise SystemExit(1) from error
        answer(record)


def _limit(path: Path) -> None:
    """Bounds the memory of this process by what an artifact of that size needs."""
    used = Path("/proc/self/statm")
    if not used.is_file():
        return
    import resource

    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")))
    limit = int(used.read_text().split()[0]) * resource.getpagesize() + BYTES + BYTES_PER_BYTE * size
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


if __name__ == "__main__":
    serve()
