"""The folder that one fine-tuning writes: the path of each file, and how it is written."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras import config as configs
from tlkeras import files
from tlkeras.config import RunConfig
from tlkeras.data.target import DEFAULT as KIND
from tlkeras.data.target import Target
from tlkeras.errors import DataError, OutputError
from tlkeras.startup import ONEDNN

RECORDED = (
    "tlkeras",
    "tensorflow",
    "keras",
    "numpy",
    "keras-hub",
    "onnx",
    "tf2onnx",
    "onnxruntime",
    "ai-edge-litert",
    "pillow",
    "scikit-learn",
)


@dataclass(frozen=True)
class Run:
    """A run folder; the attributes are the paths of its files, whether or not they exist yet."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    @property
    def history(self) -> Path:
        return self.root / "history.csv"

    @property
    def model(self) -> Path:
        return self.root / "model.keras"

    @property
    def labels(self) -> Path:
        return self.root / "labels.txt"

    @property
    def target(self) -> Path:
        return self.root / "target.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def environment(self) -> Path:
        return self.root / "environment.json"

    @property
    def audit(self) -> Path:
        return self.root / "data_audit.json"

    @property
    def predictions(self) -> Path:
        return self.root / "predictions.csv"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def work(self) -> Path:
        """Memory-mapped images and features; deleted when the run ends."""
        return self.checkpoints / "work"

    @property
    def exports(self) -> Path:
        return self.root / "exports"


def create(out: str | None, *, backbone: str, data: str | None) -> Run:
    """Makes the folder of a new run.

    Args:
        out: where; a fresh `runs/BACKBONE-DATA-N` when None.
        backbone: name of the backbone.
        data: the source as the user gave it.

    Raises:
        OutputError: when the folder holds something already or cannot be written.
    """
    root = Path(out) if out else _fresh(Path("runs"), f"{backbone}-{_slug(data or 'digits')}")
    check_free(root)
    try:
        for folder in (root, Run(root).work, Run(root).exports):
            folder.mkdir(parents=True, exist_ok=True)
        _check_writable(root)
    except OSError as error:
        raise _cannot_write(root, error) from error
    return Run(root)


def check_free(root: Path) -> None:
    """Checks that a folder is not there yet, or is empty.

    Raises:
        OutputError: when it holds something already or cannot be read.
    """
    try:
        is_free = not root.exists() or root.is_dir() and not any(root.iterdir())
    except OSError as error:
        raise _cannot_write(root, error) from error
    if not is_free:
        what = "already contains a run" if Run(root).config.exists() else "is not an empty folder"
        raise OutputError(
            f"--out {str(root)!r} {what} and is not overwritten; choose another, for example {str(_fresh(root.parent, root.name))!r}"
        )


def _cannot_write(root: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write to --out {str(root)!r}: {error.strerror or error}; choose a folder that you may write to")


def scratch() -> Run:
    """Makes a folder for what nobody keeps: workers other than the chief write there."""
    run = Run(Path(tempfile.mkdtemp(prefix="tlkeras-worker-")))
    for folder in (run.work, run.exports):
        folder.mkdir(parents=True)
    return run


def _check_writable(root: Path) -> None:
    probe = root / ".writable"
    probe.touch()
    probe.unlink()


def _slug(data: str) -> str:
    name = data.removeprefix("tfds:") if data.startswith("tfds:") else Path(data).resolve().stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "data"


def _fresh(parent: Path, name: str) -> Path:
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def of(path: Path) -> Run | None:
    """Returns the run that a folder, a model or an artifact belongs to, or None."""
    path = path.resolve()
    for root in (path, path.parent, path.parent.parent):
        if Run(root).config.is_file() and Run(root).labels.is_file():
            return Run(root)
    return None


def run_of(target: str | Path) -> Run | None:
    """Returns the run whose folder or model a path is; None for everything else, the artifacts of a run among it."""
    path = Path(target).expanduser()
    run = of(path) if path.exists() else None
    return run if run and path.resolve() in (run.root, run.model.resolve()) else None


SUMMARY = ("config", "val", "test", "exports")  # what every finished run has in `metrics.json`


def finished(target: str | Path) -> tuple[Run, dict[str, Any]]:
    """Returns a finished run, and the content of its `metrics.json`.

    Raises:
        DataError: when it is no run, is not finished, or is damaged.
    """
    run = run_of(target)
    if run is None:
        raise DataError(f"{str(target)!r} is not a run; expected a folder written by `tlkeras finetune`")
    try:
        summary = json.loads(run.metrics.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{str(target)!r} has no metrics.json: the run is not finished; finish it first") from None
    except ValueError as error:
        raise DataError(f"{str(target)!r} has a damaged metrics.json ({error}); train again") from error
    missing = [name for name in SUMMARY if not isinstance(summary, dict) or name not in summary]
    if missing:
        raise DataError(f"the metrics.json of {str(target)!r} has no {missing[0]!r}; expected one written by `tlkeras finetune`")
    return run, summary


def read_config(run: Run) -> RunConfig:
    """Reads the effective config that a run stored."""
    return RunConfig.from_dict(configs.read_yaml(run.config))


def read_target(run: Run) -> Target:
    """Reads what the model of a run predicts: from `target.json`, or for runs of version 0.1 from their labels."""
    if run.target.is_file():
        return Target.from_dict(json.loads(run.target.read_text(encoding="utf-8")))
    return Target(kind=KIND, labels=_read_labels(run))


def _read_labels(run: Run) -> tuple[str, ...]:
    """Reads the label map of a run, one label per line in class order."""
    try:
        text = run.labels.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{str(run.root)!r} has no labels.txt; is it the folder of a run?") from None
    return tuple(text.split("\n")[:-1])


def write_target(run: Run, target: Target) -> None:
    """Writes what is predicted, and the label map alone; rejects a label with a line break, which would read as two labels."""
    broken = [label for label in target.labels if "\n" in label]
    if broken:
        raise DataError(f"label {broken[0]!r} contains a line break; rename the class")
    files.write_json(run.target, target.to_dict())
    files.write(run.labels, "".join(f"{label}\n" for label in target.labels))


def environment(arguments: Iterable[str] | None = None) -> dict[str, Any]:
    """Returns what a reader needs to run the same again: versions, machine, command."""
    versions: dict[str, str | None] = {}
    for name in RECORDED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "command": list(sys.argv if arguments is None else arguments),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "onednn": os.environ.get(ONEDNN),
        "packages": versions,
    }
