"""The zoo on disk: `ROOT/NAME/VERSION/`, each version a folder that TensorFlow Serving loads directly.

Versions are written aside, flushed, and renamed into place, so that neither TensorFlow Serving nor a second publisher
ever sees half of one. Reading a zoo executes nothing of it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras import files
from tlkeras.errors import ZooError, near
from tlkeras.export.checksum import private_copy
from tlkeras.export.manifest import FORMAT
from tlkeras.zoo.manifest import MANIFEST, SIGNATURE, digest, read_json, read_manifest
from tlkeras.zoo.names import NAME, check_name, check_version, split_name

CARD = "README.md"
LABELS = "labels.json"  # beside the versions; TensorFlow Serving looks at integers only
ASIDE, REMOVED = ".publishing-", ".removed-"
STALE = 24 * 3600  # seconds after which a folder aside belongs to a publisher that is gone


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One version of one model.

    Args:
        name: of the model.
        version: 1 or more.
        path: its folder.
        manifest: content of its `manifest.json`.
        stable: whether it is the promoted version.
    """

    name: str
    version: int
    path: Path
    manifest: Mapping[str, Any]
    stable: bool = False

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]]:
        """Relative path -> bytes and sha256, of every file but the manifest."""
        return self.manifest["files"]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(one["bytes"] for one in self.files.values())

    def artifact(self, format: str) -> Path:
        """Returns the path of an artifact; the SavedModel is the folder itself."""
        return self.path / self.manifest["artifacts"][format]["path"]

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


ROOT = "zoo/models"


def default_root() -> Path:
    """Returns the folder of the zoo: the environment variable `TLKERAS_ZOO`, else `zoo/models` here."""
    return Path(os.environ.get("TLKERAS_ZOO") or ROOT)


