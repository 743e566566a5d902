"""A folder of class folders, of images or of `.txt` files, also with splits (`train/`, `val/`, `test/` and their other names) inside."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from tlkeras.data.examples import Dataset, Example, Issue, losses, make_dataset
from tlkeras.data.sources.columns import Columns
from tlkeras.data.sources.encoding import Encoding, decode_text, detect_encoding, undecodable_line
from tlkeras.data.split_names import TRAIN, split_of
from tlkeras.errors import DataError

# What operating systems and tools leave in folders.
JUNK = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "__pycache__"}
PICTURES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif",
    ".heic", ".heif", ".avif", ".ppm", ".pgm", ".jp2", ".tga", ".ico", "",
})  # fmt: skip
TEXT_ENDING = ".txt"
LABEL_MAP = "labels.txt"  # what tlkeras and other tools write; never an example
RUN_FILES = ("config.yaml", LABEL_MAP)  # both in one folder: an earlier run
LARGEST_TEXT = 64 * 1024**2  # bytes of one text file; every text is kept in memory


def open_folder(spec: str, *, labels: Sequence[str] | None = None, data_dir: str | None = None, columns: Columns | None = None) -> Dataset:
    """Lists a folder. Each class is a folder; images (or `.txt` files, where there are no images) may lie deeper inside it.

    Raises:
        DataError: when the folder is empty, holds images but no class folders, or has one class only.
    """
    root = Path(spec).expanduser()
    notes: list[Issue] = []
    entries = _unpacked(root, root, labels, notes)
    if not entries:
        raise DataError(f"folder {spec!r} is empty; expected a folder for each class with images in it")
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        raise DataError(
            f"folder {spec!r} contains files but no class folders; put each image into a folder named after its class, or use a CSV with path,label"
        )
    splits = _splits(spec, root, folders, notes)
    for entry in entries:
        if entry not in (splits or folders) and (not splits or split_of(entry.name) is None or not entry.is_dir()):
            reason = "is next to train, val and test" if splits else "is outside the class folders"
            notes.append(Issue(kind="stray-file", path=_id(entry, root), reason=reason, action="ignored"))
    classes: list[tuple[Path, str | None]] = [(folder, None) for folder in folders]
    if splits:
        classes = [(folder, split) for inside, split in splits.items() for folder in _class_folders(inside, root, notes)]
    members = [(folder, split, list(_files(folder, root, notes))) for folder, split in classes]
    name = f"folder {spec!r}"
    if not any(path.suffix.lower() in PICTURES for _, _, paths in members for path in paths):
        texts = list(_texts(members, root, notes, columns or Columns()))
        if texts:
            return make_dataset(name, texts, notes=notes, labels=labels)
    return make_dataset(name, list(_images(members, root, notes)), notes=notes, labels=labels)


# === Layout ===


def _unpacked(folder: Path, root: Path, labels: Sequence[str] | None, notes: list[Issue]) -> list[Path]:
    """Returns the entries of the folder that holds the classes or splits: an archive often adds a folder around them.

    A lone folder is entered when it holds folders itself and is no split and no known class: alone, it could not be a class either.
    """
    entries = _visible(folder, root, notes)
    folders = [entry for entry in entries if entry.is_dir()]
    if len(folders) != 1 or split_of(folders[0].name) or folders[0].name in (labels or ()):
        return entries
    inner = folders[0]
    if not any(entry.is_dir() for entry in _visible(inner, root, [])) or _is_loop(inner):
        return entries
    for entry in entries:
        if entry != inner:
            notes.append(Issue(kind="stray-file", path=_id(entry, root), reason="is outside the class folders", action="ignored"))
    return _unpacked(inner, root, labels, notes)


def _splits(spec: str, root: Path, folders: Sequence[Path], notes: list[Issue]) -> dict[Path, str]:
    """Returns folder -> split where the folders are splits: `train` and another one, each with folders in it.

    So `train` beside `plane` is a class of vehicles, and `docs` beside `train` and `val` is no class. A split without class folders
    (a test set of loose images) has no labels: it is reported and left out.
    """
    named = {folder: split for folder in folders if (split := split_of(folder.name))}
    several = len(set(named.values())) > 1
    if not several and len(named) < len(folders) or not named:
        return {}
    inside = {folder: _archive_inside(folder) for folder in named}
    labelled = {inside[folder]: split for folder, split in named.items() if _holds_folders(inside[folder])}
    unlabelled = [folder for folder in named if inside[folder] not in labelled]
    if not labelled or (TRAIN in named.values() and TRAIN not in labelled.values()):
        names = " and ".join(repr(folder.name) for folder in unlabelled)
        raise DataError(
            f"folder {spec!r} has the splits {names} without class folders; expected a folder for each class in each split, "
            "or a CSV with path,label,split"
        )
    for folder in unlabelled:
        reason = "a split without class folders, so its files have no labels"
        notes.append(Issue(kind="unlabelled-split", path=_id(folder, root), reason=reason, action="ignored"))
    return labelled


def _archive_inside(folder: Path) -> Path:
    """Returns the folder of the same name (or the same split) inside a split, where an archive put the classes there."""
    folders = [entry for entry in _visible(folder, folder, []) if entry.is_dir()]
    if len(folders) == 1 and not _is_loop(folders[0]):
        if folders[0].name.lower() == folder.name.lower() or split_of(folders[0].name) == split_of(folder.name):
            return _archive_inside(folders[0])
    return folder


def _holds_folders(folder: Path) -> bool:
    return any(entry.is_dir() for entry in _visible(folder, folder, []))


def _class_folders(folder: Path, root: Path, notes: list[Issue]) -> list[Path]:
    entries = _visible(folder, root, notes)
    for entry in entries:
        if not entry.is_dir():
            notes.append(Issue(kind="stray-file", path=_id(entry, root), reason="is outside the class folders", action="ignored"))
    return [entry for entry in entries if entry.is_dir()]


# === Files ===

Members = Sequence[tuple[Path, str | None, list[Path]]]  # class folder, split, its files


def absent(source: str | Path) -> str | None:
    """Returns why a path or a pattern names no file, or None where it names one."""
    if not str(source).strip():
        return "an input is empty; expected a file, a folder or a pattern"
    try:
        path = Path(source).expanduser()
        if path.exists() or path.is_symlink():
            return None
        if glob.has_magic(str(path)):
            return None if glob.glob(str(path), recursive=True) else f"{source}: no file matches this pattern"
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, an unknown user
        return f"{str(source)[:60]!r}: {getattr(error, 'strerror', None) or error}"
    return f"{source}: No such file or directory"


def listed_files(folder: Path, endings: Set[str] = PICTURES) -> tuple[list[Path], list[Issue]]:
    """Returns the files of a folder and of the folders inside, in a fixed order, and what was skipped (hidden files are not reported).

    Args:
        folder: where.
        endings: of the files that are meant, in lower case.
    """
    paths: list[Path] = []
    notes: list[Issue] = []
    for path in _files(folder, folder, notes):
        if path.suffix.lower() in endings:
            paths.append(path)
        else:
            kind = "an image format" if endings is PICTURES else f"a {' or '.join(sorted(endings))} file"
            reason = _other_format(path, kind)
            notes.append(Issue(kind="not-an-image", path=_id(path, folder), reason=reason, action="ignored"))
    return paths, [note for note in notes if note.kind != "hidden"]


def _images(members: Members, root: Path, notes: list[Issue]) -> Iterator[Example]:
    for folder, split, paths in members:
        images = [path for path in paths if path.suffix.lower() in PICTURES]
        for path in paths:
            if path.suffix.lower() not in PICTURES:
                reason = _other_format(path, "an image format")
                notes.append(Issue(kind="not-an-image", path=_id(path, root), reason=reason, action="ignored"))
        for path in images:
            yield Example(id=_id(path, root), label=folder.name, path=path, split=split)
        if not images:
            reason = "the folder contains no images, so it is not a class"
            notes.append(Issue(kind="empty-class", path=_id(folder, root), reason=reason, action="ignored"))


def _other_format(path: Path, expected: str) -> str:
    return f"{path.suffix} is not {expected}" if path.suffix else f"no file extension; expected {expected}"


def _texts(members: Members, root: Path, notes: list[Issue], columns: Columns) -> Iterator[Example]:
    totals: Counter[str | None] = Counter()
    lost: Counter[str | None] = Counter()
    for folder, split, paths in members:
        for path in paths:
            if path.suffix.lower() != TEXT_ENDING or path.name.lower() == LABEL_MAP:
                reason = "a list of labels" if path.name.lower() == LABEL_MAP else _other_format(path, "a text format")
                notes.append(Issue(kind="not-a-text", path=_id(path, root), reason=reason, action="ignored"))
                continue
            text = _read_text(path, root, columns.encoding, notes)
            totals[folder.name] += 1
            if isinstance(text, Issue):
                lost[folder.name] += 1
                notes.append(text)
            else:
                yield Example(id=_id(path, root), label=folder.name, text=text, split=split)
    notes += losses(root.name, "files", totals, lost)


def _read_text(path: Path, root: Path, asked: str | None, notes: list[Issue]) -> str | Issue:
    name = _id(path, root)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_TEXT + 1)
    except OSError as error:
        return Issue(kind="unreadable", path=name, reason=error.strerror or str(error), action="skipped")
    if len(content) > LARGEST_TEXT:
        return Issue(kind="too-large", path=name, reason=f"more than {LARGEST_TEXT // 1024**2} MiB of text", action="skipped")
    encoding = _encoding(content, asked)
    text = decode_text(content, encoding)
    if line := undecodable_line(text):
        return Issue(kind=encoding.bad_kind, path=f"{name}:{line}", reason=f"the line is not {encoding.title}", action="skipped")
    if encoding.note:
        notes.append(Issue(kind="encoding", path=name, reason=encoding.note, action="reported"))
    return text if text.strip() else Issue(kind="empty-text", path=name, reason="no text", action="skipped")


def _encoding(content: bytes, asked: str | None) -> Encoding:
    """Bytes that fit no encoding are for the caller to report, one file at a time."""
    try:
        return detect_encoding(content, asked)
    except DataError:
        if asked is not None:
            raise
        return Encoding(name="utf-8")


def _files(folder: Path, root: Path, notes: list[Issue]) -> Iterator[Path]:
    """Yields the regular files below a folder, and links to nowhere; what could block or loop is reported and left out."""
    entries = _visible(folder, root, notes)
    if {entry.name for entry in entries} >= set(RUN_FILES):
        notes.append(Issue(kind="earlier-run", path=_id(folder, root), reason="the folder of a run, not data", action="ignored"))
        return
    for entry in entries:
        if entry.is_dir() and _is_loop(entry):
            notes.append(Issue(kind="stray-file", path=_id(entry, root), reason="a link to a parent folder", action="ignored"))
        elif entry.is_dir():
            yield from _files(entry, root, notes)
        elif entry.exists() and not entry.is_file():  # a pipe or a device: opening it could wait for ever
            notes.append(Issue(kind="not-a-file", path=_id(entry, root), reason="not a regular file", action="ignored"))
        else:
            yield entry


def _is_loop(folder: Path) -> bool:
    parent = folder.parent.resolve()
    return folder.resolve() in (parent, *parent.parents)


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
