"""Measure artifacts side by side: size, load time, latency, throughput, memory and accuracy."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import files
from tlkeras.errors import ConfigError, ExportError
from tlkeras.export.processes import Process
from tlkeras.export.spec import Judge
from tlkeras.startup import child_environment

WORKER = Path(__file__).with_name("bench_worker.py")
BATCHES = (1, 32)
ROUNDS = 20  # turns of each artifact; the first is not counted
BATCH_ROUNDS = 5
FLOORS = ("accuracy", "agreement", "images_per_s")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One artifact to measure.

    Args:
        name: its name in the table.
        path: path of the artifact.
        reader: what `runner.py` calls its reader, or `"module:function"` for one that is not in there.
        bytes: its size.
    """

    name: str
    path: Path
    reader: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table; what could not be measured is None. Times are milliseconds, memory is bytes."""

    format: str
    threads: int
    status: str
    runtime: str | None = None
    bytes: int
    load_s: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    batch_p50_ms: float | None = None
    batch_p95_ms: float | None = None
    images_per_s: float | None = None
    peak_bytes: int | None = None
    max_abs_diff: float | None = None
    agreement: float | None = None
    accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the row for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The examples that artifacts are measured on, and the judge of their scores.

    Args:
        inputs: input name -> real examples; batches are made of them.
        output: name of the output that is compared.
        expected: outputs of the Keras model for `inputs`.
        score_inputs: held-out inputs (n, …) of a model with one input; None to compare `inputs` only.
        score_expected: outputs of the Keras model for them, if known.
        score_targets: their targets, as the judge accepts them.
        judge: see `tlkeras.export.spec.ExportSpec`.
    """

    inputs: Mapping[str, np.ndarray]
    output: str
    expected: np.ndarray
    score_inputs: np.ndarray | None = None
    score_expected: np.ndarray | None = None
    score_targets: Any = None
    judge: Judge | None = None


class _Worker:
    """A process with one artifact."""

    def __init__(self, candidate: Candidate, threads: int, errors: Path):
        isolated = [] if ":" in candidate.reader else ["-I"]
        # TensorFlow reads the numbers of threads when it starts; the other runtimes receive them when they open the file.
        limits = {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads)}
        environment = {**child_environment(), "TF_CPP_MIN_LOG_LEVEL": "2", **limits}
        self._process = Process([sys.executable, *isolated, str(WORKER)], environment, errors)
        self.candidate, self.threads, self.error = candidate, threads, ""

    def do(self, **command: Any) -> dict[str, Any]:
        """Sends a command; after the first error the worker receives no further commands."""
        if self.error:
            return {}
        answer = self._process.ask(command)
        self.error = answer.get("error", "")
        return answer

    def close(self) -> None:
        self._process.close()


def benchmark(
    candidates: Sequence[Candidate],
    workload: Workload,
    *,
    threads: Sequence[int] = (1, 2),
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Row]:
    """Measures artifacts, all in turns; one that fails has the reason as its status.

    Args:
        candidates: what to measure.
        workload: on what.
        threads: numbers of threads to try.
        progress: called with (done, all, what is being done).

    Returns:
        One row for each artifact and number of threads.
    """
    rows: list[Row] = []
    for count in threads:
        with tempfile.TemporaryDirectory() as folder:
            rows += _round(candidates, workload, count, Path(folder), progress)
    return rows


def _round(candidates: Sequence[Candidate], workload: Workload, threads: int, folder: Path, progress: Any) -> list[Row]:
    workers = [_Worker(candidate, threads, folder / f"{i}.err") for i, candidate in enumerate(candidates)]
    tell = progress or (lambda *_: None)
    try:
        samples, score = _stored(workload, folder)
        rows = []
        for index, worker in enumerate(workers):
            tell(index, len(workers), f"{worker.candidate.name}, {threads} threads")
            candidate = worker.candidate
            loaded = worker.do(do="load", reader_name=candidate.reader, path=str(candidate.path), samples=str(samples), threads=threads)
            row = Row(
                format=candidate.name,
                threads=threads,
                status="ok",
                bytes=candidate.bytes,
                load_s=loaded.get("load_s"),
                runtime=loaded.get("runtime"),
            )
            rows.append(_compared(row, worker, workload, score, folder))
        single, several = (_turns(workers, batch, rounds, tell) for batch, rounds in zip(BATCHES, (ROUNDS, BATCH_ROUNDS), strict=True))
        return [_timed(row, worker, a, b) for row, worker, a, b in zip(rows, workers, single, several, strict=True)]
    finally:
        for worker in workers:
            worker.close()


def _stored(workload: Workload, folder: Path) -> tuple[Path, str]:
    np.savez(folder / "samples.npz", **dict(workload.inputs))  # type: ignore[arg-type]
    if workload.score_inputs is None:
        return folder / "samples.npz", ""
    np.save(folder / "score.npy", workload.score_inputs)
    return folder / "samples.npz", str(folder / "score.npy")


