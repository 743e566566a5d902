"""Numeric precision of training: the mixed dtype of a device, loss scaling, TF32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

AMPERE = (8, 0)  # compute capability from which NVIDIA GPUs compute in bfloat16 and TF32


def mixed_policy() -> str:
    """Returns the dtype policy of mixed precision for the devices that TensorFlow may use.

    bfloat16 has the range of float32, so gradients neither vanish nor overflow and no loss scaling is needed. GPUs older than Ampere
    do not have it: they compute in float16.
    """
    gpus = tf.config.get_visible_devices("GPU")
    return "mixed_bfloat16" if all(_capability(gpu) >= AMPERE for gpu in gpus) else "mixed_float16"


def _capability(gpu: tf.config.PhysicalDevice) -> tuple[int, int]:
    """Returns the compute capability; devices of other vendors state none and count as recent ones."""
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", AMPERE)


def scaled(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> keras.optimizers.Optimizer:
    """Wraps the optimizer so that it scales the loss, where a layer of the model computes in float16.

    Keras does this by the dtype policy of the model itself. The part of a model that trains, and its copy for several replicas, are
    made after the policy was put back, so the layers decide.
    """
    computes = {layer.compute_dtype for layer in model._flatten_layers()}
    return keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale_optimizer") if "float16" in computes else optimizer


def record(model: keras.Model, *, tf32: bool) -> dict[str, Any]:
    """Returns what a run records: the dtype that its layers compute in, whether TF32 is used, the names of the GPUs.

    Args:
        model: the task model.
        tf32: whether training may use TF32; recorded as used only where a GPU has it.
    """
    computes = {layer.compute_dtype for layer in model._flatten_layers()}
    dtype = next((name for name in ("float16", "bfloat16") if name in computes), "float32")
    gpus = tf.config.get_visible_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return {
        "compute_dtype": dtype,
        "tf32": tf32 and any(_capability(gpu) >= AMPERE for gpu in gpus),
        "gpus": [detail.get("device_name", "GPU") for detail in details],
    }


def describe(facts: Mapping[str, Any]) -> str:
    """Returns the facts of `record` as one line of text."""
    text = "training in float32" if facts["compute_dtype"] == "float32" else f"training in {facts['compute_dtype']} with float32 weights"
    return text + (", products in TF32" if facts["tf32"] else "") + f", on {', '.join(facts['gpus']) or 'the CPU'}"
