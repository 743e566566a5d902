"""What a reader needs to run the same again: versions, machine, command, and every installed package with its hash."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable
from typing import Any

from tlkeras.startup import ONEDNN

RECORDED = (
    "tlkeras",
    "tensorflow",
    "keras",
    "numpy",
    "keras-hub",
    "onnx",
    "tf2onnx",
    "onnxruntime",
    "ai-edge-litert",
    "pillow",
    "scikit-learn",
)


def environment(arguments: Iterable[str] | None = None) -> dict[str, Any]:
    """Returns what a reader needs to run the same again: versions, machine, command."""
    versions: dict[str, str | None] = {}
    for name in RECORDED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "command": list(sys.argv if arguments is None else arguments),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "onednn": os.environ.get(ONEDNN),
        "packages": versions,
        "installed": installed(),
    }


def installed() -> dict[str, dict[str, str | None]]:
    """Returns all installed packages, the bill of materials of a run: name -> version, and sha256 of the record of its files.

    The record (RECORD, as installers write it) has the sha256 of each file, so two installations with equal records have equal files. It is
    None where an installer wrote none.
    """
    folders = [folder for folder in sys.path if os.path.isdir(folder)]
    return dict(_installed(tuple((folder, os.stat(folder).st_mtime_ns) for folder in folders)))


@functools.lru_cache(1)  # hashing hundreds of records takes a third of a second: once per process, until a folder of packages changes
def _installed(folders: tuple[tuple[str, int], ...]) -> dict[str, dict[str, str | None]]:
    packages: dict[str, dict[str, str | None]] = {}
    for package in importlib.metadata.distributions():
        name, record = package.metadata["Name"], package.read_text("RECORD")
        if name:
            sha256 = None if record is None else hashlib.sha256("\n".join(sorted(record.splitlines())).encode()).hexdigest()
            packages.setdefault(name.lower().replace("_", "-"), {"version": package.version, "record_sha256": sha256})
    return dict(sorted(packages.items()))
