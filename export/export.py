"""Write artifacts aside, verify each in its own runtime, and only then give them their names."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras.errors import ConfigError, ExportError, ExportMismatch
from tlkeras.export import parity
from tlkeras.export.calibration import Calibration
from tlkeras.export.formats import FORMATS, Format
from tlkeras.export.graph import Graph, is_mixed
from tlkeras.export.options import HIGHEST_OPSET, OnnxOptions, TFLiteOptions
from tlkeras.export.parity import Samples, Verdict
from tlkeras.export.spec import ExportSpec
from tlkeras.loading import load_function
from tlkeras.startup import KNOWN_NOISE, filtered_stderr

# What the converters print on success. Their errors come as exceptions; anything else is shown.
CHATTER = re.compile(
    KNOWN_NOISE.pattern + r"|MLIR V1 optimization pass|tf_tfl_flatbuffer_helpers|Ignored (output_format|drop_control_dependency)"
    r"|Reading SavedModel|reader\.cc|loader\.cc|SavedModel load for tags|Restoring SavedModel|Running initialization op"
    r"|flatbuffer_export\.cc|Estimated count of arithmetic ops|Created TensorFlow Lite XNNPACK|grappler|single_machine|devices\.cc|W0000|I0000"
    r"|mlir_graph_optimization_pass|fingerprint",
)


@contextmanager
def quiet_converters() -> Iterator[None]:
    """Keeps what converters print on success off the screen; their errors are exceptions and pass."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with filtered_stderr(CHATTER):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One exported file or folder, with the record of how it was verified.

    Args:
        format: name of its format.
        path: where it stands.
        bytes: its size.
        sha256: of the file; of a folder, over the sorted names and hashes of its files.
        verdict: what it did in its own runtime; None for a file that cannot be run here (TFLite with Flex).
        options: how it was made: quantisation, calibration, opset.
        tried: for a format that is chosen among several, each attempt with its figures; the last one was taken.
    """

    format: str
    path: Path
    bytes: int
    sha256: str
    verdict: Verdict | None
    options: Mapping[str, Any] = field(default_factory=dict)
    tried: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns what `metrics.json` and the manifest hold."""
        verdict = self.verdict
        return {
            "path": self.path.name,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "verified": verdict is not None,
            "runtime": verdict.runtime if verdict else None,
            "max_abs_diff": verdict.max_abs_diff if verdict else None,
            "relative_diff": verdict.relative_diff if verdict else None,
            "agreement": verdict.agreement if verdict else None,
            "accuracy": verdict.accuracy if verdict else None,
            "drop": verdict.drop if verdict else None,
            "latency_ms": verdict.latency_ms if verdict else None,
            "options": dict(self.options),
            "tried": [dict(one) for one in self.tried],
        }


