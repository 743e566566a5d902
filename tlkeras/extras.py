"""Optional packages: what is wrong where one is missing is said in one line, with the command that installs it."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from tlkeras.errors import MissingPackage


def check(package: str, *, wanted_by: str, extra: str) -> None:
    """Checks that an optional package is installed, without importing it.

    Args:
        package: its name in `import`.
        wanted_by: what needs it, for the message.
        extra: name of the extra of tlkeras that installs it.

    Raises:
        MissingPackage: when it is not.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingPackage(f"{wanted_by} needs the package {package!r}, which is not installed; pip install 'tlkeras[{extra}]'")


def require(module: str, *, wanted_by: str, extra: str) -> Any:
    """Returns a module of an optional package; arguments and errors are those of `check`."""
    check(module.partition(".")[0], wanted_by=wanted_by, extra=extra)
    return importlib.import_module(module)
