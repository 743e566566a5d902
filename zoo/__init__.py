"""The zoo: versioned entries that TensorFlow Serving, phones and ONNX Runtime load directly.

Importing this package loads neither TensorFlow nor Keras.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Entry": "tlkeras.zoo.store",
    "Zoo": "tlkeras.zoo.store",
    "diff": "tlkeras.zoo.compare",
    "load": "tlkeras.zoo.opening",
    "verify": "tlkeras.zoo.check",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        if name == "load":
            from tlkeras.startup import load_tensorflow

            load_tensorflow()
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
