"""Write SavedModel, TFLite and ONNX artifacts, each verified in its own runtime before it is kept.

Accepts any `keras.Model` with an `ExportSpec`, and depends on no backbone, data or training code. Importing this package
loads neither TensorFlow nor Keras.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Artifact": "tlkeras.export.artifact",
    "Budget": "tlkeras.export.budget",
    "Calibration": "tlkeras.export.calibration",
    "ExportSpec": "tlkeras.export.spec",
    "FORMATS": "tlkeras.export.formats",
    "export": "tlkeras.export.export",
    "Samples": "tlkeras.export.parity",
    "open_artifact": "tlkeras.export.read",
    "read_manifest": "tlkeras.export.manifest",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
