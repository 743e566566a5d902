"""Predicting the next step of a sequence; Srivastava et al. 2015, https://arxiv.org/abs/1502.04681."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tlkeras.backbones.row import Backbone
from tlkeras.config import PretrainConfig
from tlkeras.data.examples import Dataset
from tlkeras.modalities.sequences import arrays as sequences
from tlkeras.modalities.sequences.inputs import Sequences
from tlkeras.pretraining.network import Pretraining, untrained


def build(row: Backbone, config: PretrainConfig, dataset: Dataset) -> Pretraining:
    """Returns a network of sequences that predicts, at every step, the standardised values of the step after it."""
    facts = sequences.described(dataset, None)
    base, features = untrained(row, config, data=facts)
    predicted = keras.layers.Dense(facts["features"], name="next_step")(base.model.output)
    # The last step is what a head will see; here it stands beside the prediction of every step.
    predicted = keras.layers.Identity(name="prediction")(predicted) + 0 * keras.ops.sum(features)
    mean, std = np.array(facts["mean"], "float32"), np.array(facts["std"], "float32")

    def target(x: np.ndarray) -> np.ndarray:
        following = np.concatenate([x[:, 1:], x[:, -1:]], axis=1)
        return (following - mean) / std

    def loss(expected: Any, prediction: Any) -> Any:
        return keras.ops.mean(keras.ops.square(expected[:, :-1] - prediction[:, :-1]))

    return Pretraining(
        model=keras.Model(base.model.input, predicted, name=row.name),
        inputs=Sequences(time=facts["time"], features=facts["features"]),
        target=target,
        loss=loss,
    )
