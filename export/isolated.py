"""Artifacts of strangers are opened and run in a process of their own, `isolated_worker.py`.

A runtime that crashes, or fills the memory, ends that process instead of the command, which says so in one line.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.errors import ExportError
from tlkeras.export import runner
from tlkeras.export.processes import TIMEOUT, Process

COMMAND = (sys.executable, "-P", "-m", "tlkeras.export.isolated_worker")


class Isolated:
    """An artifact that is open in another process; called like one that is open here.

    Args:
        path: of the artifact.
        reader: name in `runner.READERS`.

    Raises:
        ExportError: when it cannot be opened, also because its runtime crashed.
    """

    def __init__(self, path: Path, reader: str):
        self._path = path
        self._folder = Path(tempfile.mkdtemp(prefix="tlkeras-"))
        self._process = Process(COMMAND, os.environ, self._folder / "errors.txt")
        weakref.finalize(self, _end, self._process, self._folder)
        self.opened = self._answer({"do": "open", "path": str(path.resolve()), "reader": reader})
        if self.opened["gives_features"]:
            self.wide = partial(Isolated._called, weakref.proxy(self), what="wide")  # type: ignore[arg-type]

    def __call__(self, feeds: runner.Feeds) -> runner.Feeds:
        """Returns the outputs for inputs."""
        return self._called(feeds, "call")

    def _called(self, feeds: runner.Feeds, what: str) -> runner.Feeds:
        inputs, answers = (self._folder / name for name in ("inputs.npz", "answers.npz"))
        np.savez(inputs, **feeds)  # type: ignore[arg-type]
        self._answer({"do": what, "path": str(self._path), "inputs": str(inputs), "answers": str(answers)})
        with np.load(answers) as file:
            return dict(file)

    def _answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._process.ask(question, TIMEOUT)
        if "error" in answer:
            raise ExportError(f"cannot run {str(self._path)!r}: in the process of its runtime, {answer['error']}")
        if "reason" in answer:
            raise ExportError(answer["reason"])
        return answer


def _end(process: Process, folder: Path) -> None:
    process.close()
    shutil.rmtree(folder, ignore_errors=True)
