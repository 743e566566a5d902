"""`manifest.json` beside the artifacts: labels, inputs, and the record of each verification."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlkeras import __version__
from tlkeras.errors import ExportError
from tlkeras.export.export import Artifact
from tlkeras.export.spec import ExportSpec

NAME = "manifest.json"


def write_manifest(folder: str | Path, spec: ExportSpec, artifacts: Sequence[Artifact]) -> Path:
    """Writes the manifest of a folder of artifacts, whole or not at all."""
    content = {
        "tlkeras": __version__,
        "labels": None if spec.labels is None else list(spec.labels),
        "metadata": dict(spec.metadata),
        "artifacts": {one.format: one.to_dict() for one in artifacts},
    }
    path = Path(folder) / NAME
    aside = path.with_name(f".{NAME}.writing")
    aside.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(aside, path)
    return path


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Reads the manifest of a folder of artifacts.

    Raises:
        ExportError: when there is none, or it is no manifest.
    """
    path = Path(folder) / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(f"no {NAME} in {str(folder)!r}; labels and resize mode of an artifact stand there") from None
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot read {str(path)!r}: {error}") from error
    if not isinstance(content, dict) or not {"labels", "metadata", "artifacts"} <= set(content):
        raise ExportError(f"{str(path)!r} is no manifest: labels, metadata or artifacts are missing")
    return content
