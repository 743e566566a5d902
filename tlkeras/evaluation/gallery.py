"""Which examples a report shows, their thumbnails, and a map of their features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tlkeras.errors import ConfigError
from tlkeras.evaluation.report_data import Gallery
from tlkeras.models import FEATURES
from tlkeras.tasks.cases import Cases

WORST, RANDOM = 24, 24  # examples in the galleries of mistakes and of random examples
PER_CELL, IN_CELLS = 12, 240  # examples of one cell of the confusion matrix that is wrong, and of all such cells
PER_RIGHT_CELL, IN_RIGHT_CELLS = 6, 60  # the same for the diagonal
AUDITED = 24  # examples that the audit names
POINTS = 300  # of the map
BYTES = 2_400_000  # of all thumbnails; a page has each at most twice, and is to stay below 5 MB
BATCH = 32  # examples whose features are computed at a time


def chosen(cases: Mapping[str, Cases], count: int, seed: int = 0) -> dict[str, list[int]]:
    """Returns what each gallery shows, as positions among the held-out examples; the important ones come first.

    Args:
        cases: name of the target -> how each example was answered.
        count: held-out examples.
        seed: of the random ones.

    Example:
        >>> chosen({}, 3)
        {'random': [0, 1, 2]}
    """
    galleries = {}
    for name, answers in cases.items():
        galleries[f"worst {name}".strip()] = answers.worst(WORST).tolist()
        for wrong, each, most in ((True, PER_CELL, IN_CELLS), (False, PER_RIGHT_CELL, IN_RIGHT_CELLS)):
            cells = [members[:each] for (row, column), members in answers.confused() if (row != column) == wrong]
            galleries[f"cells {name} {'wrong' if wrong else 'right'}"] = np.concatenate([np.zeros(0, int), *cells])[:most].tolist()
    galleries["random"] = sorted(np.random.default_rng(seed).permutation(count)[:RANDOM].tolist())
    return galleries


def on_map(count: int, seed: int = 0) -> np.ndarray:
    """Returns which of the held-out examples stand on the map: all, or as many random ones as it has points."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:POINTS])


def thumbnails(names: Iterable[str], draw: Callable[[str], str], limit: int = BYTES) -> dict[str, str]:
    """Returns name -> thumbnail of as many examples as fit into the limit, in their order.

    Args:
        names: of the examples; the important ones first.
        draw: name -> HTML.
        limit: bytes of all.
    """
    drawn: dict[str, str] = {}
    room = limit
    for name in dict.fromkeys(names):
        html = draw(name)
        room -= len(html.encode())
        if room < 0:
            break
        drawn[name] = html
    return drawn


# === Map of the features ===


def features(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """Returns the features before the head, float32 (n, width).

    Layers are called one by one: to trace a graph would take longer than the few examples of a map.
    """
    (tensor,) = model.inputs
    body = keras.Model(tensor, model.get_layer(FEATURES).output)  # not of a list, which would have to be called with a list
    parts = [body(np.asarray(inputs[start : start + BATCH], tensor.dtype), training=False) for start in range(0, len(inputs), BATCH)]
    return np.concatenate([np.asarray(keras.ops.convert_to_numpy(part), "float32").reshape(len(part), -1) for part in parts])


def _pca(values: np.ndarray) -> np.ndarray:
    """Returns the first two principal components; the sign is that of the largest weight, so that equal features give equal maps."""
    centred = values - values.mean(axis=0)
    left, sizes, weights = np.linalg.svd(centred, full_matrices=False)
    largest = np.abs(weights[:2]).argmax(axis=1)
    signs = np.where(weights[np.arange(len(largest)), largest] < 0, -1.0, 1.0)
    flat = left[:, :2] * sizes[:2] * signs
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))


def _tsne(values: np.ndarray) -> np.ndarray:
    """Returns t-SNE (van der Maaten and Hinton 2008, https://jmlr.org/papers/v9/vandermaaten08a.html), started from the components."""
    from sklearn.manifold import TSNE

    if len(values) < 5:  # too few for neighbours
        return _pca(values)
    nearest = min(30.0, (len(values) - 1) / 3)
    start = _pca(values)
    start = start / (start[:, 0].std() or 1.0) * 1e-4  # the scale that scikit-learn starts from
    return TSNE(perplexity=nearest, init=start, random_state=0, learning_rate="auto").fit_transform(values)


MAPS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "pca": ("PCA: the two directions in which the features differ most", _pca),
    "tsne": ("t-SNE: near points have similar features; distances between groups mean little", _tsne),
}


def placed(values: np.ndarray, method: str) -> np.ndarray:
    """Returns where examples with these features stand on the map, float (n, 2).

    Raises:
        ConfigError: for an unknown method.
    """
    if method not in MAPS:
        raise ConfigError(f"feature_map is {method!r}; expected {', '.join(MAPS)} or none")
    return MAPS[method][1](np.nan_to_num(np.asarray(values, "float64")))


def gallery(
    model: keras.Model,
    inputs: np.ndarray,
    names: Sequence[str],
    cases: Mapping[str, Cases],
    draw: Callable[[str], str],
    *,
    noun: str,
    audited: Sequence[str] = (),
    method: str = "pca",
    seed: int = 0,
    known: np.ndarray | None = None,
) -> Gallery:
    """Returns thumbnails and map of held-out examples.

    Args:
        model: with a layer of features.
        inputs: of the held-out examples, in their order.
        names: their ids.
        cases: how each was answered, by target.
        draw: id of an example -> its thumbnail; empty where it has none.
        noun: what one is called.
        audited: ids of examples that the audit names.
        method: of the map, or `none`.
        seed: of what is chosen at random.
        known: features of the examples, (n, width), where training has computed them.
    """
    shown = [names[index] for indices in chosen(cases, len(names), seed).values() for index in indices]
    points: list[tuple[str, float, float]] = []
    if method in MAPS and len(names) > 2:
        index = on_map(len(names), seed)
        flat: Any = placed(features(model, inputs[index]) if known is None else known[index], method)
        points = [(names[which], float(x), float(y)) for which, (x, y) in zip(index, flat, strict=True)]
    names_to_draw = [*shown, *audited[:AUDITED], *(name for name, _, _ in points)]
    drawn = {name: html for name, html in thumbnails(names_to_draw, draw).items() if html}
    return Gallery(noun=noun, thumbnails=drawn, points=points, method=method if points else "")
