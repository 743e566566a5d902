"""What the card of an entry of sequences says about its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlkeras.config import RunConfig
from tlkeras.modalities.card import InputCard


def card(metadata: Mapping[str, str], config: Mapping[str, Any]) -> InputCard:
    """See `Modality.card`."""
    shape = f"({metadata['time']} steps, {metadata['features']} features)"
    return InputCard(
        noun="sequence",
        accepts=f"It accepts sequences, float32 {shape}, with zeros in front of shorter ones.",
        encoded=None,
        file="sequence.npy",
    )


def samples(config: RunConfig) -> list[str]:
    """See `Modality.samples`."""
    return ["SEQUENCE.csv"]
