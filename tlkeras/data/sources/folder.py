"""A folder of class folders, of pictures or of `.txt` files, also with `train/`, `val/` and `test/` inside."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from tlkeras.data.examples import Dataset, Example, Issue, make_dataset
from tlkeras.data.sources.columns import Columns
from tlkeras.errors import DataError

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test"}
# What operating systems and tools leave in folders.
JUNK = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "__pycache__"}
PICTURES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif",
    ".heic", ".heif", ".avif", ".ppm", ".pgm", ".jp2", ".tga", ".ico", "",
})  # fmt: skip


def open_folder(spec: str, *, labels: Sequence[str] | None = None, data_dir: str | None = None, columns: Columns | None = None) -> Dataset:
    """Lists a folder; each class is a folder, pictures (or `.txt` files, where there are no pictures) may lie deeper inside it.

    Raises:
        DataError: when the folder is empty, holds pictures but no class folders, or has one class only.
    """
    root = Path(spec).expanduser()
    notes: list[Issue] = []
    entries = _visible(root, root, notes)
    if not entries:
        raise DataError(f"folder {spec!r} is empty; expected a folder for each class with pictures in it")
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        raise DataError(
            f"folder {spec!r} holds files but no class folders; put each picture into a folder named after its class, or use a CSV with path,label"
        )
    splits = _splits(folders)
    if splits:
        examples = [one for folder, split in splits.items() for one in _split(folder, root, split, notes)]
    else:
        examples = _classes(folders, root, None, notes)
    for entry in entries:
        if entry not in (splits or folders):
            reason = "lies beside train, val and test" if splits else "lies outside the class folders"
            notes.append(Issue(kind="stray-file", path=_id(entry, root), reason=reason, action="ignored"))
    if not examples:
        texts = list(_texts(splits or dict.fromkeys(folders), root, notes))
        if texts:
            return make_dataset(f"folder {spec!r}", texts, notes=[one for one in notes if one.kind in TEXT_NOTES], labels=labels)
    return make_dataset(f"folder {spec!r}", examples, notes=notes, labels=labels)


TEXT_NOTES = ("empty-text", "bad-utf8", "stray-file", "hidden")


def _texts(splits: Mapping[Path, str | None], root: Path, notes: list[Issue]) -> Iterator[Example]:
    """Yields the `.txt` files of class folders; with splits, the classes are inside of each."""
    for folder, split in splits.items():
        classes = [one for one in _visible(folder, root, []) if one.is_dir()] if split else [folder]
        for one in classes:
            for path in sorted(one.rglob("*.txt")):
                read = _read_text(path, root)
                if isinstance(read, Issue):
                    notes.append(read)
                else:
                    yield Example(id=_id(path, root), label=one.name, text=read, split=split)


def _read_text(path: Path, root: Path) -> str | Issue:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return Issue(kind="bad-utf8", path=f"{_id(path, root)}:{line}", reason="the line is not UTF-8", action="skipped")
    return text if text.strip() else Issue(kind="empty-text", path=_id(path, root), reason="no text", action="skipped")


def _splits(folders: Sequence[Path]) -> dict[Path, str]:
    """Returns folder -> split where the folders are splits: `train` and another one, each with folders in it.

    So `train` beside `plane` is a class of vehicles, and `docs` beside `train` and `val` is no class.
    """
    named = {folder: SPLITS[folder.name.lower()] for folder in folders if folder.name.lower() in SPLITS}
    several = len(set(named.values())) > 1 or len(named) == len(folders)
    nested = all(any(entry.is_dir() for entry in _visible(folder, folder, [])) for folder in named)
    return named if "train" in named.values() and several and nested else {}


def _split(folder: Path, root: Path, split: str, notes: list[Issue]) -> list[Example]:
    entries = _visible(folder, root, notes)
    for entry in entries:
        if not entry.is_dir():
            notes.append(Issue(kind="stray-file", path=_id(entry, root), reason="lies outside the class folders", action="ignored"))
    return _classes([entry for entry in entries if entry.is_dir()], root, split, notes)


def _classes(folders: Sequence[Path], root: Path, split: str | None, notes: list[Issue]) -> list[Example]:
    found = []
    for folder in folders:
        members = list(_pictures(folder, root, notes))
        found += [Example(id=_id(path, root), label=folder.name, path=path, split=split) for path in members]
        if not members:
            notes.append(
                Issue(
                    kind="empty-class", path=_id(folder, root), reason="the folder holds no pictures, so it is no class", action="ignored"
                )
            )
    return found


def listed_files(folder: Path, endings: Set[str] = PICTURES) -> tuple[list[Path], list[Issue]]:
    """Returns the files of a folder and of the folders inside, in a fixed order, and what was left out (hidden files are not told).

    Args:
        folder: where.
        endings: of the files that are meant, in lower case.
    """
    notes: list[Issue] = []
    return list(_pictures(folder, folder, notes, endings)), [note for note in notes if note.kind != "hidden"]


def _pictures(folder: Path, root: Path, notes: list[Issue], endings: Set[str] = PICTURES) -> Iterator[Path]:
    for entry in _visible(folder, root, notes):
        if entry.is_dir() and entry.resolve() in (folder.resolve(), *folder.resolve().parents):
            notes.append(Issue(kind="stray-file", path=_id(entry, root), reason="a link to a folder that it lies in", action="ignored"))
        elif entry.is_dir():
            yield from _pictures(entry, root, notes, endings)
        elif entry.exists() and not entry.is_file():  # a pipe or a device: opening it could wait for ever
            notes.append(Issue(kind="not-an-image", path=_id(entry, root), reason="no regular file", action="ignored"))
        elif entry.suffix.lower() in endings:
            yield entry
        else:
            kind = "picture format" if endings is PICTURES else f"{' or '.join(sorted(endings))} file"
            reason = f"{entry.suffix or 'no ending'} is no {kind}"
            notes.append(Issue(kind="not-an-image", path=_id(entry, root), reason=reason, action="ignored"))


def _visible(folder: Path, root: Path, notes: list[Issue]) -> list[Path]:
    """Returns the entries of a folder in a fixed order; hidden ones and those of the system are noted and left out."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"cannot read folder {str(folder)!r}: {error.strerror}; check its permissions") from error
    kept = []
    for name in names:
        if name.startswith(".") or name.lower() in JUNK:
            notes.append(
                Issue(kind="hidden", path=_id(folder / name, root), reason="hidden, or left by an operating system", action="ignored")
            )
        else:
            kept.append(folder / name)
    return kept


def _id(path: Path, root: Path) -> str:
    """Path below the root; bytes of a name that are no UTF-8 are spelled out, so that it can be printed and stored."""
    return path.relative_to(root).as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
