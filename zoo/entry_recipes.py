"""Recipes of entries: YAML files that define how an entry is fine-tuned and published again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlkeras.config import RunConfig, read_yaml
from tlkeras.data.sources.registry import kind_of
from tlkeras.errors import ConfigError, near
from tlkeras.zoo.names import check_name

OWN = Path(__file__).with_name("recipes")
KEYS = ("name", "data_licence", "data_source", "config")


@dataclass(frozen=True, kw_only=True)
class EntryRecipe:
    """How one entry is built.

    Args:
        name: of the entry.
        config: config keys for `tlkeras.finetune`.
        data: the source of the examples, as the recipe wrote it.
        data_licence: of the examples.
        data_source: where they come from.
        path: of the file.
    """

    name: str
    config: RunConfig = field(repr=False)
    data: str | None
    data_licence: str | None
    data_source: str | None
    path: Path

    @property
    def available(self) -> bool:
        """Whether its examples are here; those without a folder come with a package."""
        return self.data is None or kind_of(str(self.config.data.source)) is not None


def read_recipes(folder: str | Path | None = None, name: str | None = None) -> list[EntryRecipe]:
    """Reads the recipes of a folder.

    Args:
        folder: with `*.yaml` files; the project's own when None.
        name: only this one.

    Raises:
        ConfigError: for an unknown name or key, or a value that a run does not accept.
    """
    paths = sorted(Path(folder or OWN).glob("*.yaml"))
    if name is not None and name not in [path.stem for path in paths]:
        raise ConfigError(f"no recipe {name!r} in {str(folder or OWN)!r}; {near(name, [path.stem for path in paths])}")
    return [_read(path) for path in paths if name in (None, path.stem)]


def _read(path: Path) -> EntryRecipe:
    content = read_yaml(str(path))
    wrong = [key for key in content if key not in KEYS]
    if wrong or "name" not in content or not isinstance(content.get("config"), Mapping):
        raise ConfigError(f"{str(path)!r}: unknown {wrong or 'shape'}; a recipe has {', '.join(KEYS)}")
    settings: dict[str, Any] = dict(content["config"])
    data = settings.get("data")
    if data is not None:
        settings["data"] = os.path.expandvars(str(data))
    return EntryRecipe(
        name=check_name(str(content["name"])),
        config=RunConfig.from_dict(settings),
        data=None if data is None else str(data),
        data_licence=content.get("data_licence"),
        data_source=content.get("data_source"),
        path=path,
    )
