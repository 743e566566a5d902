"""Valid names of entries: none that leads out of the zoo, on any file system."""

from __future__ import annotations

import re

from tlkeras.errors import ZooError

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
# Names that Windows gives to devices, with any suffix.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def check_name(name: str) -> str:
    """Returns a valid name for an entry.

    Raises:
        ZooError: for separators, `..`, upper case (two names would be one on some file systems), and the like.
    """
    if not NAME.fullmatch(name) or ".." in name or DEVICES.fullmatch(name):
        raise ZooError(
            f"{name!r} is not a valid name for an entry; use 1 to 64 of a-z, 0-9, '.', '_', '-', with a letter or digit at both ends"
        )
    return name


def check_version(version: int | str) -> int:
    """Returns a version as the positive integer it must be.

    Raises:
        ZooError: for anything else.
    """
    text = str(version)
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text) or isinstance(version, bool):
        raise ZooError(f"{version!r} is not a version; expected an integer of 1 or more, or stable")
    return int(text)


def split_name(text: str) -> tuple[str, str | None]:
    """Returns name and version of `NAME`, `NAME/VERSION` or `NAME/stable`."""
    name, _, version = text.partition("/")
    check_name(name)
    if version and version != "stable":
        check_version(version)
    return name, version or None
