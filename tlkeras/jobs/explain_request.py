"""What is to be explained, checked before TensorFlow loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras.config import ExplainConfig
from tlkeras.data.sources.listing import absent
from tlkeras.data.target import Target
from tlkeras.errors import ConfigError, DataError, OutputError, near
from tlkeras.evaluation.report_data import EXAMPLES, OUTCOMES
from tlkeras.explain.registry import SUBJECTS, method_named
from tlkeras.jobs import run_folder
from tlkeras.jobs.lookup import find
from tlkeras.jobs.preflight import modality_of_target
from tlkeras.jobs.run_folder import Run
from tlkeras.modalities.registry import Modality

NAME = "explanations.json"
FOLDER = "explanations"  # of a run
EXPECTED = "the folder of a run, or its model.keras"


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """A checked request.

    Args:
        run: whose model is explained.
        config: the settings.
        out: folder that is written.
        of_report: whether the examples that the report of the run shows are explained.
    """

    run: Run
    config: ExplainConfig
    out: Path
    of_report: bool = False


def check(target: str | Path, config: ExplainConfig | Mapping[str, Any], *, has_inputs: bool = False) -> ExplainRequest:
    """Checks the settings of an explanation against the run.

    Args:
        target: folder of a run, or its `model.keras`.
        config: the settings, or flat keys.
        has_inputs: whether inputs are passed from Python, in the place of `data`. Without either, the examples of the report are explained.

    Raises:
        UnknownName: for a method that is not registered.
        ConfigError: for an artifact, and for settings that mean nothing for this run.
        DataError: for a run or data that are not there.
        OutputError: where the folder to write holds something else.
    """
    config = config if isinstance(config, ExplainConfig) else ExplainConfig.from_dict(config)
    run = _run(target)
    modality = modality_of_target(find(run.root))
    if modality is not None:
        _check_method(modality, config)
    _check_label(run_folder.read_target(run), config)
    of_report = not has_inputs and config.data is None
    if of_report:
        _check_report(run, modality)
    elif not has_inputs:
        _check_data(modality, config)
    out = Path(config.out).expanduser() if config.out else run.root / FOLDER
    check_out(out)
    return ExplainRequest(run=run, config=config, out=out, of_report=of_report)


def _run(target: str | Path) -> Run:
    """Returns the run that is named; refuses everything whose gradients cannot be had."""
    located = find(target, expected=EXPECTED)
    run = run_folder.run_of(located.path) if located.entry is None else None
    if run is None:
        owner = run_folder.of(located.path) if located.entry is None else None
        what = f"{str(target)!r} is an entry of the zoo" if located.entry else f"{str(target)!r} is not the Keras model of a run"
        hint = f"pass {str(owner.root)!r}, the run that it belongs to" if owner else "pass the folder of a run, or its model.keras"
        raise ConfigError(f"explanations need the layers and gradients of the Keras model, and {what}; {hint}")
    if not run.model.is_file():
        raise DataError(f"{str(run.root)!r} has no model.keras; expected the folder of a finished run")
    return run


def _check_method(modality: Modality, config: ExplainConfig) -> None:
    if modality.name not in SUBJECTS:
        raise ConfigError(f"{modality.plural} cannot be explained; modalities that can: {', '.join(SUBJECTS.names())}")
    if config.method is not None:
        method_named(config.method, modality.name)


def _check_report(run: Run, modality: Modality | None) -> None:
    """Refuses a run whose report shows no examples."""
    if not (run.root / EXAMPLES).is_file() or not (run.root / OUTCOMES).is_file():
        what = modality.plural if modality else "inputs"
        raise ConfigError(
            f"nothing to explain: {str(run.root)!r} keeps no examples of its report; pass --data with {what}: a file or a folder"
        )


def _check_data(modality: Modality | None, config: ExplainConfig) -> None:
    missing = absent(str(config.data)) if modality is not None and modality.strings_are_paths else None
    if missing:
        raise DataError(missing)


def _check_label(target: Target, config: ExplainConfig) -> None:
    """Refuses a target or a label that the model does not predict."""
    names = [part.name for part in target.parts]
    if config.output is not None and config.output not in names:
        expected = near(config.output, names) if names else "the model predicts one target, so leave it out"
        raise ConfigError(f"no target {config.output!r}; {expected}")
    own = next((part for part in target.parts if part.name == config.output), target.parts[0]) if names else target
    if config.label is not None and config.label not in own.labels:
        raise ConfigError(f"the model predicts no {config.label!r}; {near(config.label, own.labels)}")


def check_out(out: Path) -> None:
    """Checks that explanations can be written to a folder: it is free, or holds earlier ones, which are replaced.

    Raises:
        OutputError: when it holds something else.
    """
    if out.exists() and not (out / NAME).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"--out {str(out)!r} holds something other than explanations and is not overwritten; choose another folder")
