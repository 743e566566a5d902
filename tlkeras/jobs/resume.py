"""Go on with a run that was stopped or killed: from its newest checkpoints, to what it would have been."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras import __version__, files
from tlkeras import config as configs
from tlkeras.config import FlatConfig, RunConfig
from tlkeras.errors import ConfigError, DataError, ExportError, OutputError
from tlkeras.export import manifest as manifests
from tlkeras.export.checksum import measure
from tlkeras.jobs import run_folder
from tlkeras.jobs.run_folder import Run

CALLER = "data_dir"  # the one key that says where things are on this machine, and may differ


def begin(run: Run, asked: RunConfig, *, passed: bool, workers: int = 1) -> None:
    """Writes what is needed to go on: the settings as they were given, and where relative paths begin.

    Args:
        run: whose folder was just made.
        asked: the settings as the user gave them.
        passed: whether the examples were passed from Python.
        workers: how many processes train together.
    """
    run_folder.write_json(run.begun, {"tlkeras": __version__, "folder": os.getcwd(), "passed": passed, "workers": workers})
    files.write(run.asked, configs.to_yaml({**asked.to_dict(), "out": str(run.root)}))  # from here on it can go on


def unfinished(root: Path) -> bool:
    """Whether a folder holds a run that can go on."""
    run = Run(root)
    return run.asked.is_file()


def settings(path: str | Path, flat: Mapping[str, Any], *, passed: bool = False) -> RunConfig:
    """Returns the settings that a run was begun with.

    Args:
        path: folder of the run.
        flat: settings that were given now; each must be as before.
        passed: whether examples are passed now.

    Raises:
        OutputError: when there is no run that can go on.
        ConfigError: for settings that differ; the message lists their keys.
        DataError: when the run was begun with examples from Python, and none are passed.
    """
    root = Path(path).expanduser()
    run = Run(root)
    if run.metrics.is_file() and not run.asked.is_file():
        raise OutputError(f"{str(path)!r} is a finished run, so there is nothing to go on with; `tlkeras evaluate {path}` scores it")
    if not run.asked.is_file():
        what = "does not exist" if not root.exists() else "is not the folder of a run that can go on: it has no checkpoints/asked.yaml"
        raise OutputError(f"{str(path)!r} {what}; expected the --out of a `tlkeras finetune` that was stopped")
    begun = run_folder.read_json(run.begun)
    config = RunConfig.from_dict({**configs.read_yaml(run.asked), "out": str(root)})
    differing = differing_keys(config, {key: value for key, value in flat.items() if key not in ("out", CALLER)})
    if differing:
        raise ConfigError(
            f"{str(path)!r} was begun with other settings: {', '.join(differing)}; leave them out to go on, or start anew with another --out"
        )
    if begun.get("passed") and not passed:
        raise DataError(
            f"{str(path)!r} was begun with examples passed from Python; go on there: tlkeras.finetune(dataset, resume={str(path)!r})"
        )
    if not isinstance(config.train.batch_size, int) and run.config.is_file():  # it was measured, and would be another one now
        config = config.updated(batch_size=run_folder.read_config(run).train.batch_size)
    source = config.data.source
    return config if source is None else config.updated(data=resolved_source(source, begun))


def differing_keys(config: FlatConfig, flat: Mapping[str, Any]) -> list[str]:
    """Returns `key: value now instead of value then` of each setting that was given now and differs from those of a config."""
    now, before = type(config).from_dict(flat).to_dict(), config.to_dict()
    return [f"{key}: {now[key]!r} instead of {before[key]!r}" for key in flat if key in now and now[key] != before[key]]


def resolved_source(source: str, begun: Mapping[str, Any]) -> str:
    """Returns a source where it is: a relative path is that of the folder in which the work was begun."""
    folder = begun.get("folder")
    return str(Path(folder) / source) if folder and not Path(source).exists() and (Path(folder) / source).exists() else source


def check_workers(run: Run, workers: int) -> None:
    """Refuses to go on with another number of workers: each computes its part of every batch.

    Raises:
        ConfigError: saying how many there were.
    """
    before = run_folder.read_json(run.begun).get("workers", workers)
    if before != workers:
        raise ConfigError(
            f"{str(run.root)!r} was begun with {_workers(before)}, and {_workers(workers)} here; `{command(run.root, before)}` goes on"
        )


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def command(root: Path, workers: int = 1) -> str:
    """Returns the command that goes on with a run, which so many workers train."""
    return "tlkeras " + (f"launch --workers {workers} " if workers > 1 else "") + f"finetune --resume {root}"


def check_examples(run: Run, fingerprint: str) -> None:
    """Refuses to go on with other examples than the run began with.

    Args:
        run: that goes on, or begins.
        fingerprint: of its examples and their splits; stored the first time.

    Raises:
        DataError: when it is another one.
    """
    note = run.states / "examples.json"
    if not note.is_file():
        run.states.mkdir(parents=True, exist_ok=True)
        run_folder.write_json(note, {"fingerprint": fingerprint})
    elif run_folder.read_json(note).get("fingerprint") != fingerprint:
        raise DataError(
            f"the examples have changed since {str(run.root)!r} was begun, so it cannot go on to the same result; start anew with another --out"
        )


# === Exports ===


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """An artifact that was written before the run was stopped, as the manifest records it."""

    format: str
    record: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Returns what `metrics.json` holds."""
        return dict(self.record)


def exported(run: Run, digest: str) -> dict[str, Recorded]:
    """Returns the artifacts of a model that are written and verified already, and have not changed since.

    Args:
        run: that goes on, or begins.
        digest: of the weights of the model; stored for the next time.
    """
    note = run.states / "exported.json"
    before = run_folder.read_json(note) if note.is_file() else {}
    run.states.mkdir(parents=True, exist_ok=True)
    run_folder.write_json(note, {"digest": digest})
    if before.get("digest") != digest or not (run.exports / manifests.NAME).is_file():
        return {}
    try:
        records = manifests.read_manifest(run.exports)["artifacts"]
    except ExportError:  # it is written again with the artifacts
        return {}
    return {
        name: Recorded(format=name, record=record)
        for name, record in records.items()
        if (run.exports / record["path"]).exists() and measure(run.exports / record["path"])[1] == record.get("sha256")
    }
