"""Write artifacts aside, verify each in its own runtime, and only then give them their names."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras import files
from tlkeras.errors import ExportError, UnsupportedOps
from tlkeras.export import clients, manifest, parity, verification
from tlkeras.export.artifact import Artifact, measure
from tlkeras.export.budget import Budget, check_within, figures
from tlkeras.export.formats import FORMATS, Format
from tlkeras.export.graph import Graph, is_mixed
from tlkeras.export.parity import Samples, Verdict
from tlkeras.export.quiet import quiet_converters
from tlkeras.export.spec import ExportSpec
from tlkeras.registry import load_function

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
) -> list[Artifact]:
    """Exports a model to several formats, with manifest, labels, vocabulary, evidence and client programs beside them.

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

    Returns:
        The artifacts, in the order of `formats`.

    Raises:
        UnknownName: for an unknown format.
        ConfigError: for options that do not fit, for example a full-integer format without calibration examples.
        ExportError: when one cannot be written or run, or its outputs differ from the model's; no file is left.
    """
    rows = [FORMATS.get(name) for name in formats]
    budget = budget or Budget()
    if budget.calibration and any(row.calibrated or row.attempts for row in rows):
        budget.calibration.check(samples.inputs)
    out = Path(out_dir)
    graph = model if isinstance(model, Graph) else Graph(model, spec)
    for row in rows:
        _check_texts(row, graph)
    out.mkdir(parents=True, exist_ok=True)
    earlier_records = manifest.kept(out, graph.interface) if keep else {}
    expected = parity.reference(graph, samples, None if isinstance(model, Graph) or is_mixed(model) else score)
    done: list[Artifact] = []
    try:
        for index, row in enumerate(rows):
            if progress:
                progress(index, len(rows), row.name)
            done.append(_one(row, graph, out, samples, expected, budget))
    finally:
        if done:  # those that were written stay, with their records, when a later one fails
            _describe(out, graph, samples, expected, done, earlier_records)
    if progress:
        progress(len(rows), len(rows), "")
    return done


def _check_texts(row: Format, graph: Graph) -> None:
    """Refuses models of texts for runtimes without texts, before anything is written."""
    if row.name != "saved_model" and graph.text_operations:
        raise UnsupportedOps(
            f"{row.name}: the model works on texts ({', '.join(graph.text_operations[:3])}), which only TensorFlow supports; export saved_model only, "
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


def _one(row: Format, graph: Graph, out: Path, samples: Samples, expected: parity.Reference, budget: Budget) -> Artifact:
    """Writes the first attempt that passes verification."""
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
        raise ExportError(f"{row.name} accepts {row.options.__name__}, got {type(options).__name__}")
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{row.name}-") as folder:
        aside = Path(folder) / row.path
        with quiet_converters():
            load_function(row.write)(graph, aside, options)
        runnable = not getattr(options, "allow_flex", False)
        verdict = parity.check(row, aside, samples, expected, graph.interface) if runnable else None
        others = _others(row, aside, samples, expected, verdict, graph) if verdict else ()
        size, digest = measure(aside)
        if verdict and row.quantised:
            check_within(row, verdict, size, budget.max_drop)
        files.put(aside, out / row.path)
    chosen = {"attempt": name, "bytes": size, **figures(verdict), "refused": None}
    return Artifact(
        format=row.name,
        path=out / row.path,
        bytes=size,
        sha256=digest,
        verdict=verdict,
        also=others,
        options=options.to_dict(),
        tried=(*tried, chosen) if row.attempts else (),
    )


def _others(row: Format, aside: Path, samples: Samples, expected: parity.Reference, verdict: Verdict, graph: Graph) -> tuple[str, ...]:
    """Runs the file in the further runtimes of its format; they must give what the first one gave."""
    few = dataclasses.replace(samples, score_inputs=None, score_targets=None)
    same = parity.Reference(outputs={**expected.outputs, **verdict.answers}, score=None)
    return tuple(parity.check(one, aside, few, same, graph.interface).runtime for one in parity.also(row))