MAX_DROP = 0.02  # accuracy that a quantised file may lose on the held-out split


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What quantised formats may use and lose.

    Args:
        max_drop: accuracy that a quantised file may lose on the held-out split; without labels, how often it may disagree.
        calibration: training examples for full-integer formats.
        options: format name -> its options, in place of the row's own.
        io: type of the input and output tensors of full-integer TFLite files.
        opset: of ONNX files.
    """

    max_drop: float = MAX_DROP
    calibration: Calibration | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    io: str = "float32"
    opset: int = HIGHEST_OPSET

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 1:
            raise ConfigError(f"max_drop is {self.max_drop}; expected a share of accuracy from 0 to 1")

    def attempts(self, row: Format, graph: Graph) -> Iterable[tuple[str, Any]]:
        """Yields (name, options) of what to try for a format; a text in place of options says why it cannot be."""
        if row.name in self.options:
            return [(row.name, self.options[row.name])]
        if row.attempts:
            return load_function(row.attempts)(graph, self.calibration, self.io)
        return [(row.name, self._of(row))]

    def _of(self, row: Format) -> Any:
        given = dict(row.defaults)
        if row.calibrated:
            given["calibration"] = self.calibration
        if row.calibrated and row.options is TFLiteOptions:
            given["io"] = self.io
        if row.options is OnnxOptions:
            given["opset"] = self.opset
        return row.options(**given)


def export(
    model: keras.Model | Graph,
    spec: ExportSpec,
    out_dir: str | Path,
    samples: Samples,
    *,
    formats: Sequence[str] = ("saved_model", "tflite", "onnx"),
    budget: Budget | None = None,
    score: np.ndarray | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Artifact]:
    """Exports a model to several formats.

    Args:
        model: functional or sequential, built; or one that is traced already.
        spec: labels, decoder, metadata.
        out_dir: folder of the artifacts; what stands there under the same name is replaced when the new one is proven.
        samples: real inputs, 3 or more, to compare on.
        formats: names in `FORMATS`.
        budget: calibration, allowed loss and options of the quantised formats.
        score: the Keras model's scores of `samples.score_inputs`, where they are known already.
        progress: called with (done, all, what is being done).

    Returns:
        The artifacts, in the order of `formats`.

    Raises:
        UnknownName: for an unknown format.
        ConfigError: for options that do not fit, for example a full-integer format without calibration examples.
        ExportError: when one cannot be written, run or does not answer as the model does; it leaves no file.
    """
    rows = [FORMATS.get(name) for name in formats]
    budget = budget or Budget()
    if budget.calibration and any(row.calibrated or row.attempts for row in rows):
        budget.calibration.check(samples.inputs)
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    graph = model if isinstance(model, Graph) else Graph(model, spec)
    expected = parity.reference(graph, samples, None if isinstance(model, Graph) or is_mixed(model) else score)
    done = []
    for index, row in enumerate(rows):
        if progress:
            progress(index, len(rows), row.name)
        done.append(_one(row, graph, out, samples, expected, budget))
    if progress:
        progress(len(rows), len(rows), "")
    return done


def _one(row: Format, graph: Graph, out: Path, samples: Samples, expected: parity.Reference, budget: Budget) -> Artifact:
    """Writes the first attempt that stands the test."""
    tried: list[dict[str, Any]] = []
    for name, options in budget.attempts(row, graph):
        if isinstance(options, str):
            tried.append({"attempt": name, "refused": options})
            continue
        try:
            return _attempt(row, graph, out, samples, expected, budget, name, options, tried)
        except ExportError as error:
            tried.append({"attempt": name, **getattr(error, "figures", {}), "refused": str(error)})
            last = error
            if not row.attempts:
                raise
    raise ExportError(f"{row.name}: no file is within max_drop {budget.max_drop:g}; the last attempt: {last}")


def _attempt(
    row: Format,
    graph: Graph,
    out: Path,
    samples: Samples,
    expected: parity.Reference,
    budget: Budget,
    name: str,
    options: Any,
    tried: list[dict[str, Any]],
) -> Artifact:
    if not isinstance(options, row.options):
        raise ExportError(f"{row.name} takes {row.options.__name__}, got {type(options).__name__}")
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{row.name}-") as folder:
        aside = Path(folder) / row.path
        with quiet_converters():
            load_function(row.write)(graph, aside, options)
        runnable = not getattr(options, "allow_flex", False)
        verdict = parity.check(row, aside, samples, expected, graph) if runnable else None
        size, digest = measure(aside)
        if verdict and row.quantised:
            _within(row, verdict, size, budget.max_drop)
        _put(aside, out / row.path)
    chosen = {"attempt": name, "bytes": size, **_figures(verdict), "refused": None}
    return Artifact(
        format=row.name,
        path=out / row.path,
        bytes=size,
        sha256=digest,
        verdict=verdict,
        options=options.to_dict(),
        tried=(*tried, chosen) if row.attempts else (),
    )


def _figures(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {}
    return {"accuracy": verdict.accuracy, "agreement": verdict.agreement, "drop": verdict.drop, "latency_ms": verdict.latency_ms}


def _within(row: Format, verdict: Verdict, size: int, max_drop: float) -> None:
    """Refuses a quantised file that lost more than it may."""
    if verdict.drop is None or verdict.drop <= max_drop + 1e-9:
        return
    what = f"agrees with the model on {verdict.agreement:.3f} of the held-out examples"
    if verdict.accuracy is not None:
        what = f"is right on {verdict.accuracy:.3f} of the held-out examples, the model on {verdict.accuracy + verdict.drop:.3f}"
    error = ExportMismatch(
        f"{row.name} {what}: a drop of {verdict.drop:.3f}, allowed is {max_drop:g}; "
        "use tflite-fp16 or tflite-dynamic, let `mobile` choose, or raise --max-drop"
    )
    error.figures = {"bytes": size, **_figures(verdict)}
    raise error


def _put(aside: Path, final: Path) -> None:
    """Renames into place; what stood there before is gone as a whole, so that no stale file stays."""
    if final.is_dir():
        old = Path(tempfile.mkdtemp(dir=final.parent, prefix=".old-"))
        os.replace(final, old / final.name)
        os.replace(aside, final)
        shutil.rmtree(old)
    else:
        os.replace(aside, final)


def measure(path: Path) -> tuple[int, str]:
    """Returns size in bytes and sha256 of a file, or of all files of a folder."""
    if path.is_file():
        content = path.read_bytes()
        return len(content), hashlib.sha256(content).hexdigest()
    total, digest = 0, hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        size, inner = measure(file)
        total += size
        digest.update(f"{file.relative_to(path).as_posix()}\0{inner}\n".encode())
    return total, digest.hexdigest()
