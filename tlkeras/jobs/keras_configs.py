"""Configs of Keras models that another version wrote: what the installed Keras accepts, where that changes nothing at inference."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from tlkeras.errors import ExportError


@dataclass(frozen=True, kw_only=True)
class Argument:
    """An argument that one version of Keras writes into a layer's config and another does not accept.

    Args:
        layers: pattern of the class names.
        name: pattern of the argument's name.
        inert: whether a value changes nothing at inference.
    """

    layers: str
    name: str
    inert: Callable[[Any], bool]


def _always(value: Any) -> bool:
    return True


def _off(value: Any) -> bool:
    return value in (None, False)


RECURRENT = r"(RNN|SimpleRNN|GRU|LSTM|ConvLSTM\dD|StackedRNNCells|Bidirectional)(V2|Cell)?"
ARGUMENTS = (
    # Keras 2 gave DepthwiseConv2D the `groups` of Conv2D, of which it made no use.
    Argument(layers=r"(Depthwise|Separable)Conv\dD(Transpose)?|Conv\dDTranspose", name="groups", inert=lambda value: value in (None, 1)),
    # Augmentation passes images through at inference.
    Argument(layers=r"Random\w+|AutoContrast|CutMix|MixUp|RandAugment|AugMix", name="value_range", inert=_always),
    Argument(layers=r"Random\w+", name="rng_type", inert=_always),
    Argument(layers=r"Random\w+", name="data_format", inert=lambda value: value in (None, "channels_last")),
    # For training: where weights begin, and what holds them back.
    Argument(layers=r"\w+", name=r"\w+_(initializer|regularizer|constraint)", inert=_always),
    # Said by the input layer too.
    Argument(layers=r"(?!InputLayer)\w+", name="batch_input_shape", inert=_always),
    # How it is computed, not what.
    Argument(layers=RECURRENT, name="implementation", inert=_always),
    Argument(layers=RECURRENT, name="time_major", inert=_off),
    Argument(layers=r"(Sync)?BatchNormalization(V1|V2)?", name="fused", inert=_always),
    Argument(layers=r"(Sync)?BatchNormalization(V1|V2)?", name="renorm", inert=_off),
    Argument(layers=r"(Sync)?BatchNormalization(V1|V2)?", name="virtual_batch_size", inert=_off),
    Argument(layers=r"(Sync)?BatchNormalization(V1|V2)?", name="adjustment", inert=_off),
    Argument(layers="InputLayer", name="ragged", inert=_off),
    Argument(layers="InputLayer", name="type_spec", inert=_off),
    Argument(layers="InputLayer", name="optional", inert=_off),
    Argument(layers="Embedding", name="input_length", inert=_always),
    Argument(layers="(MultiHead|GroupedQuery|GroupQuery|Additive)?Attention", name="seed", inert=_always),
    Argument(layers=r"\w+", name="quantization_config", inert=_off),
    Argument(layers=r"\w+", name="lora_rank", inert=_off),
    Argument(layers=r"\w+", name="lora_alpha", inert=_off),
)


def accepted(config: Any, version: str, path: Path) -> bool:
    """Changes a config to what the installed Keras accepts, where that changes nothing at inference; whether anything was changed.

    Args:
        config: of a model, as JSON has it; changed in place.
        version: of the Keras that wrote it.
        path: of the file, for messages.

    Raises:
        ExportError: when an argument is not accepted and not inert; the message names it and its layer.
    """
    changed = False
    for layer in _layers(config):
        changed |= _without_arguments(layer, path)
        if not version.startswith("3"):
            changed |= _lone_tensors(layer["config"])
            changed |= _moved(layer)
            changed |= _lone_axis(layer)
    return changed


def _layers(config: Any) -> Iterator[dict[str, Any]]:
    """Yields everything in a config that names a class and its config: models, layers, and what they hold."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str) and isinstance(config.get("config"), dict):
            yield config
        for value in config.values():
            yield from _layers(value)
    elif isinstance(config, list):
        for value in config:
            yield from _layers(value)


def _without_arguments(layer: dict[str, Any], path: Path) -> bool:
    name, config = layer["class_name"], layer["config"]
    dropped = False
    for argument, key in [(argument, key) for key in config for argument in ARGUMENTS if re.fullmatch(argument.name, key)]:
        if key not in config or not re.fullmatch(argument.layers, name) or _accepts(name, key):
            continue
        if not argument.inert(config[key]):
            raise ExportError(
                f"cannot read {str(path)!r}: layer {config.get('name', '')!r} ({name}) has {key}={config[key]!r}, which "
                f"Keras {keras.__version__} does not accept and which changes what the layer computes; with the Keras version that wrote the model, save it "
                "as a SavedModel: model.export(FOLDER), in Keras 2 model.save(FOLDER)"
            )
        del config[key]
        dropped = True
    return dropped


def _accepts(name: str, argument: str) -> bool:
    """Whether the constructor of a Keras layer, or one of its bases, names an argument; True for classes that Keras does not know."""
    layer = getattr(keras.layers, name, None)
    if layer is None:
        return True
    return any(argument in inspect.signature(base.__init__).parameters for base in layer.__mro__ if "__init__" in vars(base))


def _lone_tensors(config: dict[str, Any]) -> bool:
    """Makes the one input or output of a Keras 2 model a tensor: Keras 2 wrote a list of one for both, Keras 3 reads a list of one."""
    changed = False
    for key in ("input_layers", "output_layers"):
        value = config.get(key)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            config[key] = value[0]
            changed = True
    return changed


def _moved(layer: dict[str, Any]) -> bool:
    """Names the module of functional models as Keras 3 does: Keras 2 wrote its own, `keras.src.engine.functional`."""
    if not re.fullmatch(r"(tf_)?keras\..*\bengine\.(functional|training)", str(layer.get("module"))):
        return False
    layer.update(module="keras.src.models.functional", class_name="Functional", registered_name=None)
    return True


def _lone_axis(layer: dict[str, Any]) -> bool:
    """Makes the axis of a BatchNormalization a number: Keras 2 wrote a list of one."""
    axis = layer["config"].get("axis")
    if "BatchNormalization" not in layer["class_name"] or not isinstance(axis, list) or len(axis) != 1:
        return False
    layer["config"]["axis"] = axis[0]
    return True
