"""Channel adapters: how images without three channels become the input of a backbone, as layers of the model.

They precede the input contract, are named `adapter_*`, and belong to the section `adapter`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tlkeras.errors import ConfigError
from tlkeras.registry import Registry

if TYPE_CHECKING:
    import keras

SECTION = "adapter"
PREFIX = f"{SECTION}_"
RGB = 3


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One channel adapter.

    Args:
        name: name that users pass.
        apply: (batch, height, width, channels) -> (batch, height, width, 3), by layers named `adapter_*`.
        grey_only: whether it accepts one channel only.
        trains: whether it has weights.
        help: one line of help text.
    """

    name: str
    apply: Callable[[keras.KerasTensor], keras.KerasTensor]
    grey_only: bool
    trains: bool
    help: str


def _repeat(x: keras.KerasTensor) -> keras.KerasTensor:
    import keras

    return keras.layers.Concatenate(name=f"{PREFIX}repeat")([x] * RGB)


def _conv(x: keras.KerasTensor) -> keras.KerasTensor:
    import keras

    # It starts as the mean of the bands, three times: what the backbone sees then is a grey image in its own range.
    mean = keras.initializers.Constant(1 / x.shape[-1])
    return keras.layers.Conv2D(RGB, 1, kernel_initializer=mean, name=f"{PREFIX}conv")(x)


ADAPTERS: Registry[Adapter] = Registry(
    "channel adapter",
    [
        Adapter(
            name="repeat", apply=_repeat, grey_only=True, trains=False, help="repeats the grey channel three times; no weights to train"
        ),
        Adapter(
            name="conv",
            apply=_conv,
            grey_only=False,
            trains=True,
            help="a 1x1 convolution to three channels, trained with the head and initialised to the mean of the channels",
        ),
    ],
)


def chosen(channels: int, asked: str | None) -> Adapter | None:
    """Returns the adapter for a number of channels: the one asked for, else `repeat` for grey and `conv` for others; None for RGB.

    Raises:
        ConfigError: when it does not fit the channels.
        UnknownName: when there is no such adapter.
    """
    if channels == RGB:
        if asked is not None:
            raise ConfigError(f"channel_adapter is {asked!r}, but images of {RGB} channels need no adapter; leave it out, or set channels")
        return None
    row = ADAPTERS.get(asked or ("repeat" if channels == 1 else "conv"))
    if row.grey_only and channels != 1:
        raise ConfigError(f"channel_adapter {row.name!r} is for 1 channel, and channels is {channels}; use conv")
    return row
