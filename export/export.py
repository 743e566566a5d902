"""Write artifacts aside, verify each in its own runtime, and only then give them their names."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras.errors import ExportError
from tlkeras.export import parity
from tlkeras.export.formats import FORMATS, Format
from tlkeras.export.graph import Graph, is_mixed
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
    """

    format: str
    path: Path
    bytes: int
    sha256: str
    verdict: Verdict | None

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
            "latency_ms": verdict.latency_ms if verdict else None,
        }


def export(
    model: keras.Model,
    spec: ExportSpec,
    out_dir: str | Path,
    samples: Samples,
    *,
    formats: Sequence[str] = ("saved_model", "tflite", "onnx"),
    options: Mapping[str, Any] | None = None,
    score: np.ndarray | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Artifact]:
    """Exports a model to several formats.

    Args:
        model: functional or sequential, built.
        spec: labels, decoder, metadata.
        out_dir: folder of the artifacts; what stands there under the same name is replaced when the new one is proven.
        samples: real inputs, 3 or more, to compare on.
        formats: names in `FORMATS`.
        options: format name -> its options.
        score: the Keras model's scores of `samples.score_inputs`, where they are known already.
        progress: called with (done, all, what is being done).

    Returns:
        The artifacts, in the order of `formats`.

    Raises:
        UnknownName: for an unknown format.
        ExportError: when one cannot be written, run or does not answer as the model does; it leaves no file.
    """
    rows = [FORMATS.get(name) for name in formats]
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    graph = Graph(model, spec)
    expected = parity.reference(graph, samples, None if is_mixed(model) else score)
    done = []
    for index, row in enumerate(rows):
        if progress:
            progress(index, len(rows), row.name)
        done.append(_one(row, graph, out, samples, expected, (options or {}).get(row.name) or row.options()))
    if progress:
        progress(len(rows), len(rows), "")
    return done


def _one(row: Format, graph: Graph, out: Path, samples: Samples, expected: parity.Reference, options: Any) -> Artifact:
    if not isinstance(options, row.options):
        raise ExportError(f"{row.name} takes {row.options.__name__}, got {type(options).__name__}")
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{row.name}-") as folder:
        aside = Path(folder) / row.path
        with quiet_converters():
            load_function(row.write)(graph, aside, options)
        runnable = not getattr(options, "allow_flex", False)
        verdict = parity.check(row, aside, samples, expected, graph) if runnable else None
        size, digest = measure(aside)
        _put(aside, out / row.path)
    return Artifact(format=row.name, path=out / row.path, bytes=size, sha256=digest, verdict=verdict)


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
