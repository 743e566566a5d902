"""`manifest.json` of a version folder: what was published, with the size and hash of each file. It is untrusted data when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tlkeras import files
from tlkeras.errors import ZooError, printable, reason, shown
from tlkeras.export.manifest import FORMAT, LONGEST_NAME

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.minisig"  # see `signing`
HERE = "."  # the path of the SavedModel: the folder of the version itself
LARGEST_MANIFEST = 16_000_000  # bytes
FIGURES = ("latency_ms", "max_abs_diff", "agreement", "accuracy", "drop")
RECORD = {
    "path": str,
    "bytes?": int,
    "sha256?": str,
    "runtime?": (str, None),
    "also?": [str],
    **{f"{key}?": (float, None) for key in FIGURES},
}
# What readers of a manifest rely on; see `files.misfit`.
SHAPE = {
    "entry": {...: object},
    "artifacts": {...: RECORD},
    "files": {...: {"bytes": int, "sha256": str}},
    "metadata": {...: str},
    "labels?": ([str], None),
    **dict.fromkeys(("inputs?", "outputs?"), [object]),
    **dict.fromkeys(("config?", "data?", "licences?", "metrics?"), {...: object}),
}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and checks the manifest of a version folder, which is untrusted data.

    Raises:
        ZooError: when it is missing, too large, not JSON, names files outside the folder, or has changed since it was published.
    """
    content, where = read_json(folder / MANIFEST), repr(str(folder / MANIFEST))
    problem = files.misfit(content, SHAPE)
    if problem:
        raise ZooError(f"{where} is not the manifest of an entry: {printable(problem)}; it was changed since it was published; restore it")
    recorded = content["entry"].get("sha256")
    if recorded is not None and recorded != digest(content):  # entries of before there was a hash have the shape alone
        raise ZooError(f"{where} has changed since it was published: its content is not that of its hash; restore it, or publish again")
    for path in content["files"]:
        parts = PurePosixPath(path).parts
        if not parts or PurePosixPath(path).is_absolute() or ".." in parts or any(sign in path for sign in "\\:\0"):
            raise ZooError(f"{where} names the file {shown(path)}, which is outside the entry")
        if max(len(part.encode("utf-8", "replace")) for part in parts) > LONGEST_NAME:
            raise ZooError(f"{where} names the file {shown(path)}, which no file system can hold")
    for name, record in content["artifacts"].items():
        if not _is_inside(record["path"], content["files"]):
            raise ZooError(f"{where} names no file of the entry for {shown(name)}")
    return content


def digest(content: Mapping[str, Any]) -> str:
    """Returns the sha256 of a manifest without the hash itself, whatever the order of its keys."""
    entry = {key: value for key, value in content["entry"].items() if key != "sha256"}
    return hashlib.sha256(
        json.dumps({**content, "entry": entry}, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")
    ).hexdigest()


def _is_inside(path: str, files: Mapping[str, Any]) -> bool:
    return path in files or (path == HERE and "saved_model.pb" in files)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object of a zoo.

    Raises:
        ZooError: when it is missing, a link, too large, damaged, no object, or of a later tlkeras.
    """
    try:
        if path.is_symlink():
            raise ZooError(f"{str(path)!r} is a link; it cannot be read as a manifest")
        content = files.read_json(path, LARGEST_MANIFEST)
    except FileNotFoundError:
        raise ZooError(f"{str(path)!r} does not exist; {str(path.parent)!r} is not an entry") from None
    except (OSError, ValueError) as error:
        raise ZooError(f"cannot read {str(path)!r}: {reason(error)}") from error
    if not isinstance(content, dict):
        raise ZooError(f"{str(path)!r} does not contain a JSON object")
    files.check_format(path, content, ZooError, FORMAT)
    return content
