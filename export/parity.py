"""Compare what artifacts answer in their own runtimes with what the Keras model answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlkeras.errors import ExportMismatch
from tlkeras.export.formats import Format
from tlkeras.export.graph import Graph
from tlkeras.export.runner import readable
from tlkeras.export.runtimes import is_here
from tlkeras.export.spec import FEATURES, SCORES, Interface, Judged
from tlkeras.startup import tensor_float32

BATCHES = (1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples that an artifact is verified on.

    Args:
        inputs: input name -> array; 3 examples or more, so that batches of 1, 2 and 3 are tried.
        encoded: encoded images, or texts in UTF-8, whose decoded form are the first inputs; empty for models of other things.
        lengths: how far along their second axis the first inputs go, for models of token ids; the rest is padding.
        score_inputs: whole held-out split (n, …), any numeric type, of a model with one input.
        score_targets: their targets, as the judge of the model accepts them.
    """

    inputs: Mapping[str, np.ndarray]
    encoded: Sequence[bytes] = ()
    lengths: Sequence[int] = ()
    score_inputs: np.ndarray | None = None
    score_targets: Any = None


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The outputs of the Keras model (or its float32 twin): name -> array, also `features`, and the split's scores."""

    outputs: Mapping[str, np.ndarray]
    score: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of verifying an artifact in its own runtime.

    Args:
        runtime: name and version.
        max_abs_diff: largest difference from the Keras model's outputs.
        relative_diff: the same, in parts of its largest output.
        agreement, accuracy, drop, sentence: what the judge of the model says of its scores on the held-out split.
        latency_ms: median of single examples, in milliseconds; None where it was not measured.
        seconds: what took how long: `load` and the first outputs, `score` of the held-out split.
        answers: its outputs for the samples, by name.
    """

    runtime: str
    max_abs_diff: float
    relative_diff: float
    agreement: float | None
    accuracy: float | None
    drop: float | None
    latency_ms: float | None = None
    sentence: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict, repr=False)
    answers: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)


def reference(graph: Graph, samples: Samples, score: np.ndarray | None) -> Reference:
    """Runs the traced model on the samples, in float32 proper; `score` are the split's scores where they are known already."""
    import tensorflow as tf

    with tensor_float32(False):
        inputs = [tf.constant(samples.inputs[one.name], one.dtype) for one in graph.inputs]
        outputs = {name: value.numpy() for name, value in graph.network(*inputs).items()}
        if samples.score_inputs is not None and len(samples.score_inputs) and score is None:
            kind = graph.inputs[0].dtype
            parts = [np.asarray(samples.score_inputs[i : i + 32], kind) for i in range(0, len(samples.score_inputs), 32)]
            score = np.concatenate([graph.network(tf.constant(part))[SCORES].numpy() for part in parts])
    return Reference(outputs=outputs, score=score)


def also(row: Format) -> list[Format]:
    """Returns the same format once for each further reader whose package is installed."""
    return [dataclasses.replace(row, reader=reader, also=()) for reader in row.also if is_here(reader)]


def compare(
    row: Format, answers: Mapping[str, np.ndarray], record: Mapping[str, Any], samples: Samples, expected: Reference, interface: Interface
) -> Verdict:
    """Compares what an artifact answered with what the model answers.

    Args:
        row: its format.
        answers, record: what `runner.py` wrote.
        samples: what it was asked.
        expected: the outputs of the model.
        interface: of the model.

    Raises:
        ExportMismatch: when its outputs differ from the model's; the message states by how much.
    """
    batches = batch_sizes(samples)
    largest = 0.0
    judged = _judged(answers.get("score"), expected.score, samples.score_targets, interface)
    if row.quantised and judged is not None:  # judged by what its scores mean, not by how much they differ
        row = dataclasses.replace(row, tolerance=np.inf)
    scale = max(float(np.abs(expected.outputs[name]).max()) for name in interface.output_names)
    for name in interface.output_names:
        for batch in batches:
            largest = max(largest, _compare(row, f"batch {batch}", answers[f"batch{batch}/{name}"], expected.outputs[name][:batch], scale))
        if not np.array_equal(answers[f"again/{name}"], answers[f"batch{batches[-1]}/{name}"]):
            raise ExportMismatch(
                f"{row.name}: the same request sent twice gets different answers; does the model contain random operations?"
            )
    if "short" in {key.split("/")[0] for key in answers}:
        for name in interface.output_names:
            largest = max(largest, _compare(row, "without filling", answers[f"short/{name}"], expected.outputs[name][:1], scale))
    if f"tensor/{FEATURES}" in answers and FEATURES in expected.outputs:
        features = expected.outputs[FEATURES]
        _compare(row, "features of tensors", answers[f"tensor/{FEATURES}"], features, max(scale, float(np.abs(features).max())))
    if samples.encoded and "encoded/scores" in answers:
        largest = max(largest, _check_encoded(row, answers, expected, interface, scale))
    if "score" in answers and expected.score is not None:
        # The split's scores may come from another batch size than the samples': compared as loosely as the row allows.
        _compare(row, "held-out split", answers["score"], expected.score, max(scale, float(np.abs(expected.score).max())))
    return Verdict(
        runtime=record["runtime"],
        max_abs_diff=largest,
        relative_diff=largest / scale if scale else 0.0,
        agreement=judged.agreement if judged else None,
        accuracy=judged.accuracy if judged else None,
        drop=judged.drop if judged else None,
        sentence=judged.sentence if judged else "",
        seconds={name: record[f"{name}_s"] for name in ("load", "score") if f"{name}_s" in record},
        answers={name: answers[f"batch{batches[-1]}/{name}"] for name in interface.output_names},
    )


