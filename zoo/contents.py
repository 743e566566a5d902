"""What a version folder holds of the artifacts: the SavedModel is the folder itself, the others stand in it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlkeras.export.formats import SERVING
from tlkeras.zoo.store import MANIFEST

HERE = "."  # the path of the SavedModel in the manifest of an entry


def copy_artifacts(exports: Path, folder: Path) -> None:
    """Copies what was exported, with what stands beside it; the manifest of an entry is another one.

    Args:
        exports: folder of the artifacts.
        folder: of the version.
    """
    for path in exports.iterdir():
        if path.is_dir():
            shutil.copytree(path, folder if path.name == SERVING.path else folder / path.name, dirs_exist_ok=True)
        elif path.name != MANIFEST and not path.name.startswith("."):
            shutil.copy2(path, folder / path.name)


def record(artifact: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record of an artifact for the manifest of an entry, without the hash, which `files` has.

    Args:
        artifact: its record in the manifest of the exports.
    """
    return {
        **{key: value for key, value in artifact.items() if key != "sha256"},
        "path": HERE if artifact["path"] == SERVING.path else artifact["path"],
    }
