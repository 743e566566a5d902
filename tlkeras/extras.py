"""Optional packages: what needs them, and how to install them, in one error."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from tlkeras.errors import MissingPackage


def check(package: str, *, wanted_by: str, install: str) -> None:
    """Checks that an optional package is installed, without importing it.

    Args:
        package: name that is imported.
        wanted_by: what needs it, at the start of a sentence.
        install: what pip installs.

    Raises:
        MissingPackage: when it is not.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingPackage(f"{wanted_by} needs the package {package}, which is not installed; run: pip install '{install}'")


def require(package: str, *, wanted_by: str, install: str) -> ModuleType:
    """Returns an optional package; see `check`."""
    check(package, wanted_by=wanted_by, install=install)
    return importlib.import_module(package)