def batch_sizes(samples: Samples) -> tuple[int, ...]:
    """The batch sizes to try: 1, 2, 3, and all samples at once."""
    count = len(next(iter(samples.inputs.values())))
    return (*BATCHES, count) if count > BATCHES[-1] else BATCHES


def _compare(row: Format, what: str, got: np.ndarray, expected: np.ndarray, scale: float) -> float:
    if got.shape != expected.shape:
        raise ExportMismatch(f"{row.name}, {what}: shape {got.shape}, expected {expected.shape}")
    difference = float(np.abs(got.astype("float64") - expected).max()) if got.size else 0.0
    if not difference <= row.tolerance * scale or not np.isfinite(difference):
        raise ExportMismatch(
            f"{row.name}, {what}: the outputs differ by {difference:.3g}, allowed {row.tolerance:g} x {scale:.3g} (the largest output of the model)"
        )
    return difference


def _check_encoded(row: Format, answers: Mapping[str, np.ndarray], expected: Reference, interface: Interface, scale: float) -> float:
    """Encoded images and texts must give what their decoded form gives: no train/serve skew."""
    count = len(answers["encoded/scores"])
    difference = _compare(row, "encoded examples", answers["encoded/scores"], expected.outputs[SCORES][:count], scale)
    if FEATURES in expected.outputs:
        features = expected.outputs[FEATURES][:count]
        _compare(row, "features of encoded examples", answers[f"embed/{FEATURES}"], features, max(scale, float(np.abs(features).max())))
    _check_signature(row, answers, interface)
    if "damaged/status" in answers:
        _check_damaged(row, answers, scale)
    if len(answers["empty/scores"]):
        raise ExportMismatch(f"{row.name}: an empty request gets {len(answers['empty/scores'])} answers")
    return difference


def _check_damaged(row: Format, answers: Mapping[str, np.ndarray], scale: float) -> None:
    """A damaged image is reported and changes no other answer."""
    status = answers["damaged/status"].tolist()
    if [one == "ok" for one in status] != [True, False, *[True] * (len(status) - 2)]:
        raise ExportMismatch(f"{row.name}: with a damaged second image the status is {status}")
    others = np.delete(answers["damaged/scores"], 1, axis=0)
    _compare(row, "beside a damaged image", others, answers["encoded/scores"], scale)


def _check_signature(row: Format, answers: Mapping[str, np.ndarray], interface: Interface) -> None:
    """What a SavedModel answers beside its scores must be what the signature makes of them."""
    if interface.signature is None and interface.known is None:
        return
    import tensorflow as tf

    from tlkeras.export.saved_model import added

    scores, features = tf.constant(answers["encoded/scores"]), answers.get(f"embed/{FEATURES}")
    features = None if features is None else tf.constant(features)
    for name, value in added(interface, scores, features, tf.ones(len(scores), tf.bool)).items():
        expected, got = readable(value.numpy()), answers[f"encoded/{name}"]
        equal = np.allclose(got, expected, rtol=1e-5, equal_nan=True) if got.dtype.kind == "f" else np.array_equal(got, expected)
        if got.shape != expected.shape or not equal:
            raise ExportMismatch(f"{row.name}: the output {name!r} is {got.tolist()}, expected {expected.tolist()}")


def _judged(got: np.ndarray | None, expected: np.ndarray | None, targets: Any, interface: Interface) -> Judged | None:
    """Returns what the judge of a model says; of nothing where nothing is held out, so that it can tell whether it judges at all."""
    if interface.judge is None or expected is None:
        return None
    if got is None:
        return interface.judge(expected[:0], expected[:0], None)
    return interface.judge(got, expected, targets)
