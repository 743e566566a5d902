"""What a shell completes: names of the registries, and the folders of runs. Nothing here loads TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

RUNS = "runs"  # where runs are made when no --out says otherwise


def backbones(incomplete: str) -> list[str]:
    """Returns the names and families of backbones."""
    from tlkeras.backbones.registry import BACKBONES

    return _beginning(incomplete, [*BACKBONES.names(), *BACKBONES.aliases()])


def recipes(incomplete: str) -> list[str]:
    """Returns the names of recipes."""
    from tlkeras.training.recipes.registry import RECIPES

    return _beginning(incomplete, RECIPES.names())


def placements(incomplete: str) -> list[str]:
    """Returns the names of placements."""
    from tlkeras.distribution.registry import PLACEMENTS

    return _beginning(incomplete, PLACEMENTS.names())


def formats(incomplete: str) -> list[str]:
    """Returns comma-separated lists of formats, each with one more format."""
    from tlkeras.export.formats import FORMATS

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _beginning(last, FORMATS.names()) if name not in before.split(",")]


def run_folders(incomplete: str) -> list[str]:
    """Returns the folders of runs below `runs/`; any other path is left to the shell."""
    folders = sorted(path.parent.as_posix() for path in Path(RUNS).glob("*/config.yaml"))
    return _beginning(incomplete, folders)


def _beginning(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


# Config key -> what completes its flag.
FLAGS: dict[str, Callable[[str], list[str]]] = {
    "backbone": backbones,
    "recipe": recipes,
    "placement": placements,
    "export": formats,
    "formats": formats,
}
