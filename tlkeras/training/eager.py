"""Whether a network is worth tracing: steps of a graph are faster, but to make one takes seconds."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tlkeras.weights.layers import ProjectedLSTM

STEPS = 16  # up to which all steps of a small network take less time than to trace one
WEIGHTS = 4_000_000  # of a small network
VALUES = 8_000_000  # that the layers of a small network give for a batch
LENGTH = 64  # that counts for an axis that is free
LOOPS = (keras.layers.RNN, ProjectedLSTM)  # layers that compute one step in time after the other


def worth_tracing(model: keras.Model, *, steps: int, batch_size: int) -> bool:
    """Returns whether so many steps of a network are faster with tracing.

    Each operation costs about a millisecond more when it runs alone, and twenty to trace. Where operations are long, a graph runs
    several at once; where they are loops over time, it is the only fast way.

    Args:
        model: the network.
        steps: all that are to be done.
        batch_size: examples of a step.
    """
    nodes = [node for level in getattr(model, "_nodes_by_depth", {}).values() for node in level]
    if not nodes or steps > STEPS or model.count_params() > WEIGHTS:  # a model of another kind does not tell what its layers give
        return True
    values = sum(_values(tensor) for node in nodes for tensor in node.outputs)
    return values * batch_size > VALUES or any(isinstance(layer, LOOPS) for layer in model._flatten_layers())


def _values(tensor: keras.KerasTensor) -> int:
    return int(np.prod([size or LENGTH for size in tensor.shape[1:]]))


def answers(model: keras.Model, batch: Any, *, steps: int) -> np.ndarray:
    """Returns what a network answers to one of several batches, as float32.

    Args:
        model: the network.
        batch: array, or one for each input.
        steps: batches in all, this one included.
    """
    count = len(batch[0] if isinstance(batch, list) else batch)
    traced = model.predict_function is not None or worth_tracing(model, steps=steps, batch_size=count)
    if not traced:
        batch = keras.tree.pack_sequence_as(model.input, keras.tree.flatten(batch))  # one input may be a list of one
    return np.asarray(model.predict_on_batch(batch) if traced else model(batch, training=False), "float32")
