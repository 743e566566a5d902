"""From the beginning of the work on a run folder to its end: one process at a time works on it, and working files are gone afterwards."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tlkeras.errors import OutputError
from tlkeras.jobs.run_folder import Run

_claimed: dict[Path, int] = {}  # runs that this process works on -> the handle that holds their folder


def claim(run: Run) -> None:
    """Holds the folder of a run for this process, until `release` or its end.

    Raises:
        OutputError: when another process works on it.
    """
    if sys.platform == "win32":
        return
    import fcntl

    run.checkpoints.mkdir(parents=True, exist_ok=True)
    handle = os.open(run.checkpoints, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise OutputError(f"another process works on the run {str(run.root)!r}; wait for it, or stop it") from None
    except OSError:  # a file system without locks
        os.close(handle)
        return
    _claimed[run.root] = handle


def release(run: Run) -> None:
    """Lets other processes work on a run."""
    handle = _claimed.pop(run.root, None)
    if handle is not None:
        os.close(handle)


@contextmanager
def tidied(run: Run, *, keep: bool) -> Iterator[None]:
    """Removes working files at the end, and the folders of a run that failed before it had anything to keep, or that is not kept."""
    try:
        yield
    finally:
        if not keep:
            shutil.rmtree(run.root, ignore_errors=True)
        shutil.rmtree(run.work, ignore_errors=True)
        release(run)
        if run.metrics.exists() or not run.config.exists():  # finished, or nothing to go on with
            shutil.rmtree(run.states, ignore_errors=True)
            run.asked.unlink(missing_ok=True)
            run.begun.unlink(missing_ok=True)
        if not run.config.exists():
            for folder in (run.exports, run.checkpoints, run.root):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
