"""Rows that took time to compute, kept between runs by the content that they were computed from.

    CACHE/rows/<digest of the contract>/<digest of the keys>/index.json, rows.bin

A pack holds the rows that one run computed. It is written aside and renamed, so that two processes may write at once, and never
changed. The first line of the index is the sha256 of the others; the index has the CRC-32 of every row. What does not agree
is computed again, and its pack is dropped. The packs that were not used for longest go first when all of them exceed the limit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import files
from tlkeras.errors import ConfigError

LARGEST_INDEX = 1024**3  # bytes; a row takes about 200
FORMAT = 1
SIZE = "TLKERAS_CACHE_SIZE"  # environment variable: bytes, or a number with MB or GB; 0 keeps nothing
DEFAULT_SIZE = 10 * 10**9
SHARE = 0.5  # of the free disk that the cache takes at most
WORTH = 1.0  # seconds, below which computing again is as good
SETTLED = 2.0  # seconds after its last change, before which the times of a file may not tell another change (FAT: 2 s)
ABANDONED = 24 * 3600.0  # seconds after which what a process left under a temporary name is deleted
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def limit() -> int:
    """Returns how many bytes may be kept: `TLKERAS_CACHE_SIZE`, else 10 GB.

    Raises:
        ConfigError: when the variable is no size.
    """
    text = os.environ.get(SIZE)
    if not text:
        return DEFAULT_SIZE
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if not match or match[2] not in _UNITS:
        raise ConfigError(f"{SIZE} is {text!r}; expected bytes, or a size such as 500MB or 20GB")
    return int(float(match[1]) * _UNITS[match[2]])


def open_cache(use: bool = True, warn: Callable[[str], None] = lambda text: None) -> RowCache | None:
    """Returns the user's cache, or None where nothing is to be kept.

    Args:
        use: whether it is asked for.
        warn: called with a line when something in it is damaged.
    """
    return RowCache(folder=files.cache_dir() / "rows", limit=limit(), warn=warn) if use and limit() else None


def source_digest(*modules: Any) -> str:
    """Returns the sha256 of the source of modules: rows computed by other code have another contract."""
    total = hashlib.sha256()
    for module in modules:
        total.update(Path(module.__file__).read_bytes())
    return total.hexdigest()


def signature(path: Path) -> list[int] | None:
    """Returns what changes with every change of a file, or None where that is not certain.

    Size and time of the last change are not enough: a program may set that time. It cannot set the time of the last change of
    the file's entry, which is part of this. A file that changed within the last two seconds has no signature: a second change
    could leave it the same times.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    if time.time() - max(status.st_mtime, status.st_ctime) < SETTLED:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


@dataclass(frozen=True, kw_only=True)
class Pack:
    """What one run computed.

    Args:
        folder: of the pack.
        kind: what its rows are: `images` or `features`.
        contract: from what they were computed, in words.
        row_bytes: bytes of a row.
        rows: key of a row -> its number, CRC-32, and what else is known of it.
        sources: path of a file -> its signature and the key of its row.
        used: when it was used last, in seconds since 1970.
    """

    folder: Path
    kind: str
    contract: str
    row_bytes: int
    rows: dict[str, tuple[int, int, Any]]
    sources: dict[str, tuple[list[int], str]]
    used: float

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.folder.iterdir()) if self.folder.is_dir() else 0


