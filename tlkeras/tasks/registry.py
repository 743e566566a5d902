"""The heads tlkeras can put on a backbone: one row each."""

from __future__ import annotations

from dataclasses import dataclass

from tlkeras.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Head:
    """One kind of head.

    Args:
        name: name that users pass.
        build: `"module:function"`; called with (features of shape (batch, width), outputs, dropout), returns scores.
        loss: name of the Keras loss that trains it.
        metric: name of the Keras metric shown while it trains.
        help: one line of help text.
    """

    name: str
    build: str
    loss: str
    metric: str
    help: str


HEADS: Registry[Head] = Registry(
    "head",
    [
        Head(
            name="classification",
            build="tlkeras.tasks.classification:build",
            loss="sparse_categorical_crossentropy",
            metric="accuracy",
            help="One label per example: dropout, dense, softmax.",
        ),
    ],
)
