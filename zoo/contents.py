"""What a version folder holds of the artifacts: the SavedModel is the folder itself, the others stand in it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlkeras.errors import ZooError
from tlkeras.export import clients, verification
from tlkeras.export.checksum import measure
from tlkeras.export.export import ASSETS
from tlkeras.export.formats import SERVING
from tlkeras.export.manifest import LABELS
from tlkeras.zoo.manifest import HERE


def copy_artifacts(exports: Path, folder: Path, exported: Mapping[str, Any]) -> None:
    """Copies the artifacts of a run, with what its export wrote beside them; the manifest of an entry is another one.

    What else lies in the folder of the artifacts is not published: nobody verified it.

    Args:
        exports: folder of the artifacts.
        folder: of the version.
        exported: content of their manifest.

    Raises:
        ZooError: when an artifact is not the one that was verified, or there is a link or a special file.
    """
    for name, artifact in exported["artifacts"].items():
        source, copied = exports / artifact["path"], folder / artifact["path"]
        copy(source, copied)
        if artifact.get("sha256") and measure(copied)[1] != artifact["sha256"]:
            raise ZooError(f"{str(source)!r} has changed since it was verified as {name}; `tlkeras export` writes it again")
        if artifact["path"] == SERVING.path:
            for path in copied.iterdir():
                path.rename(folder / path.name)
            copied.rmdir()
    for name in (LABELS, verification.NAME, clients.FOLDER, ASSETS):
        if os.path.lexists(exports / name):
            copy(exports / name, folder / name)


def copy(source: Path, target: Path) -> None:
    """Copies a file or a folder of regular files.

    Raises:
        ZooError: for a link or a special file, whose content would be that of something outside.
    """
    if not source.is_dir() or source.is_symlink():
        copy_file(source, target)
        return
    target.mkdir(exist_ok=True)
    for path in sorted(source.iterdir()):
        copy(path, target / path.name)


def copy_file(source: Path, target: Path) -> None:
    """Copies a regular file; see `copy`."""
    if not stat.S_ISREG(source.lstat().st_mode):
        raise ZooError(f"{str(source)!r} is a link or not a regular file; a run is published with regular files only")
    shutil.copy2(source, target, follow_symlinks=False)


def record(artifact: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record of an artifact for the manifest of an entry, without the hash, which `files` has.

    Args:
        artifact: its record in the manifest of the exports.
    """
    return {
        **{key: value for key, value in artifact.items() if key != "sha256"},
        "path": HERE if artifact["path"] == SERVING.path else artifact["path"],
    }
