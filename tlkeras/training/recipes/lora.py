"""The exact head, then low-rank adapters beside the frozen kernels."""

from __future__ import annotations

from collections.abc import Sequence

from tlkeras.training.recipes.lp_ft import after_head
from tlkeras.training.recipes.registry import Facts, Phase

ADAPTERS = ("lora_kernel_a", "lora_kernel_b", "lora_embeddings_a", "lora_embeddings_b")


def phases(sections: Sequence[str], facts: Facts) -> tuple[Phase, ...]:
    """Returns the head and a phase for the adapters, at ten times the rate of full training, which low ranks need."""
    return after_head(facts, only=ADAPTERS, learning_rate=1e-3, layer_decay=1.0, weight_decay=0.0)
