"""The files that the rows of a table name: unchanged, with another separator, without extension, or in a folder beside the table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Set
from functools import cached_property
from pathlib import Path, PurePosixPath

from tlkeras.data.examples import Issue
from tlkeras.data.sources.listing import JUNK, Identity, identity
from tlkeras.errors import printable

DEPTH = 4  # folders below the table that are searched


class FileIndex:
    """Finds the files of a table.

    Args:
        root: folder of the table.
        endings: of the files that may be examples, in lower case.
    """

    def __init__(self, root: Path, endings: Set[str]):
        self.root = root
        self._endings = endings
        self.direct = 0  # found as the row says
        self.matched: Counter[str] = Counter()  # folder -> files found in it by their names
        self._backslashes = 0

    def find(self, name: str) -> tuple[Path, list[str]]:
        """Returns the file that a row names, and the files among which it cannot choose, if there are several.

        A file that is not there comes back as the row names it.
        """
        path = self.root / name
        if os.path.exists(path):
            self.direct += 1
            return path, []
        if "\\" in name:
            self._backslashes += 1
            name = name.replace("\\", "/")
            path = self.root / name
            if os.path.exists(path):
                self.direct += 1
                return path, []
        target = PurePosixPath(name)
        tail = target.parts
        files = [file for file in self._by_name.get(target.name, ()) if file.parts[-len(tail) : -1] == tail[:-1]]
        if len(files) == 1:
            self.matched[files[0].parent.as_posix()] += 1
            return self.root / files[0], []
        return path, [file.as_posix() for file in files]

    def has(self, name: str) -> bool:
        """Whether a file in a folder beside the table has this name, with or without ending."""
        return bool(self._by_name.get(PurePosixPath(name).name)) if name.strip() else False

    def id_of(self, name: str) -> str:
        """Returns the name of an example: the path that a row names, the same on all systems."""
        return printable(name.replace("\\", "/") if self._backslashes and not os.path.exists(self.root / name) else name)

    def notes(self, table: str, column: str) -> Iterator[Issue]:
        """Yields what was done to find files."""
        if self._backslashes:
            reason = f"{self._backslashes:,} paths in column {column!r} have backslashes, which are read as /"
            yield Issue(kind="backslashes", path=table, reason=reason, action="reported")
        if self.matched:
            folders = ", ".join(repr(folder) for folder in sorted(self.matched)[:3]) + (", …" if len(self.matched) > 3 else "")
            reason = f"{self.matched.total():,} names in column {column!r} refer to files in {folders}"
            yield Issue(kind="matched-files", path=table, reason=reason, action="reported")

    @cached_property
    def _by_name(self) -> dict[str, list[PurePosixPath]]:
        """Files below the table that may be examples, by their names with and without ending."""
        index: dict[str, list[PurePosixPath]] = {}
        seen: set[Identity] = set()
        for folder, folders, names in os.walk(self.root, followlinks=True):
            inside = Path(folder).relative_to(self.root)
            if (known := identity(Path(folder))) in seen:  # a link to a folder that was searched
                folders[:] = []
                continue
            seen.add(known)
            hidden = {name for name in folders if name.startswith(".") or name.lower() in JUNK}
            folders[:] = sorted(set(folders) - hidden) if len(inside.parts) < DEPTH else []
            for name in sorted(names):
                stem, ending = os.path.splitext(name)
                if ending and ending.lower() in self._endings and not name.startswith("."):
                    for key in (name, stem):
                        index.setdefault(key, []).append(PurePosixPath(inside.as_posix()) / name)
        return index
