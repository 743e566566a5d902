"""Registry rows name their code as `"module:function"`, so that reading a table imports nothing heavy."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def load_function(dotted: str) -> Callable[..., Any]:
    """Returns the function that a row names as `"module:function"`."""
    module, _, name = dotted.partition(":")
    return getattr(importlib.import_module(module), name)
