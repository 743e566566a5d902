"""The settings of every job: one table of keys for YAML files, flags and Python.

Every key is declared once: the command line, `--config` files, `tlkeras config render` and the `config.yaml` of a run are all
derived from these fields.
"""

from __future__ import annotations

from tlkeras.config import fields
from tlkeras.config.fields import FlatConfig, Key
from tlkeras.config.jobs import BenchmarkConfig, EvaluateConfig, ExplainConfig, ExportModelConfig, PretrainConfig, RecommendConfig
from tlkeras.config.results import FORMATS_BY_DEFAULT, CertaintyConfig, ExportConfig, ReportConfig
from tlkeras.config.run import DataConfig, ModelConfig, RunConfig, TrainConfig
from tlkeras.config.yaml_files import read_yaml, to_yaml

__all__ = [
    "FORMATS_BY_DEFAULT",
    "BenchmarkConfig",
    "CertaintyConfig",
    "DataConfig",
    "EvaluateConfig",
    "ExplainConfig",
    "ExportConfig",
    "ExportModelConfig",
    "FlatConfig",
    "Key",
    "ModelConfig",
    "PretrainConfig",
    "RecommendConfig",
    "ReportConfig",
    "RunConfig",
    "TrainConfig",
    "keys",
    "read_yaml",
    "to_yaml",
]


def keys(config: type[FlatConfig] = RunConfig) -> tuple[Key, ...]:
    """Returns every key of a config, in the order they are shown and stored."""
    return fields.keys(config)