class Zoo:
    """A folder of entries.

    Args:
        root: the folder; created when the first entry is published.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser()

    # === Read ===

    def names(self) -> list[str]:
        """Returns the names that have a version."""
        if not self.root.is_dir():
            return []
        folders = (one.name for one in self.root.iterdir() if NAME.fullmatch(one.name) and one.is_dir() and not one.is_symlink())
        return sorted(name for name in folders if self.versions(name))

    def versions(self, name: str) -> list[int]:
        """Returns the versions of a name, oldest first."""
        folder = self.root / check_name(name)
        if folder.is_symlink() or not folder.is_dir():
            return []
        versions = [one for one in folder.iterdir() if one.name.isascii() and one.name.isdigit() and not one.is_symlink() and one.is_dir()]
        return sorted(int(one.name) for one in versions if str(int(one.name)) == one.name)

    def stable(self, name: str) -> int | None:
        """Returns the promoted version of a name, or None."""
        path = self.root / check_name(name) / LABELS
        if not path.exists():
            return None
        version = read_json(path).get("stable")
        return None if version is None else check_version(version)

    def list(self, damaged: Callable[[str, ZooError], None] | None = None) -> list[Entry]:
        """Returns all entries, by name and version.

        Args:
            damaged: called with `NAME/VERSION` and the error of each that cannot be read, which is left out.

        Raises:
            ZooError: for the first that cannot be read, where `damaged` is None.
        """
        entries = []
        for model in self.names():
            for version in self.versions(model):
                try:
                    entries.append(self.get(model, version))
                except ZooError as error:
                    if damaged is None:
                        raise
                    damaged(f"{model}/{version}", error)
        return entries

    def get(self, name: str, version: int | str | None = None) -> Entry:
        """Returns an entry.

        Args:
            name: `NAME`, or `NAME/VERSION`.
            version: an integer, `"stable"`, or None for the promoted version, else the newest.

        Raises:
            ZooError: when there is no such entry, or its manifest cannot be read.
        """
        name, named_version = split_name(name)
        version = named_version if version is None else version
        versions, stable = self.versions(name), self.stable(name)
        if not versions:
            known = self.names()
            hint = near(name, known) if known else "it is empty; `tlkeras zoo publish RUN --name NAME` adds an entry"
            raise ZooError(f"no entry {name!r} in the zoo {str(self.root)!r}; {hint}")
        if version == "stable" and stable is None:
            raise ZooError(f"no version of {name!r} is promoted; `tlkeras zoo promote {name}/{versions[-1]}` promotes the newest")
        chosen = (stable or versions[-1]) if version is None else stable if version == "stable" else check_version(version)
        if chosen not in versions:
            raise ZooError(f"{name!r} has no version {chosen}; its versions are {', '.join(map(str, versions))}")
        path = self.root / name / str(chosen)
        return Entry(name=name, version=chosen, path=path, manifest=read_manifest(path), stable=chosen == stable)

    # === Write ===

    def publish(self, name: str, build: Callable[[Path], Mapping[str, Any]], sign: Callable[[bytes, str], bytes] | None = None) -> Entry:
        """Adds the next version of a name.

        Args:
            name: name of the model.
            build: fills the folder that it receives, and returns the manifest without `entry` and `files`.
            sign: (content of the manifest, `NAME/VERSION`) -> its signature, which stands beside it; None for none.

        Raises:
            ZooError: when the name is invalid, or the folder contains a link. After a failure, no version is left.
        """
        home = self.root / check_name(name)
        if home.is_symlink():
            raise ZooError(f"{str(home)!r} is a link; the entries of a zoo must be inside its folder")
        home.mkdir(parents=True, exist_ok=True)
        _clean(self.root)
        aside = Path(tempfile.mkdtemp(dir=self.root, prefix=ASIDE))
        try:
            content = {"format": FORMAT, **build(aside)}
            content["files"] = {path: measured(aside / path) for path in files_of(aside)}
            aside.chmod(0o755)  # mkdtemp makes folders that only the publisher may read; TensorFlow Serving is another user
            return self._place(name, home, aside, content, sign)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            if home.is_dir() and not any(home.iterdir()):
                home.rmdir()

    def _place(self, name: str, home: Path, aside: Path, content: dict[str, Any], sign: Callable[[bytes, str], bytes] | None) -> Entry:
        """Claims the next free version: a second publisher that was faster makes the rename fail, and the next is tried."""
        while True:
            home.mkdir(exist_ok=True)  # a publisher that failed may just have taken the empty folder away
            version = max(self.versions(name), default=0) + 1
            content["entry"] = {"name": name, "version": version, "published": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
            content["entry"]["sha256"] = digest(content)
            files.write_json(aside / MANIFEST, content)
            if sign:
                files.write(aside / SIGNATURE, sign((aside / MANIFEST).read_bytes(), f"{name}/{version}"))
            _flush(aside)
            final = home / str(version)
            try:
                os.rename(aside, final)  # onto a folder that holds something it fails: `os.replace` too
            except FileNotFoundError:
                continue
            except OSError:
                if final.exists():
                    continue
                raise
            _flush_folder(home)
            return Entry(name=name, version=version, path=final, manifest=content)

    def promote(self, name: str, version: int | str | None = None) -> Entry:
        """Makes a version the stable one.

        Args:
            name: `NAME`, or `NAME/VERSION`.
            version: the newest when None.
        """
        name, named_version = split_name(name)
        version = version or named_version or max(self.versions(name), default=None)
        entry = self.get(name, version)
        files.write_json(self.root / name / LABELS, {"format": FORMAT, "stable": entry.version})
        return self.get(name, entry.version)

    def remove(self, name: str, version: int | str, *, force: bool = False) -> None:
        """Removes a version; the stable one only with `force`.

        Raises:
            ZooError: when it does not exist, or is the stable one.
        """
        entry = self.get(name, version)
        if entry.stable and not force:
            raise ZooError(f"{entry} is the stable version; promote another first, or pass --force")
        if entry.stable:
            (self.root / entry.name / LABELS).unlink()
        aside = Path(tempfile.mkdtemp(dir=self.root, prefix=REMOVED))
        os.rename(entry.path, aside / str(entry.version))  # gone at once for readers, then deleted
        shutil.rmtree(aside)
        home = self.root / entry.name
        if not any(home.iterdir()):
            home.rmdir()


# === Files of an entry ===


def files_of(folder: Path) -> list[str]:
    """Returns the relative paths of all files of a folder but its manifest and the signature of that, sorted.

    Raises:
        ZooError: for a link or a special file, because an entry must be self-contained.
    """
    names = []
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        relative = path.relative_to(folder).as_posix()
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise ZooError(f"{relative!r} in {str(folder)!r} is a link or not a regular file; an entry may contain regular files only")
        if stat.S_ISREG(mode) and relative not in (MANIFEST, SIGNATURE):
            names.append(relative)
    return names


def verify_files(entry: Entry) -> list[str]:
    """Returns what is wrong with the files of an entry: missing, added, changed. Nothing of them is loaded."""
    try:
        present = set(files_of(entry.path))
    except ZooError as error:
        return [str(error)]
    listed = set(entry.files)
    problems = [f"{path}: missing" for path in sorted(listed - present)]
    problems += [f"{path}: not in the manifest" for path in sorted(present - listed)]
    for path in sorted(listed & present):
        present_file, published = measured(entry.path / path), entry.files[path]
        if present_file != {"bytes": published["bytes"], "sha256": published["sha256"]}:
            problems.append(f"{path}: changed since it was published ({present_file['bytes']:,} bytes, was {published['bytes']:,})")
    return problems


@contextmanager
def copied(entry: Entry, names: Iterable[str]) -> Iterator[Path]:
    """Yields a folder of this user alone with copies of files of an entry, whose hashes are compared; see `private_copy`.

    Args:
        entry: they belong to.
        names: of the files, as the manifest has them.

    Raises:
        ZooError: when a copy is not what was published.
    """
    names = list(names)
    with private_copy(entry.path, names) as copies:
        for name in names:
            if not (copies / name).is_file() or measured(copies / name)["sha256"] != entry.files.get(name, {}).get("sha256"):
                raise ZooError(f"{entry} has changed since it was published: {name}; download it again, or publish it again")
        yield copies


def measured(path: Path) -> dict[str, Any]:
    """Returns size and sha256 of a file, as the manifest records them."""
    with files.open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def _flush(folder: Path) -> None:
    """Makes sure that all of a folder is on the disk before its name is."""
    for path in folder.rglob("*"):
        _flush_folder(path) if path.is_dir() else _flush_file(path)
    _flush_folder(folder)


def _flush_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _clean(root: Path) -> None:
    """Deletes what publishers left that were killed."""
    for path in _aside(root):
        if time.time() - path.stat().st_mtime > STALE:
            shutil.rmtree(path, ignore_errors=True)


def _aside(root: Path) -> Iterator[Path]:
    for path in root.iterdir():
        if path.name.startswith((ASIDE, REMOVED)) and path.is_dir() and not path.is_symlink():
            yield path
