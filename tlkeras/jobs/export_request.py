"""What an export was asked for, checked before TensorFlow loads: a run again, or any other model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkeras.config import ExportModelConfig, keys
from tlkeras.config.jobs import TO_MODELS, TO_RUNS
from tlkeras.data.labels import read_labels
from tlkeras.errors import ConfigError, DataError
from tlkeras.export.formats import FORMATS
from tlkeras.jobs import preflight
from tlkeras.jobs.lookup import model_kind
from tlkeras.jobs.preflight import Chosen
from tlkeras.jobs.run_folder import Run, run_of

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """A checked export.

    Args:
        model: path of a model file or folder, or a built model; for a run, the path that was named.
        run: the run that is exported again; None for other models.
        config: the settings; formats are names of rows, labels are read.
        examples: for a run, examples other than its own.
        note: a remark on the labels for the user.
    """

    model: str | Path | keras.Model
    run: Run | None
    config: ExportModelConfig
    examples: Chosen | None = None
    note: str | None = None


def check(model: str | Path | keras.Model, config: ExportModelConfig | Mapping[str, Any]) -> ExportRequest:
    """Checks the settings of an export against what is exported.

    Args:
        model: folder of a run, a model file, a SavedModel folder, or a built model.
        config: the settings, or flat keys.

    Raises:
        UnknownName: for a format that is not registered.
        ConfigError: for settings that mean nothing for this model.
        DataError, ExportError: for files that are missing or of another kind.
    """
    config = config if isinstance(config, ExportModelConfig) else ExportModelConfig.from_dict(config)
    formats = list(dict.fromkeys(FORMATS.get(name).name for name in config.formats))
    if not formats:
        raise ConfigError(f"no formats to export; choose from {', '.join(FORMATS.names())}")
    config = config.updated(formats=formats)
    run = run_of(model) if isinstance(model, str | Path) else None
    _check_applies(config, is_run=run is not None)
    if run is not None:
        examples = None if config.data is None else preflight.to_evaluate(run.root, config.data, data_dir=config.data_dir)
        return ExportRequest(model=model, run=run, config=config, examples=examples)
    _check_paths(model, config)
    labels, note = read_labels(config.labels) if isinstance(config.labels, str) else (config.labels, None)
    preflight.check_calibration(config.calibration)
    return ExportRequest(model=model, run=None, config=config.updated(labels=labels), note=note)


def _check_applies(config: ExportModelConfig, *, is_run: bool) -> None:
    """Refuses settings that mean nothing for what is exported."""
    for item in keys(ExportModelConfig):
        if item.key in (TO_MODELS if is_run else TO_RUNS) and config.value_of(item) != item.default:
            flag = item.flag or "--" + item.key.replace("_", "-")
            why = "for other models; a run has its own" if is_run else "for runs; other models read their examples from --calibration"
            raise ConfigError(f"{flag} is {why}" + ("; --data SOURCE selects other examples" if is_run else ""))


def _check_paths(model: Any, config: ExportModelConfig) -> None:
    """Reports files that are missing, and models of another kind."""
    for path in (model, config.calibration):
        if isinstance(path, str | Path) and not Path(path).expanduser().exists():
            hint = "see tlkeras export --help" if path == model else "expected real examples"
            raise DataError(f"no file or folder {str(path)!r}; {hint}")
    if isinstance(model, str | Path):
        model_kind(Path(model).expanduser())
