"""The folder that one fine-tuning writes: the path of each file, and how it is written."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras import config as configs
from tlkeras import files
from tlkeras.config import RunConfig
from tlkeras.data.target import DEFAULT as KIND
from tlkeras.data.target import Target
from tlkeras.errors import DataError, OutputError, printable, reason
from tlkeras.jobs import run_lock


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
    def backbone(self) -> Path:
        return self.root / "backbone.json"

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
    def cross_validation(self) -> Path:
        return self.root / "cross_validation.json"

    @property
    def out_of_fold(self) -> Path:
        return self.root / "out_of_fold.csv"

    @property
    def out_of_fold_scores(self) -> Path:
        return self.root / "out_of_fold.npz"

    @property
    def review(self) -> Path:
        return self.root / "review.csv"

    @property
    def errors(self) -> Path:
        return self.root / "errors.json"

    @property
    def calibration(self) -> Path:
        return self.root / "calibration.json"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def asked(self) -> Path:
        """The settings as they were given; there until the run is finished, see `jobs.resume`."""
        return self.checkpoints / "asked.yaml"

    @property
    def begun(self) -> Path:
        return self.checkpoints / "begun.json"

    @property
    def states(self) -> Path:
        """States of training; there until the run is finished."""
        return self.checkpoints / "states"

    @property
    def work(self) -> Path:
        """Memory-mapped images and features; deleted when the run ends."""
        return self.checkpoints / "work"

    @property
    def exports(self) -> Path:
        return self.root / "exports"


def create(out: str | None, *, backbone: str, data: str | None) -> Run:
    """Makes the folder of a new run, and holds it for this process; see `run_lock`.

    Args:
        out: where; a fresh `runs/BACKBONE-DATA-N` when None.
        backbone: name of the backbone.
        data: the source as the user gave it.

    Raises:
        OutputError: when the folder holds something already or cannot be written.
    """
    name = f"{backbone}-{_slug(data or 'digits')}"
    while True:
        root = Path(out) if out else _fresh(Path("runs"), name)
        if out:
            check_free(root)
        try:
            root.mkdir(parents=True, exist_ok=bool(out))
            _furnish(root)
        except FileExistsError as error:
            if not out:
                continue
            other = str(_fresh(root.parent, root.name))
            raise OutputError(f"--out {out!r} was just taken by another run; choose another, for example {other!r}") from error
        except OSError as error:
            raise _cannot_write(root, error) from error
        return Run(root)


def _furnish(root: Path) -> None:
    """Makes the folders of a run in a folder that nobody else works on.

    Raises:
        FileExistsError: when another run is, or was, there.
    """
    held = run_lock.hold(root)
    if held is False:
        raise FileExistsError(root)
    try:
        if held and _bare(root):  # left by a run that was killed before it had written its settings
            shutil.rmtree(Run(root).checkpoints, ignore_errors=True)
            shutil.rmtree(Run(root).exports, ignore_errors=True)
        Run(root).checkpoints.mkdir()  # of two runs that want one folder, the second fails here
        for folder in (Run(root).work, Run(root).exports):
            folder.mkdir()
    except BaseException:
        run_lock.release(root)
        raise


def _bare(root: Path) -> bool:
    """Whether a folder has nothing but what a run makes before it writes its settings: it would lose nothing."""
    allowed = {Run(root).checkpoints, Run(root).work, Run(root).exports}
    files = {Run(root).begun}
    return all(
        path in allowed or path in files or any(part.startswith(f".{name}-") for part in path.relative_to(root).parts for name in FIRST)
        for path in root.rglob("*")
    )


FIRST = ("asked.yaml", "begun.json")  # the files that a run writes first; their working copies stand in folders named after them


def check_free(root: Path) -> None:
    """Checks that a folder is not there yet, or is empty.

    Raises:
        OutputError: when it holds something already or cannot be read.
    """
    try:
        is_free = not root.exists() or root.is_dir() and _bare(root)
    except OSError as error:
        raise _cannot_write(root, error) from error
    if not is_free:
        if Run(root).asked.is_file():
            raise OutputError(
                f"--out {str(root)!r} contains a run that did not finish; `tlkeras finetune --resume {root}` goes on with it; "
                f"choose another folder to start anew, for example {str(_fresh(root.parent, root.name))!r}"
            )
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


def _slug(data: str) -> str:
    name = data.removeprefix("tfds:") if data.startswith("tfds:") else Path(data).resolve().stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "data"


def fresh(parent: Path, what: str, data: str) -> Path:
    """Returns a folder `PARENT/WHAT-DATA-N` that is not there yet; data is a source as the user gave it."""
    return _fresh(parent, f"{what}-{_slug(data)}")


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


SUMMARY = {  # what every finished run has in `metrics.json`; see `files.misfit`
    "config": {"task?": (str, None), ...: object},
    **dict.fromkeys(("val", "test"), {"n": int, "targets?": {...: {...: object}}, ...: object}),
    "exports": {...: {"path": str, "bytes": int, "latency_ms?": (float, None)}},
    "timing?": {"total?": (float, None), ...: object},
    "data?": {"fingerprint?": (str, None), ...: object},
}


def finished(target: str | Path) -> tuple[Run, dict[str, Any]]:
    """Returns a finished run, and the content of its `metrics.json`.

    Raises:
        DataError: when it is no run, is not finished, or is damaged.
    """
    run = run_of(target)
    if run is None:
        raise DataError(f"{str(target)!r} is not a run; expected a folder written by `tlkeras finetune`")
    if not run.metrics.is_file():
        raise DataError(f"{str(target)!r} has no metrics.json: the run is not finished; finish it first")
    summary = read_json(run.metrics)
    problem = files.misfit(summary, SUMMARY)
    if problem:
        raise DataError(f"the metrics.json of {str(target)!r} is not as tlkeras wrote it: {printable(problem)}; restore it")
    return run, summary


FORMAT = 1  # of the JSON files of a run, and of the other files beside them


def read_config(run: Run) -> RunConfig:
    """Reads the effective config that a run stored."""
    return RunConfig.from_dict(configs.read_yaml(run.config))


def read_target(run: Run) -> Target:
    """Reads what the model of a run predicts: from `target.json`, or for runs of version 0.1 from their labels."""
    if not run.target.is_file():
        return Target(kind=KIND, labels=_read_labels(run))
    content = read_json(run.target)
    try:
        target = Target.from_dict(content)
    except DataError as error:
        raise _damaged(run.target, error) from error
    if target.labels and run.labels.is_file() and _read_labels(run) != target.labels:
        raise DataError(f"{str(run.labels)!r} has other labels than {run.target.name}: one of them was changed after the run; restore it")
    return target


def read_json(path: Path) -> dict[str, Any]:
    """Reads one of the JSON files of a run.

    Raises:
        DataError: when it is missing, damaged, of a later tlkeras, or holds something else.
    """
    try:
        content = files.read_json(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise DataError(f"{str(path)!r} does not hold a JSON object; it was changed after the run; restore it")
    files.check_format(path, content, DataError, FORMAT)
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes one of the JSON files of a run, with the number of its format; an empty one has nothing to read."""
    files.write_json(path, {"format": FORMAT, **content} if content else {})


def _damaged(path: Path, error: BaseException) -> DataError:
    return DataError(f"cannot read {str(path)!r}: {reason(error)}; it was changed after the run, or the run did not finish; restore it")


def _read_labels(run: Run) -> tuple[str, ...]:
    """Reads the label map of a run, one label per line in class order."""
    try:
        text = files.read_text(run.labels)
    except FileNotFoundError:
        raise DataError(f"{str(run.root)!r} has no labels.txt; is it the folder of a run?") from None
    except (OSError, ValueError) as error:
        raise _damaged(run.labels, error) from error
    return tuple(text.split("\n")[:-1])


def write_target(run: Run, target: Target) -> None:
    """Writes what is predicted, and the label map alone; rejects a label with a line break, which would read as two labels."""
    broken = [label for label in target.labels if "\n" in label]
    if broken:
        raise DataError(f"label {broken[0]!r} contains a line break; rename the class")
    write_json(run.target, target.to_dict())
    files.write(run.labels, "".join(f"{label}\n" for label in target.labels))
