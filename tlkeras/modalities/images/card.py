"""What the card of an entry of images says about its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlkeras.config import RunConfig
from tlkeras.modalities.card import InputCard

COLOURS = {"1": "grey", "3": "RGB"}  # channels that image files have -> what they are called


def card(metadata: Mapping[str, str], config: Mapping[str, Any]) -> InputCard:
    """See `Modality.card`."""
    channels, side = metadata.get("channels", "3"), metadata["image_size"]
    encodable = channels in COLOURS
    colours = COLOURS.get(channels, f"{channels}-channel")
    pixels = f"{side} x {side} pixels, values 0-255 (resized by `{config['resize']}`)"
    return InputCard(
        noun="image",
        accepts=f"It accepts {colours} images, {pixels}. The normalisation is inside the model.",
        encoded="image_bytes" if encodable else None,
        file="image.jpg" if encodable else "image.npy",
        values=f", {colours} 0-255",
        contains="normalisation",
        mediapipe="ImageClassifier",
    )


def samples(config: RunConfig) -> list[str]:
    """See `Modality.samples`; images of other channels than files have are arrays."""
    return ["IMAGE.jpg", "FOLDER/"] if str(config.model.channels) in COLOURS else ["ARRAY.npy"]
