"""Explanations for pages that show examples, such as a report: images with their maps, and texts with their words coloured."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from PIL import Image

from tlkeras.data.target import Target
from tlkeras.explain.drawing import overlay, png
from tlkeras.explain.explainer import Explainer
from tlkeras.explain.explanation import Explanation
from tlkeras.explain.text_pages import legend, marked
from tlkeras.tasks.markup import escape
from tlkeras.tasks.registry import Task

THUMBNAIL = 160  # pixels


def overlays(
    images: np.ndarray,
    model: keras.Model,
    task: Task,
    target: Target,
    inputs: Any,
    *,
    labels: Sequence[str | None] | None = None,
    method: str | None = None,
    side: int = THUMBNAIL,
) -> list[bytes]:
    """Returns images with the map of an answer over each, as PNG.

    Args:
        images: as the model accepts them, uint8 or float (n, height, width, channels), 0-255.
        model, task, target, inputs: of the run; see `Explainer`.
        labels: whose number is explained for each image; the likeliest where None.
        method: name in `METHODS`; the first that the network allows when None.
        side: longest side of the results, in pixels.
    """
    explainer = Explainer(model, task, target, inputs, method=method)
    explanations = explained(explainer, images, labels)
    return [
        _thumbnail(overlay(image, explanation.values, explanation.signed), side)
        for image, explanation in zip(images, explanations, strict=True)
    ]


def marked_texts(
    texts: Sequence[str],
    model: keras.Model,
    task: Task,
    target: Target,
    inputs: Any,
    *,
    labels: Sequence[str | None] | None = None,
    method: str | None = None,
) -> list[str]:
    """Returns texts as HTML, their words in marks of the classes of `text_pages.STYLE`; arguments as for `overlays`."""
    explainer = Explainer(model, task, target, inputs, method=method)
    pages = []
    for text, label in zip(texts, labels or [None] * len(texts), strict=True):
        sample = explainer.sample(inputs.read(text), text, text)
        (explanation,) = explainer.explain([sample], _scores(model, sample.array), label)
        pages.append(marked(explanation, sample))
    return pages


def explained(explainer: Explainer, arrays: np.ndarray, labels: Sequence[str | None] | None = None) -> list[Explanation]:
    """Returns one explanation for each input, of the label that is named for it."""
    explanations = []
    for index, (array, label) in enumerate(zip(arrays, labels or [None] * len(arrays), strict=True)):
        sample = explainer.sample(array[None], f"input {index}")
        explanations += explainer.explain([sample], _scores(explainer.network.model, sample.array), label)
    return explanations


def _scores(model: keras.Model, arrays: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict_on_batch(np.asarray(arrays, model.inputs[0].dtype)), "float32")


def _thumbnail(image: np.ndarray, side: int) -> bytes:
    small = Image.fromarray(image)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return png(np.asarray(small))


def section(content: Mapping[str, Any], pictures: Mapping[str, bytes]) -> tuple[str, str]:
    """Returns title and HTML of the part of a report that shows explanations; without scripts.

    Args:
        content: of `explanations.json`.
        pictures: name of an overlay -> its PNG; explanations without one are left out.
    """
    method = content["method"]
    figures = "".join(
        f'<figure><img alt="{escape(record["label"])}: where {escape(method)} sees it" src="data:image/png;base64,'
        f'{base64.b64encode(pictures[record["overlay"]]).decode()}"><figcaption>{escape(record["label"])} {record["score"]:.3g}</figcaption></figure>'
        for record in content["explanations"]
        if record.get("overlay") in pictures
    )
    words = "".join(f"<p>{record['html']}</p>" for record in content["explanations"] if "html" in record)
    if not figures and not words:
        return "Explanations", ""
    key = f"<p>{legend(content['signed'])}</p>" if words else ""
    return "Explanations", f"<p>By {escape(method)}: what speaks for the answer.</p>{key}{figures}{words}"