def _turns(workers: Sequence[_Worker], batch: int, rounds: int, tell: Any) -> list[list[float]]:
    """Lets every worker run once, then again: what else happens on this computer hits all of them."""
    took: list[list[float]] = [[] for _ in workers]
    for turn in range(rounds + 1):
        tell(turn, rounds + 1, f"batch {batch}")
        for index, worker in enumerate(workers):
            seconds = worker.do(do="time", batch=batch, repeat=3 if batch == 1 else 1).get("seconds", [])
            took[index] += seconds if turn else []
    return took


def _compared(row: Row, worker: _Worker, workload: Workload, score: str, folder: Path) -> Row:
    out = folder / "answers.npy"
    worker.do(do="answer", inputs="", output=workload.output, out=str(out))
    if worker.error:
        return row
    got = np.load(out)
    row = replace(
        row,
        max_abs_diff=float(np.abs(got.astype("float64") - workload.expected).max()),
        agreement=_agreement(workload, got, workload.expected),
    )
    if not score:
        return row
    worker.do(do="answer", inputs=score, output=workload.output, out=str(out))
    if worker.error:
        return row
    got = np.load(out)
    expected = workload.score_expected
    if expected is not None:
        difference = float(np.abs(got.astype("float64") - expected).max())
        row = replace(row, max_abs_diff=difference, agreement=_agreement(workload, got, expected))
    judged = workload.judge(got, got if expected is None else expected, workload.score_targets) if workload.judge else None
    return replace(row, accuracy=judged.accuracy if judged else None)


def _agreement(workload: Workload, got: np.ndarray, expected: np.ndarray) -> float | None:
    judged = workload.judge(got, expected, None) if workload.judge else None
    return judged.agreement if judged else None


def _timed(row: Row, worker: _Worker, single: list[float], several: list[float]) -> Row:
    peak = worker.do(do="peak").get("peak_bytes")
    if worker.error:
        return replace(row, status=f"failed: {worker.error}")
    p50, p95 = (float(np.percentile(single, q)) * 1000 for q in (50, 95))
    many50, many95 = (float(np.percentile(several, q)) * 1000 for q in (50, 95))
    return replace(
        row, p50_ms=p50, p95_ms=p95, batch_p50_ms=many50, batch_p95_ms=many95, images_per_s=BATCHES[1] / many50 * 1000, peak_bytes=peak
    )


# === The gate and the chart ===


def parse_floor(text: str) -> tuple[str, float]:
    """Returns key and value of `accuracy=0.9`.

    Raises:
        ConfigError: for another key, or a value that is not a number.
    """
    key, _, value = text.partition("=")
    try:
        if key in FLOORS:
            return key, float(value)
    except ValueError:
        pass
    raise ConfigError(f"floor is {text!r}; expected {' or '.join(f'{one}=NUMBER' for one in FLOORS)}")


def below(rows: Sequence[Row], floors: Mapping[str, float]) -> list[str]:
    """Returns what is under a floor: a format that fails or has no figure is."""
    missed = []
    for row in rows:
        if row.status != "ok":
            missed.append(f"{row.format} ({row.threads} threads): {row.status}")
            continue
        for key, least in floors.items():
            value = getattr(row, key)
            if value is None or value < least:
                missed.append(
                    f"{row.format} ({row.threads} threads): {key} is {'not known' if value is None else f'{value:.4g}'}, below {least:g}"
                )
    return missed


def plot(rows: Sequence[Row], path: str | Path, measure: str = "accuracy") -> None:
    """Draws latency against accuracy (or agreement, where accuracy is not known); the area of a point is the size of its file.

    Args:
        rows: of `benchmark`.
        path: `.png`, `.svg` or `.pdf`.
        measure: what the accuracy is called.

    Raises:
        ExportError: when no row could be measured.
    """
    from matplotlib.figure import Figure

    good = [row for row in rows if row.status == "ok"]
    if not good:
        raise ExportError("no artifact could be measured, so there is nothing to draw")
    key = "accuracy" if all(row.accuracy is not None for row in good) else "agreement"
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for threads in sorted({row.threads for row in good}):
        these = [row for row in good if row.threads == threads]
        x, y = [row.p50_ms or 0.0 for row in these], [getattr(row, key) for row in these]
        axes.scatter(x, y, s=[row.bytes / 5e4 + 10 for row in these], alpha=0.5, label=f"{threads} thread{'s' * (threads > 1)}")
    fewest = min(row.threads for row in good)
    for row in good:
        if row.threads == fewest:
            axes.annotate(row.format, (row.p50_ms or 0, getattr(row, key)), xytext=(5, 5), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds for one example (median)")
    axes.set_ylabel(f"{measure} on held-out examples" if key == "accuracy" else "agreement with the Keras model")
    axes.set_title("Artifacts: up and left is better; area shows file size")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    with files.aside(path) as temporary:
        figure.savefig(temporary, dpi=120)
