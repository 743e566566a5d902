"""Reload artifacts in their own runtimes, in processes without tlkeras that run beside this one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.errors import ExportError
from tlkeras.export.formats import Format
from tlkeras.export.parity import Reference, Samples, Verdict, batch_sizes, compare
from tlkeras.export.processes import Processes
from tlkeras.export.spec import Interface, as_array

ENCODED = ("saved_model", "c_api")  # readers of formats that decode images, or tokenise texts, themselves
MESSAGE = 400  # characters of what a runtime says


@dataclass(frozen=True, kw_only=True)
class Running:
    """An artifact that is being run.

    Args:
        row, path: its format and where it is.
        record: the answer of its process.
        answers: the file of its outputs, once that is there.
    """

    row: Format
    path: Path
    record: Future[dict[str, Any]]
    answers: Path


class Verifier:
    """Runs the artifacts of one model in their runtimes, beside what this process does, and compares them with the model.

    Samples are written once. Each runtime has one process, which starts before its first artifact is there.

    Args:
        samples: what they are run on.
        interface: of the model.
        readers: names of the runtimes to start, as `runner.READERS` has them.

    Example:
        with Verifier(samples, graph.interface, ["onnx"]) as verifier:
            running = verifier.start(row, path)
            verdict = verifier.verdict(running, expected)
    """

    def __init__(self, samples: Samples, interface: Interface, readers: Iterable[str] = ()):
        self._samples, self._interface, self._jobs = samples, interface, []  # type: tuple[Samples, Interface, list[Running]]
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._processes = Processes(readers, self._folder)
            stack.callback(self._processes.close)
            self._job = self._stored()
            self._resources = stack.pop_all()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *error: object) -> None:
        self._resources.close()

    def start(self, row: Format, path: Path, *, score: bool = True) -> Running:
        """Queues an artifact for its runtime.

        Args:
            row: its format; `row.reader` is the runtime.
            path: where it is; it must stay there until the verdict, and `latency`, are known.
            score: whether it is run on the held-out split, and `latency` will be called.
        """
        answers = self._folder / f"{len(self._jobs)}.npz"
        job = {**self._job, "do": "verify", "path": str(path.absolute()), "answers": str(answers), "keep": score}
        if row.reader not in ENCODED:
            job["encoded"] = []
        if not score:
            job["score"] = None
        running = Running(row=row, path=path, record=self._processes.submit(row.reader, job), answers=answers)
        self._jobs.append(running)
        return running

    def outputs(self, running: Running) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Waits for an artifact; returns its outputs and the record of its process.

        Raises:
            ExportError: with the last line of what its runtime said.
        """
        record = self._answered(running, running.record)
        with np.load(running.answers) as answers:
            return dict(answers), record

    def verdict(self, running: Running, expected: Reference) -> Verdict:
        """Waits for an artifact and compares it.

        Raises:
            ExportError: when its runtime cannot load or run it.
            ExportMismatch: when its outputs differ from the model's; the message states by how much.
        """
        answers, record = self.outputs(running)
        return compare(running.row, answers, record, self._samples, expected, self._interface)

    def latency(self, running: Running) -> float:
        """Waits until nothing else runs, and measures the median milliseconds of single examples."""
        wait([job.record for job in self._jobs])
        job = {"do": "time", "path": str(running.path.absolute()), "samples": self._job["samples"]}
        return float(self._answered(running, self._processes.submit(running.row.reader, job))["latency_ms"])

    def _answered(self, running: Running, record: Future[dict[str, Any]]) -> dict[str, Any]:
        answer = record.result()
        if "error" in answer:
            raise ExportError(f"{running.row.name}: {running.row.runtime} cannot run the file: {answer['error'][:MESSAGE]}")
        return answer

    def _stored(self) -> dict[str, Any]:
        """Writes the samples to files; returns what all jobs have in common."""
        samples, interface, folder = self._samples, self._interface, self._folder
        arrays = {one.name: as_array(samples.inputs[one.name], one.dtype) for one in interface.inputs}
        np.savez(folder / "samples.npz", **arrays)  # type: ignore[arg-type]
        encoded = [folder / f"{index}.encoded" for index in range(len(samples.encoded))]
        for path, content in zip(encoded, samples.encoded, strict=True):
            path.write_bytes(content)
        scored = samples.score_inputs is not None and len(samples.score_inputs) > 0
        if scored:
            np.save(folder / "score.npy", samples.score_inputs)
        return {
            "samples": str(folder / "samples.npz"),
            "batches": batch_sizes(samples),
            "encoded": [str(path) for path in encoded],
            "short": int(samples.lengths[0]) if len(samples.lengths) else None,
            "score": str(folder / "score.npy") if scored else None,
            "output": interface.output_names[0],
            "dtype": interface.inputs[0].dtype,
        }


def check(row: Format, path: Path, samples: Samples, expected: Reference, interface: Interface) -> Verdict:
    """Runs one artifact in a fresh process and compares; see `Verifier`."""
    with Verifier(samples, interface, [row.reader]) as verifier:
        return verifier.verdict(verifier.start(row, path), expected)
