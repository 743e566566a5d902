"""Size and hash of an artifact. Reading this loads no runtime."""

from __future__ import annotations

import hashlib
from pathlib import Path


def measure(path: Path) -> tuple[int, str]:
    """Returns size in bytes and sha256 of a file, or of all files of a folder."""
    if path.is_file():
        content = path.read_bytes()
        return len(content), hashlib.sha256(content).hexdigest()
    total, digest = 0, hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        size, inner = measure(file)
        total += size
        digest.update(f"{file.relative_to(path).as_posix()}\0{inner}\n".encode())
    return total, digest.hexdigest()
