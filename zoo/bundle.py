"""Copy an entry out of the zoo, as a folder or an archive that unpacks to `NAME/VERSION/`."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

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
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".taking-") as folder:
        if ending is None:
            copy = Path(shutil.copytree(entry.path, Path(folder) / "entry"))
        else:
            root = Path(folder) / "root"
            shutil.copytree(entry.path, root / str(entry))
            copy = Path(shutil.make_archive(str(Path(folder) / "entry"), ARCHIVES[ending], root))
        os.replace(copy, out)
    return out
