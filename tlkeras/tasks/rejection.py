"""Rejection: whether an example is like those that the model was trained on, or it should not be asked about it.

An example is known where its familiarity reaches a threshold, which a chosen share of new examples like those of validation do. Familiarity is
the largest cosine between its features and those of some training examples (`distance`: nearest neighbours, Sun et al. 2022,
https://arxiv.org/abs/2204.06507), or the largest score (`probability`: Hendrycks & Gimpel 2017, https://arxiv.org/abs/1610.02136).

Area under the ROC curve for telling test examples from those of another data set, mean of 8 pairs (photos of clothes, ants and bees, and the
digits by EfficientNet-Lite0; film reviews and comments by MiniLM-L6): cosine 0.95, largest score 0.76, energy 0.66, Mahalanobis distance to
the nearest class mean in the first 32 principal components 0.70, with the rest of the variance 0.89 (`python benchmarks/rejection.py`).
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops

from tlkeras.data.target import Target
from tlkeras.startup import tensor_float32

REJECTION = "rejection"  # the fact of a target
DISTANCE, PROBABILITY = "distance", "probability"
# Training examples that others are compared with: at most so many, and so many bytes. More of them changed nothing, see above.
MOST_EXAMPLES, MOST_BYTES = 128, 2**17

Confidence = Callable[[Any], Any]  # scores (n, width) -> the largest score that counts (n,); None where scores say nothing


def needed(coverage: float) -> int:
    """Returns how many validation examples a threshold needs."""
    return math.ceil(1 / (1 - coverage) - 1e-9) - 1


def threshold(familiarity: np.ndarray, coverage: float) -> float | None:
    """Returns the threshold that a new example reaches with a probability of `coverage` or more; None with too few examples.

    It is halfway below the floor((n + 1) (1 - coverage))-th smallest value, so that no validation example is exactly at it.

    Args:
        familiarity: of the validation examples, (n,).
        coverage: 0 to 1.
    """
    rank = math.floor((len(familiarity) + 1) * (1 - coverage) + 1e-9)
    if rank < 1:
        return None
    lower, own = np.sort(np.asarray(familiarity, "float64"))[[max(rank - 2, 0), rank - 1]]
    return float(np.float32((lower + own) / 2 if rank > 1 else own - 1e-6))


def chosen(y: np.ndarray, width: int, seed: int) -> np.ndarray:
    """Returns the indices of the training examples that others are compared with, sorted: of classes, evenly.

    Args:
        y: targets, (n, …).
        width: of the features.
        seed: of the choice.
    """
    order = np.random.default_rng(seed).permutation(len(y))
    if y.ndim == 1 and y.dtype.kind in "iu":
        turn = np.empty(len(y), int)  # which example of its class it is
        for label in np.unique(y):
            members = order[y[order] == label]
            turn[members] = np.arange(len(members))
        order = order[np.argsort(turn[order], kind="stable")]
    return np.sort(order[: max(1, min(MOST_EXAMPLES, MOST_BYTES // width))])


def fit_distance(reference: np.ndarray, features: np.ndarray, coverage: float) -> dict[str, Any] | None:
    """Returns the fact of a target; None with too few validation examples.

    Args:
        reference: features of training examples, (m, width).
        features: of the validation examples, (n, width).
        coverage: share of new examples that are to be known.
    """
    steps = np.maximum(np.abs(reference).max(axis=1, keepdims=True), 1e-12) / 127
    values = np.round(reference / steps).astype("int8")  # directions are all that counts, and 8 bits are enough for them
    stored = {"width": reference.shape[1], "values": base64.b64encode(values.tobytes()).decode("ascii")}
    fact = {"method": DISTANCE, "coverage": coverage, "n": len(features), "reference": stored}
    least = threshold(np.asarray(_cosine(features, stored)), coverage)
    return None if least is None else {**fact, "threshold": least}


def fit_probability(confidence: np.ndarray, coverage: float) -> dict[str, Any] | None:
    """Returns the fact of a target from the largest scores of the validation examples, (n,); None with too few of them."""
    least = threshold(confidence, coverage)
    return None if least is None else {"method": PROBABILITY, "coverage": coverage, "n": len(confidence), "threshold": least}


def by_features(target: Target) -> bool | None:
    """Whether features decide if an example is known, and not its scores alone; None where nothing was chosen that tells."""
    fact = target.facts.get(REJECTION)
    return None if fact is None else fact["method"] == DISTANCE


def needs_features(target: Target) -> bool:
    """Whether it takes the features of an example, and not only its scores, to tell whether it is known."""
    return "reference" in target.facts.get(REJECTION, {})


def can_tell(target: Target) -> bool:
    """Whether it can be told if an example is known: a threshold was chosen, and the reference is there if it needs one."""
    fact = target.facts.get(REJECTION)
    return fact is not None and (fact["method"] != DISTANCE or needs_features(target))


def check(target: Target) -> None:
    """Raises KeyError, TypeError or ValueError for a fact that does not tell what is known."""
    fact = target.facts.get(REJECTION)
    if fact is not None:
        float(fact["threshold"])
        if can_tell(target) and needs_features(target):
            _decoded(fact["reference"])


def known(target: Target, confidence: Confidence, scores: Any, features: Any = None) -> Any:
    """Returns whether each example is known, bool (n,); in TensorFlow where the scores are tensors of a graph.

    Args:
        target: with the fact.
        confidence: of the scores.
        scores: (n, width).
        features: (n, features), where `needs_features`.
    """
    fact = target.facts[REJECTION]
    familiarity = _cosine(features, fact["reference"]) if needs_features(target) else confidence(scores)
    return familiarity >= np.float32(fact["threshold"])


def _cosine(features: Any, stored: Mapping[str, Any]) -> Any:
    """Returns the largest cosine with a reference, float32 (n,)."""
    values = _decoded(stored)
    lengths = np.maximum(np.linalg.norm(values.astype("float32"), axis=1), 1e-12)
    features = ops.convert_to_tensor(features, "float32")
    with tensor_float32(False):  # three digits would be too few beside a threshold
        products = ops.matmul(features, ops.transpose(ops.cast(ops.convert_to_tensor(values), "float32")))  # graphs hold 8 bits, too
    own = ops.sqrt(ops.sum(ops.square(features), axis=1))
    return ops.max(products / lengths, axis=1) / ops.maximum(own, 1e-12)


def _decoded(stored: Mapping[str, Any]) -> np.ndarray:
    """Returns a reference, int8 (n, features)."""
    return np.frombuffer(base64.b64decode(stored["values"]), "int8").reshape(-1, stored["width"])


# === Where the reference stands ===


def without_reference(target: Target) -> tuple[Target, dict[str, str]]:
    """Returns the target as every artifact holds it, and what only the manifest of their folder holds of it: runtimes without features need no more.

    `tlkeras.tasks.registry.target_of` puts both together again.
    """
    if not needs_features(target):
        return target, {}
    fact = dict(target.facts[REJECTION])
    reference = fact.pop("reference")
    return target.with_facts(**{REJECTION: fact}), {"reference": json.dumps(reference)}
