"""Copy an entry out of the zoo, as a folder or an archive that unpacks to `NAME/VERSION/`."""

from __future__ import annotations

import shutil
from pathlib import Path

from tlkeras import files
from tlkeras.errors import OutputError, ZooError
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
    wrong = verify_files(entry)
    if wrong:
        raise ZooError(f"{entry} has changed since it was published: {wrong[0]}")
    if out.exists():
        raise OutputError(f"{str(out)!r} already exists and is not overwritten; choose another")
    out.parent.mkdir(parents=True, exist_ok=True)
    ending = next((one for one in ARCHIVES if out.name.endswith(one)), None)
    with files.aside(out) as temporary:
        if ending is None:
            shutil.copytree(entry.path, temporary)
        else:
            root = temporary.parent / "root"
            shutil.copytree(entry.path, root / str(entry))
            shutil.make_archive(str(temporary).removesuffix(ending), ARCHIVES[ending], root)
    return out
