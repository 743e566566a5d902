"""Write artifacts aside, verify each in its own runtime, and only then give them their names."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras import files
from tlkeras.errors import ExportError, UnsupportedOps
from tlkeras.export import clients, manifest, parity, verification
from tlkeras.export.artifact import Artifact
from tlkeras.export.budget import Budget, check_within, figures
from tlkeras.export.checksum import measure
from tlkeras.export.formats import FORMATS, Format
from tlkeras.export.graph import Graph, is_mixed
from tlkeras.export.parity import Samples, Verdict
from tlkeras.export.quiet import quiet_converters
from tlkeras.export.spec import ExportSpec
from tlkeras.export.verifier import Running, Verifier
from tlkeras.registry import load_function
from tlkeras.startup import stop_deferred

Timed = Callable[[str, float], None]  # receives the name of a step, such as `onnx/convert`, and its seconds
NOTED_EVERY = 10.0  # seconds of conversion and verification after which what is done is recorded
ASSETS = "tokenizer"  # folder of the vocabulary, beside the artifacts


def export(
    model: keras.Model | Graph,
    spec: ExportSpec,
    out_dir: str | Path,
    samples: Samples,
    *,
    formats: Sequence[str] = ("saved_model", "tflite", "onnx"),
    budget: Budget | None = None,
    score: np.ndarray | None = None,
    keep: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
    timed: Timed | None = None,
) -> list[Artifact]:
    """Exports a model to several formats, with manifest, labels, vocabulary, samples with their answers, and client programs beside them.

    Args:
        model: functional or sequential, built; or one that is traced already.
        spec: labels, decoder, metadata.
        out_dir: folder of the artifacts. An artifact of the same name is replaced after the new one is verified.
        samples: real inputs, 3 or more, to compare on.
        formats: names in `FORMATS`.
        budget: calibration, allowed loss and options of the quantised formats.
        score: the Keras model's scores of `samples.score_inputs`, where they are known already.
        keep: whether artifacts of other formats in the folder stay in its manifest; they must be of a model with the same interface.
        progress: called with (done, all, what is being done).
        timed: called with the name and the seconds of each step.

    Returns:
        The artifacts, in the order of `formats`.

    Raises:
        UnknownName: for an unknown format.
        ConfigError: for options that do not fit, for example a full-integer format without calibration examples.
        ExportError: when one cannot be written or run, or its outputs differ from the model's; no file of it is left. Artifacts of other
            formats are written first.
    """
    rows = [FORMATS.get(name) for name in formats]
    budget = budget or Budget()
    if budget.calibration and any(row.calibrated or row.attempts for row in rows):
        budget.calibration.check(samples.inputs)
    out = Path(out_dir)
    graph = model if isinstance(model, Graph) else Graph(model, spec)
    with Verifier(samples, graph.interface, _readers(rows)) as verifier:  # their runtimes load while the model is traced and converted
        for row in rows:
            _check_texts(row, graph)
        out.mkdir(parents=True, exist_ok=True)
        earlier_records = manifest.earlier_records(out, graph.interface) if keep else {}
        expected = parity.reference(graph, samples, None if isinstance(model, Graph) or is_mixed(model) else score)
        exporter = _Exporter(graph, out, verifier, expected, budget, timed or (lambda name, seconds: None))

        def describe() -> None:  # what is done stays when another one fails
            done = [exporter.done[row.name] for row in rows if row.name in exporter.done]
            if done:
                _describe(out, graph, samples, expected, done, earlier_records)

        try:
            exporter.run(rows, progress or (lambda done, total, name: None), describe)
        finally:
            describe()
    return [exporter.done[row.name] for row in rows if row.name in exporter.done]


def _readers(rows: Sequence[Format]) -> list[str]:
    """Returns the runtimes that artifacts are run in, in the order in which they are needed."""
    return [variant.reader for row in rows for variant in (row, *parity.also(row))]


def _check_texts(row: Format, graph: Graph) -> None:
    """Refuses models of texts for runtimes without texts, before anything is written."""
    if graph.text_operations and not row.texts:
        able = ", ".join(other.name for other in FORMATS if other.texts)
        raise UnsupportedOps(
            f"{row.name}: the model works on texts ({', '.join(graph.text_operations[:3])}), which only TensorFlow supports; export {able} only, "
            "or cut the model after its TextVectorization layer, so that it accepts token ids"
        )


def _describe(
    out: Path, graph: Graph, samples: Samples, expected: parity.Reference, done: Sequence[Artifact], earlier_records: Mapping[str, Any]
) -> None:
    """Writes what stands beside the artifacts."""
    records = {**earlier_records, **{artifact.format: artifact.to_dict() for artifact in done}}
    if graph.spec.assets:
        graph.spec.assets(out / ASSETS)
    verification.write(out, graph.interface, samples, expected, done, records)
    manifest.write_manifest(out, graph, records)
    clients.write(out, graph, records)


# === The pipeline ===


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """An artifact that is written aside and runs: in the runtime of its row first, then in those that must give the same."""

    row: Format
    name: str
    options: Any
    folder: tempfile.TemporaryDirectory[str]
    running: Sequence[Running]

    @property
    def aside(self) -> Path:
        return Path(self.folder.name) / self.row.path


class _Exporter:
    """Writes one artifact after the other while those before it run in their own runtimes.

    Args:
        graph, out, expected, budget: see `export`; `expected` are the outputs of the model.
        verifier: runs the artifacts.
        timed: receives the seconds of each step.
    """

    def __init__(self, graph: Graph, out: Path, verifier: Verifier, expected: parity.Reference, budget: Budget, timed: Timed):
        self._graph, self._out, self._verifier, self._expected, self._budget, self._timed = graph, out, verifier, expected, budget, timed
        self._pending: list[_Attempt] = []
        self.done: dict[str, Artifact] = {}
        self._errors: dict[str, ExportError] = {}
        self._noted = time.monotonic()

    def run(self, rows: Sequence[Format], progress: Callable[[int, int, str], None], describe: Callable[[], None]) -> None:
        """Writes and verifies an artifact of each format; raises the error of the first that failed.

        Args:
            rows: the formats.
            progress: called with (done, all, what is being done).
            describe: records what is done; called now and then, so that a process that is killed loses little.
        """
        self._describe = describe
        try:
            for index, row in enumerate(rows):
                progress(index, len(rows), row.name)
                self._begin(row)
            self._finish()
        finally:
            self._stop()
        for row in rows:
            if row.name in self._errors:
                raise self._errors[row.name]
        progress(len(rows), len(rows), "")

    def _begin(self, row: Format) -> None:
        """Writes an artifact and starts to verify it; of a format with several attempts, waits for the first that passes."""
        try:
            if row.attempts:
                self.done[row.name] = self._search(row)
                self._note()
            else:
                ((name, options),) = self._budget.attempts(row, self._graph)
                self._pending.append(self._written(row, name, options))
        except ExportError as error:
            self._errors[row.name] = error

    def _finish(self) -> None:
        """Waits for the verdicts, and puts the artifacts that pass into place."""
        while self._pending:
            attempt = self._pending[0]
            try:
                self.done[attempt.row.name] = self._settled(attempt)
                self._note()
            except ExportError as error:
                self._errors[attempt.row.name] = error
            self._pending.pop(0).folder.cleanup()

    def _note(self) -> None:
        """Records what is done, if that is worth its time."""
        if time.monotonic() - self._noted > NOTED_EVERY:
            self._describe()
            self._noted = time.monotonic()

    def _stop(self) -> None:
        """Puts what is verified by now into place, without a measured latency, and removes the rest: nothing is left after `_finish`."""
        for attempt in self._pending:
            if all(run.record.done() for run in attempt.running):
                with suppress(ExportError):  # what stopped the export is reported
                    self.done[attempt.row.name] = self._settled(attempt, measured=False)
            attempt.folder.cleanup()

    def _search(self, row: Format) -> Artifact:
        """Returns the first attempt that passes verification."""
        tried: list[dict[str, Any]] = []
        for name, options in self._budget.attempts(row, self._graph):
            if isinstance(options, str):
                tried.append({"attempt": name, "refused": options})
                continue
            try:
                attempt = self._written(row, name, options)
                with attempt.folder:
                    return self._settled(attempt, tried)
            except ExportError as error:
                tried.append({"attempt": name, **getattr(error, "figures", {}), "refused": str(error)})
                last = error
        raise ExportError(f"{row.name}: no file is within max_drop {self._budget.max_drop:g}; the last attempt: {last}")

    def _written(self, row: Format, name: str, options: Any) -> _Attempt:
        if not isinstance(options, row.options):
            raise ExportError(f"{row.name} accepts {row.options.__name__}, got {type(options).__name__}")
        folder = tempfile.TemporaryDirectory(dir=self._out, prefix=f".{row.name}-")
        aside, started = Path(folder.name) / row.path, time.monotonic()
        try:
            with stop_deferred(), quiet_converters():
                load_function(row.write)(self._graph, aside, options)
            self._timed(f"{row.name}/convert", time.monotonic() - started)
            running: list[Running] = []
            if not getattr(options, "allow_flex", False):
                running.append(self._verifier.start(row, aside))
                running += [self._verifier.start(other, aside, score=False) for other in parity.also(row)]
        except BaseException:
            folder.cleanup()
            raise
        return _Attempt(row=row, name=name, options=options, folder=folder, running=running)

    def _settled(self, attempt: _Attempt, tried: Sequence[Mapping[str, Any]] = (), *, measured: bool = True) -> Artifact:
        """Waits for the verdict on an artifact, and puts it into place if it passes."""
        row, aside = attempt.row, attempt.aside
        verdict, others = self._verified(attempt, measured=measured) if attempt.running else (None, ())
        size, digest = measure(aside)
        if verdict and row.quantised:
            check_within(row, verdict, size, self._budget.max_drop)
        files.put(aside, self._out / row.path)
        chosen = {"attempt": attempt.name, "bytes": size, **figures(verdict), "refused": None}
        return Artifact(
            format=row.name,
            path=self._out / row.path,
            bytes=size,
            sha256=digest,
            verdict=verdict,
            also=others,
            options=attempt.options.to_dict(),
            tried=(*tried, chosen) if row.attempts else (),
        )

    def _verified(self, attempt: _Attempt, *, measured: bool) -> tuple[Verdict, tuple[str, ...]]:
        """Returns the verdict, and the further runtimes, which must give what the first one gave."""
        first, *others = attempt.running
        verdict = self._verifier.verdict(first, self._expected)
        for name, seconds in verdict.seconds.items():
            self._timed(f"{attempt.row.name}/{name}", seconds)
        reference = parity.Reference(outputs={**self._expected.outputs, **verdict.answers}, score=None)
        runtimes = tuple(self._verifier.verdict(other, reference).runtime for other in others)
        if measured:
            verdict = dataclasses.replace(verdict, latency_ms=self._verifier.latency(first))
        return verdict, runtimes
