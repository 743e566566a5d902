"""Maps as images: over the input, and beside it with a scale.

Sizes are drawn in viridis, whose steps look equal to the eye; evidence for and against in red and blue of one lightness, with grey between them (Moreland 2009,
doi:10.1007/978-3-642-10520-3_9). The end of the scale is the 99th percentile of the sizes, so that a single pixel does not hide all others.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tlkeras.explain.explanation import Explanation, Sample, resized

SIZES, EVIDENCE = "viridis", "coolwarm"
PERCENTILE = 99.0
OPACITY = 0.75  # of the colour where a value is at the end of the scale
SIDE = 224  # pixels, to which smaller images are enlarged
DPI = 100


def scaled(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns values from -1 to 1, and the end of their scale."""
    end = float(np.percentile(np.abs(values), PERCENTILE)) if values.size else 0.0
    end = end or float(np.abs(values).max(initial=0.0)) or 1.0
    return np.clip(values / end, -1.0, 1.0), end


def coloured(values: np.ndarray, signed: bool) -> np.ndarray:
    """Returns the colours of values from -1 to 1, float (…, 3), 0 to 1."""
    colours = matplotlib.colormaps[EVIDENCE if signed else SIZES]
    return np.asarray(colours((values + 1) / 2 if signed else values))[..., :3]


def visible(array: np.ndarray) -> np.ndarray:
    """Returns an image as RGB, uint8 (height, width, 3), enlarged where it is small.

    Args:
        array: (height, width, channels), 0-255; of other than 1 or 3 channels, the first is shown in grey.
    """
    image = np.clip(np.asarray(array), 0, 255).astype("uint8")
    image = image if image.shape[-1] == 3 else np.repeat(image[..., :1], 3, axis=-1)
    factor = max(1, -(-SIDE // max(image.shape[:2])))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def overlay(array: np.ndarray, values: np.ndarray, signed: bool) -> np.ndarray:
    """Returns an image with a map over it: the larger a value, the more of its colour is seen.

    Args:
        array: the image, (height, width, channels), 0-255.
        values: (rows, columns), of its size or coarser.
        signed: whether values below 0 are evidence against.

    Returns:
        uint8 (height, width, 3), enlarged where the image is small.
    """
    image = visible(array)
    levels, _ = scaled(resized(values, *image.shape[:2]))
    share = OPACITY * np.abs(levels)[..., None]
    return (image * (1 - share) + 255 * coloured(levels, signed) * share).round().astype("uint8")


def png(image: np.ndarray) -> bytes:
    """Returns an image, uint8 (height, width, 3), as PNG."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG", optimize=True)
    return content.getvalue()


def image(explanation: Explanation, sample: Sample) -> dict[str, bytes]:
    """Returns the overlay, and the image, the overlay and the map side by side; see `Subject.draw`."""
    array = sample.array[0]
    over = overlay(array, explanation.values, explanation.signed)
    height, width = over.shape[:2]
    figure = Figure(figsize=(9.6, 9.6 / 3.25 * height / width + 0.4), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, shown in zip(axes, (visible(array), over), strict=False):
        axis.imshow(shown)
    _map(figure, axes[2], resized(explanation.values, height, width), explanation)
    for axis in axes:
        axis.set_axis_off()
    return {".overlay.png": png(over), ".png": _drawn(figure, explanation.title)}


def sequence(explanation: Explanation, sample: Sample) -> dict[str, bytes]:
    """Returns the sequence with its map below, on the same axis of time; see `Subject.draw`."""
    steps, values = sample.array[0], explanation.values
    rows = values.T if values.ndim == 2 else values[None]
    figure = Figure(figsize=(8, 4), dpi=DPI, layout="constrained")
    lines, below = figure.subplots(2, 1, height_ratios=(3, max(1, min(3, len(rows) / 4))))
    colours = matplotlib.colormaps[SIZES]
    for index, column in enumerate(steps.T):
        lines.plot(np.arange(len(steps)), column, color=colours(0.9 * index / max(1, steps.shape[1] - 1)), linewidth=1.2)
    lines.set_xlim(-0.5, len(steps) - 0.5)
    lines.set_ylabel("input")
    _map(figure, below, rows, explanation, aspect="auto")
    below.set_xlabel("step")
    below.set_yticks(range(len(rows)) if len(rows) <= 8 else [])
    below.set_ylabel("feature" if values.ndim == 2 else "all")
    return {".png": _drawn(figure, explanation.title)}


def _map(figure: Figure, axis: Any, values: np.ndarray, explanation: Explanation, aspect: str = "equal") -> None:
    """Draws a map with its scale."""
    _, end = scaled(values)
    lowest = -end if explanation.signed else 0.0
    shown = axis.imshow(
        values, cmap=EVIDENCE if explanation.signed else SIZES, vmin=lowest, vmax=end, aspect=aspect, interpolation="nearest"
    )
    bar = figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.03)
    bar.set_label("against · for" if explanation.signed else "importance", fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _drawn(figure: Figure, title: str) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that the font of the plot lacks
        figure.suptitle(title, fontsize=10, parse_math=False)
        FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
