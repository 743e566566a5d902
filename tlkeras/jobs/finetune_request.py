"""The settings and the examples that the arguments of `tlkeras.finetune` stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.errors import ConfigError
from tlkeras.jobs import resume as resuming


def settings(
    config: RunConfig | Dataset | Mapping[str, Any] | str | Path | None,
    dataset: Dataset | None,
    flat: Mapping[str, Any],
    *,
    resume: str | Path | None = None,
) -> tuple[RunConfig, Dataset | None]:
    """Returns the config and the examples that the arguments of `tlkeras.finetune` stand for.

    Args:
        config: a config, a mapping of flat keys, a source of data, or examples.
        dataset: examples.
        flat: further flat keys, which win.
        resume: folder of a run to go on with, whose settings count; others must agree with them.

    Raises:
        ConfigError: when the arguments contradict each other or are of another type.
        OutputError, DataError: for a run that cannot go on, see `resume.settings`.
    """
    if resume is not None:
        if isinstance(config, Dataset):
            config, dataset = None, config
        values = (
            config.to_dict()
            if isinstance(config, RunConfig)
            else {"data": str(config)}
            if isinstance(config, (str, Path))
            else config or {}
        )
        return resuming.settings(resume, {**values, **flat}, passed=dataset is not None), dataset
    if isinstance(config, Dataset):
        if dataset is not None:
            raise ConfigError("finetune received two datasets; pass one: tlkeras.finetune(dataset, backbone='cnn')")
        return RunConfig.from_dict(flat), config
    if isinstance(config, (str, Path)):
        if "data" in flat:
            raise ConfigError(f"finetune received the data {str(config)!r} and data={flat['data']!r}; pass one of them")
        return RunConfig.from_dict({"data": str(config), **flat}), dataset
    if isinstance(config, RunConfig):
        return (config.updated(**flat) if flat else config), dataset
    if config is None or isinstance(config, Mapping):
        return RunConfig.from_dict({**(config or {}), **flat}), dataset
    raise ConfigError(
        f"finetune received a {type(config).__name__}; expected a source of data, a RunConfig or examples: "
        "tlkeras.finetune('photos/', backbone='efficientnet'), or tlkeras.finetune(tlkeras.from_arrays(x, y))"
    )
