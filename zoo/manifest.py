"""`manifest.json` of a version folder: what was published, with the size and hash of each file. It is untrusted data when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tlkeras.errors import ZooError
from tlkeras.export.manifest import FORMAT
from tlkeras.files import check_format

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.minisig"  # see `signing`
HERE = "."  # the path of the SavedModel: the folder of the version itself
LARGEST_MANIFEST = 16_000_000  # bytes


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and checks the manifest of a version folder, which is untrusted data.

    Raises:
        ZooError: when it is missing, too large, not JSON, names files outside the folder, or has changed since it was published.
    """
    content = read_json(folder / MANIFEST)
    _check_values(folder / MANIFEST, content)
    files = content.get("files")
    if not isinstance(files, dict) or not isinstance(content.get("entry"), dict) or not isinstance(content.get("artifacts"), dict):
        raise ZooError(f"{str(folder / MANIFEST)!r} is not the manifest of an entry: entry, artifacts or files are missing")
    for path, record in files.items():
        parts = PurePosixPath(path).parts
        if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\\" in path or ":" in path:
            raise ZooError(f"{str(folder / MANIFEST)!r} names the file {path!r}, which is outside the entry")
        if not isinstance(record, dict) or not isinstance(record.get("bytes"), int) or not isinstance(record.get("sha256"), str):
            raise ZooError(f"{str(folder / MANIFEST)!r} has no size and hash of {path!r}")
    for name, record in content["artifacts"].items():
        if not isinstance(record, dict) or not isinstance(record.get("path"), str) or not _is_inside(record["path"], files):
            raise ZooError(f"{str(folder / MANIFEST)!r} names no file of the entry for {name!r}")
    return content


# What else is read of a manifest: key -> types.
VALUES: Mapping[str, tuple[type, ...]] = {
    "labels": (list, type(None)),
    "metadata": (dict,),
    "inputs": (list,),
    "outputs": (list,),
    "config": (dict,),
    "data": (dict,),
    "licences": (dict,),
    "metrics": (dict,),
}


def _check_values(path: Path, content: Mapping[str, Any]) -> None:
    """Checks what readers of a manifest rely on: entries of before there was a hash have the types alone."""
    for key, types in VALUES.items():
        if key in content and not isinstance(content[key], types):
            raise ZooError(f"{str(path)!r} has {key} of type {type(content[key]).__name__}; it was changed since it was published")
    for key in ("labels", "metadata"):
        values = content.get(key) or ()
        if not all(isinstance(value, str) for value in (values.values() if isinstance(values, dict) else values)):
            raise ZooError(f"{str(path)!r} has {key} that are not texts; it was changed since it was published")
    entry = content.get("entry")
    recorded = entry.get("sha256") if isinstance(entry, dict) else None
    if recorded is not None and recorded != digest(content):
        raise ZooError(
            f"{str(path)!r} has changed since it was published: its content is not that of its hash; restore it, or publish again"
        )


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
        if path.is_symlink() or path.stat().st_size > LARGEST_MANIFEST:
            raise ZooError(f"{str(path)!r} is a link or larger than {LARGEST_MANIFEST:,} bytes; it cannot be read as a manifest")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ZooError(f"{str(path)!r} does not exist; {str(path.parent)!r} is not an entry") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ZooError(f"cannot read {str(path)!r}: {error}") from error
    if not isinstance(content, dict):
        raise ZooError(f"{str(path)!r} does not contain a JSON object")
    check_format(path, content, ZooError, FORMAT)
    return content
