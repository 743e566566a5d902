"""How much memory a file of weights or a model may take: what it holds decides, not what its config states."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any

import keras
from keras.src.saving import saving_lib

from tlkeras.files import LARGE, TIMES

NUMBER = 4  # bytes of a number in memory
WIDER = 4  # times that a number can take more bytes in memory than in a file, where it has 8 bits
FEWEST, ARRAY = 2_000, 256  # arrays that any network may have; bytes that each one takes in a file at least, with its header

# Keras refuses arrays and archives that state far more than they store, from 4 GB on; here it is as for other archives.
saving_lib._H5_DATASET_BOMB_FLOOR_BYTES, saving_lib._H5_DATASET_MAX_EXPANSION = LARGE, TIMES
saving_lib._NPZ_MEMBER_BOMB_FLOOR_BYTES, saving_lib._NPZ_MEMBER_MAX_EXPANSION = LARGE, TIMES


class _Budget:
    """What the network in a file of so many bytes may still ask for."""

    def __init__(self, size: int):
        self._size = size
        self._bytes, self._arrays = max(LARGE, WIDER * size), FEWEST + size // ARRAY

    def take(self, shape: Any) -> None:
        try:
            count = math.prod(int(side) for side in shape)
        except (TypeError, ValueError):  # a lone number, or what Keras itself refuses
            count = 1
        self._bytes -= NUMBER * max(count, 0)
        self._arrays -= 1
        if self._bytes < 0 or self._arrays < 0:
            raise ValueError(
                f"its config asks for more weights than a file of {self._size:,} bytes can hold, the last of shape {str(shape)[:100]}; "
                "it is damaged, or the config of another model"
            )


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def bounded(size: int) -> Iterator[None]:
    """Builds, while the body runs, no network with more weights than a file holds; before memory is reserved for them.

    Args:
        size: of the file, in bytes.

    Raises:
        ValueError: when a config asks for more.
    """
    _count_variables()
    token = _budget.set(_Budget(size))
    try:
        yield
    finally:
        _budget.reset(token)


@cache
def _count_variables() -> None:
    """Makes Keras report the shape of each variable before it makes it, once for this process; only `bounded` looks at it."""
    original = keras.Variable.__init__

    @wraps(original)
    def __init__(self: Any, initializer: Any, shape: Any = None, *args: Any, **kwargs: Any) -> None:
        if (budget := _budget.get()) is not None:
            budget.take(shape)
        original(self, initializer, shape, *args, **kwargs)

    keras.Variable.__init__ = __init__
