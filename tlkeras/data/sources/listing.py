"""What stands in the folders of a source: regular files only, each folder once, whatever links, pipes and devices are among them."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tlkeras.data.examples import Issue
from tlkeras.errors import DataError, printable

# What operating systems and tools leave in folders.
JUNK = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "__pycache__"}
LABEL_MAP = "labels.txt"  # what tlkeras and other tools write; never an example
RUN_FILES = ("config.yaml", LABEL_MAP)  # both in one folder: an earlier run
DEEPEST = 32  # folders inside each other
NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EBADF)  # how the system says that a link leads nowhere
Identity = tuple[int, int] | str


def identity(folder: Path) -> Identity:
    """Returns what is the same for every path of a folder: device and inode; the path itself where a file system has none."""
    status = folder.stat()
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(folder)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; False for what may not even be looked at, as in a folder that can be listed but not entered."""
    try:
        return path.is_dir()
    except OSError:
        return False


def visible(folder: Path, root: Path, notes: list[Issue]) -> list[Path]:
    """Returns the entries of a folder in a fixed order; hidden ones and those of the system are noted and left out.

    Raises:
        DataError: when the folder cannot be read.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"cannot read folder {str(folder)!r}: {error.strerror}; check its permissions") from error
    entries = []
    for name in names:
        if name.startswith(".") or name.lower() in JUNK:
            notes.append(ignored("hidden", folder / name, root, "hidden, or left by an operating system"))
        else:
            entries.append(folder / name)
    return entries


def ignored(kind: str, path: Path, root: Path, reason: str) -> Issue:
    """Returns an issue of a file or folder that is not used."""
    return Issue(kind=kind, path=name_below(path, root), reason=reason, action="ignored")


def name_below(path: Path, root: Path) -> str:
    """Path below the root; what cannot be printed, and bytes of a name that are no UTF-8, are spelled out, so that it can be stored."""
    return printable(path.relative_to(root).as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


@dataclass
class Listing:
    """The files below the folders of one source.

    Args:
        root: the source, to which names in notes are relative.
        notes: receives what was left out.
    """

    root: Path
    notes: list[Issue]
    _seen: dict[Identity, Path] = field(default_factory=dict)

    def claim(self, folders: Sequence[Path]) -> list[Path]:
        """Returns the folders that are no links to one before; links inside of others to any of them are not followed.

        Args:
            folders: such as the classes of a source, which would otherwise be found below each other.
        """
        return [folder for folder in folders if self._is_new(folder)]

    def _is_new(self, folder: Path) -> bool:
        try:
            first = self._seen.setdefault(identity(folder), folder)
        except OSError as error:
            self._note("unreadable", folder, error.strerror or str(error))
            return False
        if first is not folder:
            self._note("stray-file", folder, f"a link to {name_below(first, self.root) if first != self.root else 'the source itself'}")
        return first is folder

    def _note(self, kind: str, path: Path, reason: str) -> None:
        self.notes.append(ignored(kind, path, self.root, reason))

    def files(self, folder: Path) -> Iterator[Path]:
        """Yields the regular files below a folder that was claimed, and links to nowhere.

        Pipes, devices, earlier runs, folders that were listed before, and what is nested too deeply are noted and left out.
        """
        below: list[Iterator[Path]] = [self._entries(folder)]
        while below:
            entry = next(below[-1], None)
            if entry is None:
                below.pop()
                continue
            mode = self._mode(entry)
            if mode is None:
                continue
            if not stat.S_ISDIR(mode):
                if mode and not stat.S_ISREG(mode):  # a pipe or a device: opening it could wait for ever
                    self._note("not-a-file", entry, "not a regular file")
                else:
                    yield entry
            elif len(below) >= DEEPEST:
                self._note("too-deep", entry, f"more than {DEEPEST} folders inside each other")
            elif self._is_new(entry):
                below.append(self._entries(entry))

    def _mode(self, entry: Path) -> int | None:
        """Returns what an entry is; 0 for a link to nowhere, None for what may not even be looked at, which is noted."""
        try:
            return entry.stat().st_mode
        except OSError as error:
            if error.errno in NOWHERE:
                return 0
            self._note("unreadable", entry, error.strerror or str(error))
            return None

    def _entries(self, folder: Path) -> Iterator[Path]:
        entries = visible(folder, self.root, self.notes)
        if {entry.name for entry in entries} >= set(RUN_FILES):
            self._note("earlier-run", folder, "the folder of a run, not data")
            return iter(())
        return iter(entries)


def absent(source: str | Path) -> str | None:
    """Returns why a path or a pattern names no file, or None where it names one."""
    if not str(source).strip():
        return "an input is empty; expected a file, a folder or a pattern"
    try:
        path = Path(source).expanduser()
        if path.exists() or path.is_symlink():
            return None
        if glob.has_magic(str(path)):
            return None if next(glob.iglob(str(path), recursive=True), None) is not None else f"{source}: no file matches this pattern"
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, an unknown user
        return f"{str(source)[:60]!r}: {getattr(error, 'strerror', None) or error}"
    return f"{source}: No such file or directory"


def readable(source: str, test: str = "exists") -> bool:
    """Whether a `--data` value names a path of which a test of `Path` holds, such as `is_dir`; False for what can be no path.

    Args:
        source: may be too long, contain a NUL or half a character, or name an unknown user.
        test: a method of `Path`.
    """
    try:
        return bool(getattr(Path(source).expanduser(), test)())
    except (OSError, ValueError, RuntimeError):
        return False
