"""A folder of class folders, of files of one kind, also with splits (`train/`, `val/`, `test/` and their other names) inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tlkeras.data.examples import Dataset, Example, Issue, losses, make_dataset
from tlkeras.data.file_kinds import FileKind
from tlkeras.data.sources.columns import Columns
from tlkeras.data.sources.listing import DEEPEST, LABEL_MAP, RUN_FILES, Listing, identity, ignored, is_folder, name_below, readable, visible
from tlkeras.data.split_names import TRAIN, split_of
from tlkeras.data.target import Target
from tlkeras.data.values import read_names
from tlkeras.errors import DataError
from tlkeras.registry import load_function


def open_folder(
    spec: str,
    *,
    target: Target | None = None,
    data_dir: str | None = None,
    columns: Columns | None = None,
    kinds: Sequence[FileKind] = (),
) -> Dataset:
    """Lists a folder. Each class is a folder; its files may lie deeper inside it.

    Args:
        spec, target, data_dir, columns: see `registry.open_dataset`.
        kinds: what files are examples; the first kind of which there are any is listed.

    Raises:
        DataError: when the folder is empty, holds images but no class folders, or has one class only.
    """
    root = Path(spec).expanduser()
    notes: list[Issue] = []
    entries = _unpacked(root, root, target.labels if target else None, notes, DEEPEST)
    if not entries:
        raise DataError(f"folder {spec!r} is empty; expected a folder for each class with images in it")
    folders = [entry for entry in entries if is_folder(entry)]
    if not folders:
        raise DataError(
            f"folder {spec!r} contains files but no class folders; put each image into a folder named after its class, or use a CSV with path,label"
        )
    splits = _splits(spec, root, folders, notes)
    for entry in entries:
        if entry not in (splits or folders) and (not splits or split_of(entry.name) is None or not is_folder(entry)):
            reason = "is next to train, val and test" if splits else "is outside the class folders"
            notes.append(ignored("stray-file", entry, root, reason))
    classes: list[tuple[Path, str | None]] = [(folder, None) for folder in folders]
    if splits:
        classes = [(folder, split) for inside, split in splits.items() for folder in _class_folders(inside, root, notes)]
    listing = Listing(root, notes)
    listing.claim(list(dict.fromkeys([root, *(folder.parent for folder, _ in classes)])))
    claimed = set(listing.claim([folder for folder, _ in classes]))
    members = [(folder, split, list(listing.files(folder))) for folder, split in classes if folder in claimed]
    members = [member for member in members if member[2] or not _is_run(member[0])]
    name = f"folder {spec!r}"
    examples: list[Example] = []
    names = list(dict.fromkeys(folder.name for folder, _, _ in members))
    read = read_names(names, (columns or Columns()).request(target), title="folder")
    values = dict(zip(names, read.values, strict=True))
    for kind in kinds:
        if any(path.suffix.lower() in kind.endings for _, _, paths in members for path in paths):
            reader = _paths(members, root, notes, kind) if kind.read is None else _contents(members, root, notes, kind, columns)
            examples = [replace(example, label=values[example.label]) for example in reader]
        if examples:
            break
    return make_dataset(name, examples, notes=notes, target=target, draft=read.draft)


# === Layout ===


def _is_run(folder: Path) -> bool:
    return all(readable(str(folder / name), "is_file") for name in RUN_FILES)


def _unpacked(folder: Path, root: Path, labels: Sequence[str] | None, notes: list[Issue], depth: int) -> list[Path]:
    """Returns the entries of the folder that holds the classes or splits: an archive often adds a folder around them.

    A lone folder is entered when it holds folders itself and is no split and no known class: alone, it could not be a class either.
    """
    entries = visible(folder, root, notes)
    folders = [entry for entry in entries if is_folder(entry)]
    if len(folders) != 1 or split_of(folders[0].name) or folders[0].name in (labels or ()):
        return entries
    inner = folders[0]
    if not depth or _is_loop(inner) or not any(is_folder(entry) for entry in visible(inner, root, [])):
        return entries
    for entry in entries:
        if entry != inner:
            notes.append(ignored("stray-file", entry, root, "is outside the class folders"))
    return _unpacked(inner, root, labels, notes, depth - 1)


def _is_loop(folder: Path) -> bool:
    """Whether a folder is a link to one that it stands in."""
    return identity(folder) in {identity(parent) for parent in folder.absolute().parents}


def _splits(spec: str, root: Path, folders: Sequence[Path], notes: list[Issue]) -> dict[Path, str]:
    """Returns folder -> split where the folders are splits: `train` and another one, each with folders in it.

    So `train` beside `plane` is a class of vehicles, and `docs` beside `train` and `val` is no class. A split without class folders
    (a test set of loose images) has no labels: it is reported and left out.
    """
    named = {folder: split for folder in folders if (split := split_of(folder.name))}
    several = len(set(named.values())) > 1
    if not several and len(named) < len(folders) or not named:
        return {}
    inside = {folder: _archive_inside(folder, DEEPEST) for folder in named}
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
        notes.append(ignored("unlabelled-split", folder, root, reason))
    return labelled


def _archive_inside(folder: Path, depth: int) -> Path:
    """Returns the folder of the same name (or the same split) inside a split, where an archive put the classes there."""
    folders = [entry for entry in visible(folder, folder, []) if is_folder(entry)]
    if depth and len(folders) == 1 and not _is_loop(folders[0]):
        if folders[0].name.lower() == folder.name.lower() or split_of(folders[0].name) == split_of(folder.name):
            return _archive_inside(folders[0], depth - 1)
    return folder


def _holds_folders(folder: Path) -> bool:
    return any(is_folder(entry) for entry in visible(folder, folder, []))


def _class_folders(folder: Path, root: Path, notes: list[Issue]) -> list[Path]:
    entries = visible(folder, root, notes)
    notes += [ignored("stray-file", entry, root, "is outside the class folders") for entry in entries if not is_folder(entry)]
    return [entry for entry in entries if is_folder(entry)]


# === Files ===

Members = Sequence[tuple[Path, str | None, list[Path]]]  # class folder, split, its files


def listed_files(folder: Path, kind: FileKind) -> tuple[list[Path], list[Issue]]:
    """Returns the files of a folder and of the folders inside, in a fixed order, and what was skipped (hidden files are not reported).

    Args:
        folder: where.
        kind: of the files that are meant.
    """
    paths: list[Path] = []
    notes: list[Issue] = []
    listing = Listing(folder, notes)
    for path in [path for claimed in listing.claim([folder]) for path in listing.files(claimed)]:
        if path.suffix.lower() in kind.endings:
            paths.append(path)
        else:
            notes.append(_other(path, folder, kind))
    return paths, [note for note in notes if note.kind != "hidden"]


def _other(path: Path, root: Path, kind: FileKind) -> Issue:
    reason = f"{path.suffix} is not {kind.format}" if path.suffix else f"no file extension; expected {kind.format}"
    return ignored(kind.other, path, root, reason)


def _paths(members: Members, root: Path, notes: list[Issue], kind: FileKind) -> Iterator[Example]:
    """Yields the files of a kind as they are."""
    for folder, split, paths in members:
        chosen = [path for path in paths if path.suffix.lower() in kind.endings]
        notes += [_other(path, root, kind) for path in paths if path.suffix.lower() not in kind.endings]
        for path in chosen:
            yield Example(id=name_below(path, root), label=folder.name, path=path, split=split)
        if not chosen:
            reason = f"the folder contains no {kind.noun}, so it is not a class"
            notes.append(ignored("empty-class", folder, root, reason))


def _contents(members: Members, root: Path, notes: list[Issue], kind: FileKind, columns: Columns | None) -> Iterator[Example]:
    """Yields the content of the files of a kind, read now."""
    read = load_function(str(kind.read))
    totals: Counter[str | None] = Counter()
    lost: Counter[str | None] = Counter()
    for folder, split, paths in members:
        for path in paths:
            name = name_below(path, root)
            if path.suffix.lower() not in kind.endings:
                notes.append(_other(path, root, kind))
                continue
            if path.name.lower() == LABEL_MAP:
                notes.append(Issue(kind=kind.other, path=name, reason="a list of labels", action="ignored"))
                continue
            content = read(path, name, columns or Columns(), notes)
            totals[folder.name] += 1
            if isinstance(content, Issue):
                lost[folder.name] += 1
                notes.append(content)
            else:
                yield Example(id=name, label=folder.name, split=split, **content)
    notes += losses(root.name, "files", totals, lost)
