"""Cross-validate and review a finished run: what is wrong with settings or data is reported before TensorFlow loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkeras import extras
from tlkeras.config import RunConfig
from tlkeras.data.examples import Dataset
from tlkeras.data.sheets import read_sheet
from tlkeras.errors import DataError, OutputError
from tlkeras.jobs import plan as planning
from tlkeras.jobs import preflight, run_folder
from tlkeras.jobs.corrections import CORRECTED
from tlkeras.jobs.run_folder import Run
from tlkeras.progress import AUTO, Reporter, resolve
from tlkeras.startup import load_tensorflow

if TYPE_CHECKING:
    from tlkeras.jobs.review import Review

FOLDS = "5"
# What makes any run a linear probe of its frozen features; the keys belong to training by steps.
PROBE: dict[str, Any] = {
    "recipe": "linear-probe",
    "epochs": None,
    "learning_rate": None,
    "unfreeze": None,
    "freeze_rules": (),
    "max_minutes": None,
    "lora_rank": None,
    "lora_targets": (),
    "teacher": None,
    "temperature": None,
    "augment": "none",
    "mixup": 0.0,
    "cutmix": 0.0,
    "label_smoothing": 0.0,
}
# What a run does besides training, which another look at it does not repeat.
AGAIN: dict[str, Any] = {"export": (), "out": None, "compare_single": False}


def cross_validate(
    target: str | Path, folds: str | int = FOLDS, *, dataset: Dataset | None = None, reporter: Reporter | str | None = AUTO
) -> dict[str, Any]:
    """Estimates by cross-validation how good what a run trains is: its settings are trained anew on each of several folds of its examples.

    The folder of the run then has `cross_validation.json`, `out_of_fold.csv` and `out_of_fold.npz`; its model stays as it is.

    Args:
        target: folder of a run.
        folds: K folds, or `"KxR"` for R repeats.
        dataset: its examples, where the run was trained on arrays.
        reporter: receives progress; `"auto"` or None as in `tlkeras.finetune`.

    Returns:
        The content of `cross_validation.json`: `figures` has mean, standard deviation and 95 % interval of each figure, `rows` those of the folds.

    Raises:
        ConfigError: for a number of folds that is none, or more folds than examples or groups.
        DataError: when it is no run, or its examples are not here.

    Example:
        ```python
        tlkeras.cross_validate("runs/photos", "5x2")["figures"]["accuracy"]["mean"]
        ```
    """
    reporter = resolve(reporter)
    run, config = _run_of(target)
    config = config.updated(cross_validate=folds, **AGAIN)
    plan, dataset = planned(config, dataset)
    load_tensorflow()
    from tlkeras.jobs import report_run
    from tlkeras.jobs import review as job

    content = job.cross_validate(run, plan, dataset, probe=False, reporter=reporter).result.content
    report_run.refresh(run, reporter)
    return content


def review(
    target: str | Path, *, dataset: Dataset | None = None, out: str | Path | None = None, reporter: Reporter | str | None = AUTO
) -> Review:
    """Looks for labels that are probably wrong, near-duplicates across splits, and unusual examples, and writes a table for a person to correct.

    Labels are judged by out-of-fold scores: those of the run (`--cross-validate`) where it has any, else those of 5 folds of a linear probe of
    the pretrained features, which are kept in the folder of the run. What the person writes into the column `corrected` is learnt by
    `tlkeras.finetune(SOURCE, relabel=TABLE)`.

    Args:
        target: folder of a run.
        dataset: its examples, where the run was trained on arrays.
        out: the table to write; `review.csv` in the folder of the run when None. `errors.json` is written beside it.
        reporter: receives progress; `"auto"` or None as in `tlkeras.finetune`.

    Returns:
        The rows of the table, its path, and the content of `errors.json`.

    Raises:
        MissingPackage: without the extra `review`.
        DataError: when it is no run, or its examples are not here.
        OutputError: when the table is there already and has corrections.

    Example:
        ```python
        for row in tlkeras.review("runs/photos").rows:
            print(row["suspicion"], row["example"], row["given"], row["suggested"])
        ```
    """
    reporter = resolve(reporter)
    extras.check("cleanlab", wanted_by="finding label errors", extra="review")
    run, config = _run_of(target)
    table = run.review if out is None else Path(out)
    check_table(table)
    probe = config.model.weights != "none"  # features of a network that was never trained say little
    own = config.updated(cross_validate=FOLDS, **AGAIN, **(PROBE if probe else {}))
    plan, dataset = planned(own, dataset)
    load_tensorflow()
    from tlkeras.jobs import review as job

    return job.review(run, config, plan, dataset, table=table, probe=probe, reporter=reporter)


def planned(config: RunConfig, dataset: Dataset | None) -> tuple[planning.Plan, Dataset]:
    """Returns the plan of a run that is looked at again, and its checked examples.

    Raises:
        ConfigError, DataError: as `tlkeras.finetune` raises them.
    """
    if dataset is None:
        preflight.own_source(config)
    plan = planning.resolve(config)
    dataset = preflight.open_examples(plan, dataset)
    return planning.for_examples(plan, dataset), dataset


def check_table(path: Path) -> None:
    """Checks that a table can be written without the loss of what a person wrote.

    Raises:
        OutputError: when it cannot.
    """
    if not path.is_file():
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}; make it, or choose another --out")
        return
    try:
        corrected = sum(bool(row.get(CORRECTED, "").strip()) for row in read_sheet(path))
    except (OSError, ValueError) as error:
        raise OutputError(f"{str(path)!r} is there and is no table of a review ({error}); choose another --out") from error
    if corrected:
        raise OutputError(f"{str(path)!r} has {corrected} corrections, which would be lost; choose another --out")


def _run_of(target: str | Path) -> tuple[Run, RunConfig]:
    run = run_folder.run_of(target)
    if run is None or not run.model.is_file():
        raise DataError(f"{str(target)!r} is not the folder of a finished run; expected one written by `tlkeras finetune`")
    return run, run_folder.read_config(run)
