"""Low-rank adapters: the kernels stay frozen, and a product of two narrow matrices is trained beside each; merged when training ends.

Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models, https://arxiv.org/abs/2106.09685. The adapters are those of Keras' layers.
Keras stores them merged: a model that was saved with adapters answers the same when it is read, but both matrices are then 0, where no
gradient moves either. `enable` gives such a model new ones.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from tlkeras.backbones.sections import HEAD
from tlkeras.errors import ConfigError, near
from tlkeras.models import TaskModel
from tlkeras.training.freezing import leaves
from tlkeras.training.options import Examples

RANK = 8
MATRICES = (("_kernel", "lora_kernel_a", "lora_kernel_b"), ("_embeddings", "lora_embeddings_a", "lora_embeddings_b"))


def enable(task: TaskModel, *, lora_rank: int = RANK, lora_targets: Sequence[str] = ()) -> TaskModel:
    """Adds adapters to layers of the backbone, in place; the model computes the same as before.

    Args:
        task: the task model; adapters that it has are merged first.
        lora_rank: width of the two matrices.
        lora_targets: shell-style patterns of layer paths; all dense and convolutional layers when empty.

    Raises:
        ConfigError: when no layer can have adapters, or a pattern matches none of those that can.
    """
    merge(task)
    able = {
        path: layer for path, layer in leaves(task.model) if task.sections.get(path.split("/")[0], HEAD) not in (HEAD, "") and _able(layer)
    }
    if not able:
        raise ConfigError(
            f"no layer of {task.backbone.name!r} can have low-rank adapters (dense layers and convolutions can); use --recipe lp-ft"
        )
    for pattern in lora_targets:
        if not fnmatch.filter(able, pattern):
            raise ConfigError(
                f"lora_targets is {pattern!r}, which matches no layer that can have adapters; {near(pattern.strip('*'), able)}"
            )
    for path, layer in able.items():
        chosen = any(fnmatch.fnmatchcase(path, pattern) for pattern in lora_targets or _usual(layer))
        if chosen and not layer.lora_enabled:  # two paths may lead to a layer
            # Without lora_alpha: Dense forgets it when it is made from its config (Keras 3.15).
            layer.enable_lora(lora_rank)
    return task


def _able(layer: keras.Layer) -> bool:
    constraint = getattr(layer, "kernel_constraint", None) or getattr(layer, "embeddings_constraint", None)
    return hasattr(layer, "enable_lora") and layer.built and constraint is None


def _usual(layer: keras.Layer) -> tuple[str, ...]:
    """Returns the patterns that hold where the user has none: everything but embeddings, of which a step changes few rows."""
    return () if isinstance(layer, keras.layers.Embedding) else ("*",)


def merge(task: TaskModel, parts: dict[str, Examples] | None = None) -> TaskModel:
    """Adds the product of the adapters to the kernels and removes them, in place; the model is then as it was before `enable`.

    Args:
        task: the task model.
        parts: not used.
    """
    for layer, (kernel, a, b) in _adapted(task.model):
        weights, down, up = (np.asarray(getattr(layer, name), "float32") for name in (kernel, a, b))
        getattr(layer, kernel).assign(weights + layer.lora_alpha / layer.lora_rank * (down @ up))
        for name in (a, b):
            variable = getattr(layer, name)
            variable.assign(np.zeros(variable.shape))  # functions that were traced with the adapters still compute the same
            layer._untrack_variable(variable)
            super(keras.Layer, layer).__delattr__(name)  # Keras' own collects garbage each time
        layer.lora_enabled, layer.lora_rank, layer.lora_alpha = False, None, None
        getattr(layer, kernel).trainable = layer.trainable
    return task


def _adapted(model: keras.Model) -> Iterator[tuple[keras.Layer, tuple[str, str, str]]]:
    """Yields each layer with adapters, once, and the names of its variables."""
    seen: set[int] = set()
    for _, layer in leaves(model):
        if getattr(layer, "lora_enabled", False) and id(layer) not in seen:
            seen.add(id(layer))
            yield layer, next(names for names in MATRICES if hasattr(layer, names[1]))
