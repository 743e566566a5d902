"""Error analysis by features: examples that are nearly the same, and examples unlike any that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkeras.tasks.markup import escape, table

BLOCK, ENTRIES = 1024, 2**24  # rows that are compared with all others at a time, and cosines (64 MB) that these may be at most
NEAR = 0.97  # cosine of centred features from which two examples are nearly the same
NEIGHBOURS = 10  # whose distance says how unusual an example is
FENCE = 3.0  # interquartile ranges above the upper quartile, from which a distance is far out (Tukey 1977, Exploratory Data Analysis)
SHOWN = 20  # rows of each table of a report
TITLE = "Errors and doubtful labels"


@dataclass(frozen=True, kw_only=True)
class Twin:
    """Two examples that are nearly the same.

    Args:
        index: of the example that is held out; of two in one split, of the later one.
        other: of the other one.
        cosine: of their centred features, -1 to 1.
    """

    index: int
    other: int
    cosine: float


def near_duplicates(features: np.ndarray, splits: Sequence[str], labels: Sequence[Any], *, near: float = NEAR) -> list[Twin]:
    """Returns examples that are nearly the same as one in another split, or as one with another label; the nearest first.

    Of each example, its nearest such neighbour is returned. Features are centred, because those after a ReLU all point the same way. Rows are
    compared block by block: memory grows with the number of examples and not with its square.

    Args:
        features: float (n, width).
        splits: the split of each example.
        labels: the value of each example.
        near: the least cosine.
    """
    unit = _unit(features)
    places = {name: place for place, name in enumerate(dict.fromkeys(splits))}
    split = np.array([places[name] for name in splits])
    numbers: dict[Any, int] = {}
    label = np.array([numbers.setdefault(value, len(numbers)) for value in labels])
    best: dict[tuple[int, int], float] = {}
    for rows in _blocks(len(unit)):
        cosines = unit[rows] @ unit.T
        apart = (split[rows, None] != split[None]) | (label[rows, None] != label[None])
        cosines[~apart] = -1.0
        cosines[np.arange(len(rows)), rows] = -1.0
        nearest = cosines.argmax(axis=1)
        for row, other, cosine in zip(rows.tolist(), nearest.tolist(), cosines.max(axis=1).tolist(), strict=True):
            if cosine >= near:
                best[min(row, other), max(row, other)] = cosine
    twins = []
    for (first, second), cosine in best.items():
        # What is held out is named first: it is what the other one gives away.
        index, other = (first, second) if splits[second] == "train" and splits[first] != "train" else (second, first)
        twins.append(Twin(index=index, other=other, cosine=min(1.0, float(cosine))))
    return sorted(twins, key=lambda twin: (-twin.cosine, twin.index))


def unusual(features: np.ndarray, train: np.ndarray, *, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Returns how far each example is from the training examples: the distance of unit features to the k-th nearest, float (n,).

    Sun et al. 2022, Out-of-Distribution Detection with Deep Nearest Neighbors, https://arxiv.org/abs/2204.06507. Training examples do not count
    as their own neighbours.

    Args:
        features: float (n, width).
        train: indices of the training examples.
        neighbours: k; less where there are fewer training examples.
    """
    unit = _unit(features)
    inside = np.zeros(len(unit), bool)
    inside[train] = True
    count = min(neighbours, len(train) - 1)
    if count < 1:
        return np.zeros(len(unit))
    position = np.full(len(unit), -1)
    position[train] = np.arange(len(train))
    distances = np.empty(len(unit))
    for rows in _blocks(len(unit)):
        cosines = unit[rows] @ unit[train].T
        own = np.flatnonzero(inside[rows])
        cosines[own, position[rows[own]]] = -2.0
        nearest = -np.partition(-cosines, count - 1, axis=1)[:, count - 1]
        distances[rows] = np.sqrt(np.maximum(2 - 2 * nearest, 0.0))
    return distances


def outliers(distances: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Returns the examples whose distance is far out among those of the training examples, the furthest first."""
    if not len(train):
        return np.zeros(0, int)
    lower, upper = np.quantile(distances[train], (0.25, 0.75))
    far = np.flatnonzero(distances > upper + FENCE * (upper - lower))
    return far[np.argsort(-distances[far], kind="stable")]


def _blocks(count: int) -> Iterator[np.ndarray]:
    """Yields the indices of examples, as many at a time as can be compared with all of them."""
    step = max(1, min(BLOCK, ENTRIES // max(count, 1)))
    for start in range(0, count, step):
        yield np.arange(start, min(start + step, count))


def _unit(features: np.ndarray) -> np.ndarray:
    """Returns centred features of length 1, float32; those of length 0 stay."""
    centred = np.asarray(features, "float32").reshape(len(features), -1)
    centred = centred - centred.mean(axis=0, dtype="float64").astype("float32")
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(lengths > 0, lengths, 1.0)


def section(content: Mapping[str, Any]) -> tuple[str, str]:
    """Returns title and HTML of an error analysis, for the report.

    Args:
        content: of `errors.json`.
    """
    parts = [f"<p>{escape(content['basis'])}</p>"]
    heads = {
        "mistakes": ("Most confident mistakes", ("example", "given", "predicted", "confidence")),
        "confused": ("Most confused", ("given", "predicted", "examples")),
        "label_errors": ("Probable label errors", ("example", "given", "suggested", "quality")),
        "near_duplicates": ("Nearly the same, in two splits or with two labels", ("example", "other", "splits", "labels", "cosine")),
        "outliers": ("Unlike the training examples", ("example", "given", "distance")),
    }
    for name, (title, columns) in heads.items():
        rows = content[name][:SHOWN]
        more = content["counts"][name] - len(rows)
        body = table(columns, [tuple(_cell(row[column]) for column in columns) for row in rows])
        if body:
            parts.append(f"<h3>{escape(title)} ({content['counts'][name]:,})</h3>{body}")
            parts += [f"<p class=muted>{more:,} more in errors.json.</p>"] if more > 0 else []
    return TITLE, "".join(parts)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
