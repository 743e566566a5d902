"""How the answers of an artifact compare with those of the Keras model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a task says of an artifact on held-out examples; see `tlkeras.export.spec.Judged`.

    Args:
        agreement: share of the examples with the same answer as the Keras model.
        accuracy: how good the answers are by the targets; larger is better. None without targets.
        drop: how much worse they are than those of the Keras model; compared with `max_drop`.
        sentence: what an error states where the drop is too large; continues the name of the format.
    """

    agreement: float | None = None
    accuracy: float | None = None
    drop: float | None = None
    sentence: str = ""
