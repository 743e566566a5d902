"""From a pretrained Keras backbone and your own data to a model proven to work where it will run.

Importing this package loads neither TensorFlow nor Keras; the names below load what they need when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "BACKBONES": "tlkeras.backbones.registry",
    "BenchmarkConfig": "tlkeras.config",
    "EvaluateConfig": "tlkeras.config",
    "ExplainConfig": "tlkeras.config",
    "ExportModelConfig": "tlkeras.config",
    "PretrainConfig": "tlkeras.config",
    "RECIPES": "tlkeras.training.recipes.registry",
    "RecommendConfig": "tlkeras.config",
    "Reporter": "tlkeras.progress",
    "RunConfig": "tlkeras.config",
    "SILENT": "tlkeras.progress",
    "TlkerasError": "tlkeras.errors",
    "benchmark": "tlkeras.jobs.api",
    "compare": "tlkeras.jobs.compare",
    "cross_validate": "tlkeras.jobs.out_of_fold",
    "evaluate": "tlkeras.jobs.api",
    "explain": "tlkeras.jobs.api_explain",
    "export_model": "tlkeras.jobs.api",
    "finetune": "tlkeras.jobs.api",
    "from_arrays": "tlkeras.data.examples",
    "load": "tlkeras.jobs.api_predict",
    "open_source": "tlkeras.modalities.sources",
    "predict": "tlkeras.jobs.api_predict",
    "pretrain": "tlkeras.jobs.api",
    "publish": "tlkeras.jobs.api",
    "recommend": "tlkeras.jobs.api_recommend",
    "review": "tlkeras.jobs.out_of_fold",
}

__all__ = sorted([*_PUBLIC, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
