"""The settings of every job: one table of keys for YAML files, flags and Python.

Every key is declared once: the command line, `--config` files, `tlkeras config render` and the `config.yaml` of a run are all
derived from these fields.
"""

from __future__ import annotations

from tlkeras.config import fields
from tlkeras.config.fields import FlatConfig, Key
from tlkeras.config.jobs import BenchmarkConfig, EvaluateConfig, ExportModelConfig, PretrainConfig
from tlkeras.config.run import FORMATS_BY_DEFAULT, DataConfig, ExportConfig, ModelConfig, ReportConfig, RunConfig, TrainConfig
from tlkeras.config.yaml_files import read_yaml, to_yaml

__all__ = [
    "FORMATS_BY_DEFAULT",
    "BenchmarkConfig",
    "DataConfig",
    "EvaluateConfig",
    "ExportConfig",
    "ExportModelConfig",
    "FlatConfig",
    "Key",
    "ModelConfig",
    "PretrainConfig",
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