@dataclass(frozen=True, kw_only=True)
class RowCache:
    """The packs below a folder.

    Args:
        folder: of the cache.
        limit: bytes of all packs.
        warn: called with a line when something is damaged.
    """

    folder: Path
    limit: int = DEFAULT_SIZE
    warn: Callable[[str], None] = lambda text: None

    def collection(self, kind: str, contract: str, row_bytes: int) -> Collection:
        """Returns the rows that were computed by a contract.

        Args:
            kind: `images` or `features`.
            contract: everything, besides its content, that decides what a row is.
            row_bytes: bytes of a row.
        """
        digest = hashlib.sha256(f"{FORMAT} {kind} {row_bytes} {contract}".encode("utf-8", "replace")).hexdigest()[:32]
        collection = Collection(cache=self, folder=self.folder / digest, kind=kind, contract=contract, row_bytes=row_bytes)
        for pack in self._packs(collection.folder):
            collection.include(pack)
        return collection

    def packs(self) -> list[Pack]:
        """Returns every pack, the one that was used last first."""
        packs = [pack for folder in _folders(self.folder) for pack in self._packs(folder)]
        return sorted(packs, key=lambda pack: -pack.used)

    def _packs(self, folder: Path) -> Iterator[Pack]:
        for path in _folders(folder):
            try:
                yield _read(path)
            except FileNotFoundError:  # another process has deleted it
                continue
            except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
                self.drop(path, f"its index is damaged ({' '.join(str(error).split())[:80]})")

    def drop(self, folder: Path, reason: str) -> None:
        """Deletes a damaged pack."""
        self.warn(f"the cache {str(folder)!r} is not used: {reason}; it is deleted, and what it held is computed again")
        shutil.rmtree(folder, ignore_errors=True)

    def room(self, size: int) -> bool:
        """Deletes the packs that were not used for longest until there is room; returns whether there is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        packs = [(pack, pack.bytes) for pack in self.packs()]
        total = sum(bytes_ for _, bytes_ in packs)
        most = min(self.limit, int(SHARE * (shutil.disk_usage(self.folder).free + total)))
        if size > most:
            return False
        while packs and total + size > most:
            pack, bytes_ = packs.pop()
            shutil.rmtree(pack.folder, ignore_errors=True)
            total -= bytes_
        return True

    def clear(self) -> int:
        """Deletes everything; returns the number of bytes freed."""
        freed = sum(pack.bytes for pack in self.packs())
        shutil.rmtree(self.folder, ignore_errors=True)
        return freed


@dataclass(kw_only=True)
class Collection:
    """The rows of one contract, of all packs."""

    cache: RowCache
    folder: Path
    kind: str
    contract: str
    row_bytes: int
    _rows: dict[str, Pack] = field(default_factory=dict)
    _sources: dict[str, tuple[list[int], str]] = field(default_factory=dict)

    def include(self, pack: Pack) -> None:
        """Adds the rows of a pack."""
        if pack.row_bytes == self.row_bytes:
            self._rows |= dict.fromkeys(pack.rows, pack)
            self._sources |= pack.sources

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def key_of(self, path: Path) -> str | None:
        """Returns the key of a file that has not changed since its row was kept, without reading it."""
        known = self._sources.get(str(path.absolute()))
        return known[1] if known and known[1] in self._rows and signature(path) == known[0] else None

    def fact(self, key: str) -> Any:
        """Returns what else is known of a row."""
        return self._rows[key].rows[key][2]

    def read(self, key: str, into: np.ndarray) -> bool:
        """Fills an array, contiguous and of the bytes of a row; returns whether the row is as it was written."""
        pack = self._rows.get(key)
        if pack is None:
            return False
        number, checksum, _ = pack.rows[key]
        buffer = into.data.cast("B")
        try:
            with (pack.folder / "rows.bin").open("rb") as file:
                file.seek(number * self.row_bytes)
                if file.readinto(buffer) == self.row_bytes and zlib.crc32(buffer) == checksum:
                    return True
            reason = "a row is cut short or altered"
        except OSError as error:
            reason = error.strerror or str(error)
        if any(other is pack for other in self._rows.values()):  # reported once, and not by several threads
            self._rows = {own: other for own, other in self._rows.items() if other is not pack}
            self.cache.drop(pack.folder, reason)
        return False

    def touch(self) -> None:
        """Notes that the packs were used."""
        for folder in {pack.folder for pack in self._rows.values()}:
            try:
                os.utime(folder / "index.json")
            except OSError:  # another process has deleted it
                continue

    def add(self, rows: Iterable[tuple[str, Any, np.ndarray]], count: int, sources: Sequence[tuple[Path, list[int], str]] = ()) -> None:
        """Writes a pack; nothing where there is no room for it.

        Args:
            rows: key, what else is to be known of it, and the row, of each; keys are unique.
            count: how many there are.
            sources: path, signature and key of each file that a row was computed from.
        """
        if not count or not self.cache.room(count * self.row_bytes):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        index: dict[str, tuple[int, int, Any]] = {}
        with files.folder_aside(self.folder) as temporary:
            with (temporary / "rows.bin").open("wb") as file:
                for number, (key, fact, row) in enumerate(rows):
                    content = np.ascontiguousarray(row).data.cast("B")
                    index[key] = number, zlib.crc32(content), fact
                    file.write(content)
            content_of_index = {"kind": self.kind, "contract": self.contract, "row_bytes": self.row_bytes, "rows": index}
            content_of_index["sources"] = {str(path.absolute()): (known, key) for path, known, key in sources}
            text = json.dumps(content_of_index)
            (temporary / "index.json").write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}", encoding="utf-8")
            name = hashlib.sha256("".join(index).encode()).hexdigest()[:32]
            files.put(temporary, self.folder / name)


def _read(folder: Path) -> Pack:
    path = folder / "index.json"
    digest, _, text = files.read_text(path, LARGEST_INDEX).partition("\n")
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise ValueError("its checksum differs")
    index = files.parse_json(text)
    rows = {key: (int(number), int(checksum), fact) for key, (number, checksum, fact) in index["rows"].items()}
    if not all(0 <= number < len(rows) for number, _, _ in rows.values()) or int(index["row_bytes"]) <= 0:
        raise ValueError("it names rows that are not there")
    return Pack(
        folder=folder,
        kind=str(index["kind"]),
        contract=str(index["contract"]),
        row_bytes=int(index["row_bytes"]),
        rows=rows,
        sources={path: (list(known), str(key)) for path, (known, key) in index["sources"].items()},
        used=path.stat().st_mtime,
    )


def _folders(folder: Path) -> list[Path]:
    """Returns the folders in a folder; what processes that ended left under a temporary name is deleted."""
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    for path in inner:
        if path.name.startswith(".") and time.time() - path.stat().st_mtime > ABANDONED:
            shutil.rmtree(path, ignore_errors=True)
    return [path for path in inner if not path.name.startswith(".")]
