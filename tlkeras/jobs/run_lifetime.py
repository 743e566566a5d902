"""From the beginning of the work on a run folder to its end: one process at a time works on it, and working files are gone afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from tlkeras import files, startup
from tlkeras.errors import OutputError
from tlkeras.jobs import run_lock
from tlkeras.jobs.run_folder import Run


def claim(run: Run) -> None:
    """Holds the folder of a run that is there for this process, and removes what a process that was killed was writing.

    Raises:
        OutputError: when another process works on it.
    """
    held = run_lock.hold(run.root)
    if held is False:
        raise OutputError(f"another process works on the run {str(run.root)!r}; wait for it, or stop it")
    if held:
        shutil.rmtree(run.work, ignore_errors=True)
        for folder in (run.root, run.checkpoints, run.states, run.exports):
            files.sweep(folder)
    for folder in (run.work, run.exports):
        folder.mkdir(parents=True, exist_ok=True)


def release(run: Run) -> None:
    """Lets other processes work on a run."""
    run_lock.release(run.root)


@contextmanager
def tidied(run: Run, *, keep: bool, way_on: str | None = None) -> Iterator[None]:
    """Removes working files at the end, and the folders of a run that failed before it had anything to keep, or that is not kept.

    A run that was stopped after its result was written, while it trained what it is compared with, can go on too.

    Args:
        run: the folder.
        keep: whether it stays.
        way_on: the command that goes on with it, which a stop says; None where nothing does.
    """
    finished = False
    try:
        with startup.goes_on(way_on, run.config.exists) if way_on else nullcontext():
            yield
        finished = run.metrics.exists()
    finally:
        if not keep:
            shutil.rmtree(run.root, ignore_errors=True)
        shutil.rmtree(run.work, ignore_errors=True)
        if finished or not run.config.exists():  # or nothing to go on with
            conclude(run)
        release(run)
        if not run.config.exists():
            for folder in (run.exports, run.checkpoints, run.root):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def conclude(run: Run) -> None:
    """Removes what is needed to go on; a run without its settings is finished, and a kill in between leaves nothing that is needed."""
    run.asked.unlink(missing_ok=True)
    run.begun.unlink(missing_ok=True)
    shutil.rmtree(run.states, ignore_errors=True)
