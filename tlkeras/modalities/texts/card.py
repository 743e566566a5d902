"""What the card of an entry of texts says about its inputs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from tlkeras.config import RunConfig
from tlkeras.modalities.card import InputCard

EXAMPLE = "a text"


def card(metadata: Mapping[str, str], config: Mapping[str, Any]) -> InputCard:
    """See `Modality.card`."""
    return InputCard(
        noun="text",
        accepts=f"It accepts texts of at most {metadata['max_length']} tokens (the vocabulary is in `tokenizer/`). "
        "The SavedModel accepts raw strings.",
        encoded="text",
        file="text.txt",
        literal=EXAMPLE,
        values=", encoded by `tokenizer/`",
        contains="vocabulary",
        mediapipe="TextClassifier",
    )


def samples(config: RunConfig) -> list[str]:
    """See `Modality.samples`."""
    return [shlex.quote(EXAMPLE)]
