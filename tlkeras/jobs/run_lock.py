"""One process at a time works on the folder of a run: the lock is that of the operating system, which ends with its process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_held: dict[Path, int] = {}  # folders that this process works on -> the handle that holds them


def hold(root: Path) -> bool | None:
    """Holds a folder for this process, until `release` or its end.

    Returns:
        Whether it is held now; False where somebody else holds it, None where the system has no locks.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    except OSError:  # a file system without locks
        os.close(handle)
        return None
    _held[root] = handle
    return True


def release(root: Path) -> None:
    """Lets others work on a folder; does nothing where it is not held."""
    handle = _held.pop(root, None)
    if handle is not None:
        os.close(handle)
