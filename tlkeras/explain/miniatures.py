"""Explanations as small parts of a page that shows examples: made of the files of `tlkeras explain` alone, without scripts."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlkeras.modalities.images.thumbnail import thumbnail

WORDS = 60  # of a text
STEPS = 120  # parts of a sequence; of a longer one, the mean of each of as many parts is drawn
FAINT = 0.02  # share of the largest size below which a part is not drawn
END = "</mark>"


def image(record: Mapping[str, Any], folder: Path, name: str) -> str:
    """Returns the overlay; nothing where its file is gone. See `Subject.thumbnail`."""
    path = folder / Path(str(record.get("overlay", ""))).name
    if not path.is_file():
        return ""
    with Image.open(path) as overlay:
        return thumbnail(np.asarray(overlay.convert("RGB")), f"{name}: what speaks for {record['label']}")


def text(record: Mapping[str, Any], folder: Path, name: str) -> str:
    """Returns the first words with their marks; see `Subject.thumbnail`."""
    words = str(record.get("html", "")).split(END)
    shown = END.join(words) if len(words) <= WORDS else END.join(words[:WORDS]) + f"{END}…"
    return f"<p class=text>{shown}</p>"


def sequence(record: Mapping[str, Any], folder: Path, name: str) -> str:
    """Returns a strip that is the stronger the more a step matters, on the axis of the sequence; see `Subject.thumbnail`."""
    values = np.asarray(record["values"], "float64")
    steps = values if values.ndim == 1 else values.sum(axis=1)
    parts = np.array([part.mean() for part in np.array_split(steps, min(len(steps), STEPS))])
    shares = np.abs(parts) / (np.abs(parts).max() or 1.0)
    drawn = "".join(
        f'<rect x={index} y=0 width=1 height=1 style="fill:var(--{"accent" if part < 0 else "bad"})" opacity={share:.2f} />'
        for index, (part, share) in enumerate(zip(parts, shares, strict=True))
        if share >= FAINT
    )
    label = html.escape(f"{name}: which steps speak for {record['label']}")
    return f'<svg class="spark strip" viewBox="0 0 {len(parts)} 1" preserveAspectRatio="none" role="img" aria-label="{label}">{drawn}</svg>'
