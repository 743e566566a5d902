"""Classification: one label per example."""

from __future__ import annotations

import keras


def build(features: keras.KerasTensor, outputs: int, dropout: float) -> keras.KerasTensor:
    """Returns softmax scores over `outputs` classes, in float32 whatever the dtype policy.

    Args:
        features: (batch, width).
        outputs: number of classes.
        dropout: fraction of the features dropped in training, 0 to 1.
    """
    x = keras.layers.Dropout(dropout, name="head_dropout")(features)
    x = keras.layers.Dense(outputs, name="head_logits", dtype="float32")(x)  # (batch, width) -> (batch, outputs)
    return keras.layers.Softmax(name="scores", dtype="float32")(x)
