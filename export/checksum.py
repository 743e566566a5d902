"""Size and hash of an artifact, and copies of which nobody changes what was hashed. Reading this loads no runtime."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tlkeras.errors import TlkerasError
from tlkeras.files import open_regular

SAVED_MODEL = ("saved_model.pb", "fingerprint.pb", "variables", "assets")  # files and folders of one


def measure(path: Path) -> tuple[int, str]:
    """Returns size in bytes and sha256 of a file, or of all files of a folder."""
    if path.is_file():
        with open_regular(path) as content:
            digest = hashlib.file_digest(content, "sha256")
            return content.tell(), digest.hexdigest()
    total, whole = 0, hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        size, inner = measure(file)
        total += size
        whole.update(f"{file.relative_to(path).as_posix()}\0{inner}\n".encode())
    return total, whole.hexdigest()


@contextmanager
def private_copy(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """Yields a folder of this user alone with copies of files: what is hashed there is what is opened there.

    A file that is hashed and then opened by its name may be another one by then. Errors of the body name the original.

    Args:
        folder: of the files.
        names: of files, and of folders whose files are meant, in it.
    """
    # A runtime may hold a file open for as long as its model lives: where the system then keeps it, it stays.
    with tempfile.TemporaryDirectory(prefix="tlkeras-", ignore_cleanup_errors=True) as copies:
        for name in names:
            source = folder / name
            for path in [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]:
                copy = Path(copies) / path.relative_to(folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        try:
            yield Path(copies)
        except TlkerasError as error:
            error.args = (str(error).replace(copies, str(folder)), *error.args[1:])
            raise
