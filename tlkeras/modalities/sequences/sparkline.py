"""A sequence as a line without axes, as part of an HTML page: Tufte's sparkline."""

from __future__ import annotations

import html

import numpy as np

FEATURES = 4  # lines; further features are not drawn
STEPS = 120  # points of a line; of a longer sequence, the mean of each of as many parts is drawn
WIDTH, HEIGHT = 120, 40  # units of the drawing, which the page scales


def sparkline(array: np.ndarray, name: str) -> str:
    """Returns a sequence as SVG.

    Args:
        array: float (time, features); each feature has a scale of its own.
        name: text for people who do not see it.
    """
    values = np.nan_to_num(np.asarray(array, "float64"), posinf=0.0, neginf=0.0)[:, :FEATURES]
    parts = np.array([part.mean(axis=0) for part in np.array_split(values, min(len(values), STEPS))])
    low, size = parts.min(axis=0), np.ptp(parts, axis=0)
    heights = np.where(size > 0, (parts - low) / np.where(size > 0, size, 1.0), 0.5)
    x = np.linspace(0, WIDTH, len(parts)) if len(parts) > 1 else np.array([WIDTH / 2])
    drawn = "".join(
        f'<polyline style="stroke:var(--series-{feature + 1})" points="{" ".join(f"{a:.0f},{HEIGHT * (1 - b):.1f}" for a, b in zip(x, column, strict=True))}"/>'
        for feature, column in enumerate(heights.T)
    )
    label = html.escape(name)
    return f'<svg class=spark viewBox="0 -2 {WIDTH} {HEIGHT + 4}" preserveAspectRatio="none" role="img" aria-label="{label}">{drawn}</svg>'
