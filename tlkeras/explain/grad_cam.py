"""Grad-CAM and Grad-CAM++: the last layer with positions, each channel weighed by the gradient of the answer.

Selvaraju et al. 2016, https://arxiv.org/abs/1610.02391; Chattopadhyay et al. 2017, https://arxiv.org/abs/1710.11063.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.explain.array_networks import Network
from tlkeras.explain.explanation import Map, Sample
from tlkeras.explain.positions import Positions, positions

LAYER = "layer with positions"
Weigh = Callable[[np.ndarray, np.ndarray], np.ndarray]


def refusal(network: Network) -> str | None:
    """Returns why a network has no such map, or None."""
    return None if positions(network.model) else f"{network.model.name} has no layer with positions of the image"


def grad_cam(network: Network, samples: Sequence[Sample], columns: Sequence[int]) -> list[Map]:
    """Returns the maps of Grad-CAM, in the grid of the layer; see `Method.function`."""
    return _maps(network, samples, columns, lambda activations, gradients: gradients.mean(axis=(1, 2), keepdims=True))


def grad_cam_plus_plus(network: Network, samples: Sequence[Sample], columns: Sequence[int]) -> list[Map]:
    """Returns the maps of Grad-CAM++, in the grid of the layer; see `Method.function`."""
    return _maps(network, samples, columns, _plus_plus)


def _plus_plus(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Returns the weights of equation 10, where the explained number is taken as the exponent of their score (equation 19)."""
    squares, cubes = gradients**2, gradients**3
    below = 2 * squares + activations.sum(axis=(1, 2), keepdims=True) * cubes
    shares = np.divide(squares, below, out=np.zeros_like(squares), where=np.abs(below) > 1e-12)
    return (shares * np.maximum(gradients, 0)).sum(axis=(1, 2), keepdims=True)


def _maps(network: Network, samples: Sequence[Sample], columns: Sequence[int], weigh: Weigh) -> list[Map]:
    maps = []
    if LAYER not in network.traced:
        network.traced[LAYER] = _chosen(network, samples[0], columns[0])
    step, layer = network.traced[LAYER]
    for start in range(0, len(samples), network.batch_size):
        arrays = np.concatenate([sample.array for sample in samples[start : start + network.batch_size]])
        (activations,), (gradients,) = step(arrays, columns[start : start + network.batch_size])
        activations, gradients = layer.grid(activations), layer.grid(gradients)
        cams = np.maximum((weigh(activations, gradients) * activations).sum(axis=-1), 0)
        maps += [Map(values=cam, details={"layer": layer.name}) for cam in cams]
    return maps


def _chosen(network: Network, sample: Sample, column: int) -> tuple[Any, Positions]:
    """Returns the function that differentiates, and the last tensor whose positions have a gradient.

    Where the head reads the class token alone, the other tokens of the last block have none: what it reads of them is their attention, one block before.
    """
    candidates = positions(network.model)
    if len(candidates) > 1:
        _, gradients = _step(network, candidates, trace=False)(sample.array, [column])
        alive = [layer for layer, values in zip(candidates, gradients, strict=True) if layer.grid(values).any()]
        candidates = alive[:1] or candidates[:1]
    return _step(network, candidates), candidates[0]


def _step(network: Network, layers: Sequence[Positions], *, trace: bool = True) -> Callable[..., tuple[list[np.ndarray], list[np.ndarray]]]:
    """Returns a function: (inputs, columns) -> activations and gradients of each layer, float32; one call is faster without a trace."""
    model = keras.Model(network.model.inputs[0], [*(layer.tensor for layer in layers), network.output])

    def differentiated(x: Any, columns: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)  # the activations are then differentiable, whether or not weights are trained
            *activations, values = model(x, training=False)
            numbers = network.number(values, columns)
        return activations, tape.gradient(numbers, activations, unconnected_gradients="zero")

    run = tf.function(differentiated, autograph=False, reduce_retracing=True) if trace else differentiated

    def step(arrays: np.ndarray, columns: Sequence[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        results = run(tf.constant(np.asarray(arrays, network.kind)), tf.constant(columns, tf.int32))
        activations, gradients = ([np.asarray(value, "float32") for value in values] for values in results)
        return activations, gradients

    return step
