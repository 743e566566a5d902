"""Holds one artifact open and executes commands, one JSON line at a time: `python -I bench_worker.py`.

Each artifact has a process of its own, so that its memory is its own; they take turns, so that what else the
computer does hits all alike.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def reader(name: str) -> Any:
    """Returns a reader of `runner.py`, or the function that `module:function` names."""
    if ":" in name:
        module, function = name.split(":")
        return getattr(importlib.import_module(module), function)
    spec = importlib.util.spec_from_file_location("runner", Path(__file__).with_name("runner.py"))
    if spec is None or spec.loader is None:
        raise ImportError("runner.py is not beside bench_worker.py")
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    return runner.READERS[name]


class Worker:
    """The commands: `load`, `time`, `answer`, `peak`."""

    def load(self, reader_name: str, path: str, samples: str, threads: int) -> dict[str, Any]:
        """Opens the artifact and runs it once."""
        self.samples = dict(np.load(samples))
        read = reader(reader_name)
        started = time.perf_counter()
        self.call, runtime = read(path, list(self.samples), threads)
        self.call(self._batch(1))
        return {"load_s": time.perf_counter() - started, "runtime": runtime}

    def _batch(self, size: int) -> dict[str, np.ndarray]:
        return {name: array[np.arange(size) % len(array)] for name, array in self.samples.items()}

    def time(self, batch: int, repeat: int) -> dict[str, Any]:
        """Returns the seconds of some calls."""
        feeds, took = self._batch(batch), []
        for _ in range(repeat):
            started = time.perf_counter()
            self.call(feeds)
            took.append(time.perf_counter() - started)
        return {"seconds": took}

    def answer(self, inputs: str, output: str, out: str) -> dict[str, Any]:
        """Answers a whole array of inputs, or the samples by default, and stores the answers."""
        if inputs:
            name, held = next(iter(self.samples)), np.load(inputs, mmap_mode="r")
            parts = [self.call({name: np.asarray(held[i : i + 32], self.samples[name].dtype)})[output] for i in range(0, len(held), 32)]
        else:
            parts = [self.call(self.samples)[output]]
        np.save(out, np.concatenate([np.array(part) for part in parts]))
        return {}

    def peak(self) -> dict[str, Any]:
        """Returns the largest memory that this process has held, in bytes; None if the system does not report it."""
        status = Path("/proc/self/status")
        if status.exists():  # Linux, where `getrusage` also counts what the parent process held before it became this one
            line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
            return {"peak_bytes": int(line.split()[1]) * 1024}
        try:
            import resource
        except ImportError:  # Windows
            return {"peak_bytes": None}
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"peak_bytes": largest if sys.platform == "darwin" else largest * 1024}


def main() -> None:
    """Reads commands until there are no more."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()

    def answer(done: dict[str, Any]) -> None:
        answers.write(json.dumps(done) + "\n")
        answers.flush()

    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer(getattr(worker, command.pop("do"))(**command))
        except Exception as error:  # each runtime has errors of its own; the table shows them
            answer({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
            raise SystemExit(1) from error


if __name__ == "__main__":
    main()
