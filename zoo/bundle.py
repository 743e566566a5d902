"""Copy an entry out of the zoo, as a folder or an archive that unpacks to `NAME/VERSION/`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from tlkeras import files
from tlkeras.errors import OutputError, ZooError
from tlkeras.zoo.manifest import MANIFEST, digest, read_manifest
from tlkeras.zoo.store import Entry, verify_files

ARCHIVES = {".zip": "zip", ".tar.gz": "gztar"}


def take_out(entry: Entry, out: str | Path) -> Path:
    """Copies an entry.

    Args:
        entry: to copy.
        out: new folder, or a file that ends in `.zip` or `.tar.gz`.

    Returns:
        The folder or archive.

    Raises:
        ZooError: when the entry is damaged.
        OutputError: when there is something already.
    """
    out = Path(out).expanduser()
    if out.exists():
        raise OutputError(f"{str(out)!r} already exists and is not overwritten; choose another")
    out.parent.mkdir(parents=True, exist_ok=True)
    ending = next((one for one in ARCHIVES if out.name.endswith(one)), None)
    with files.aside(out) as temporary:
        root = temporary.parent / "root"
        copy = temporary if ending is None else root / str(entry)
        shutil.copytree(entry.path, copy, symlinks=True)
        # What is checked is the copy, which nobody changes any more.
        wrong = verify_files(replace(entry, path=copy)) or ([] if digest(read_manifest(copy)) == digest(entry.manifest) else [MANIFEST])
        if wrong:
            raise ZooError(f"{entry} has changed since it was published: {wrong[0]}")
        if ending is not None:
            shutil.make_archive(str(temporary).removesuffix(ending), ARCHIVES[ending], root)
    return out
