"""What a hostile or broken input is, and what must hold when it is read."""

import contextlib
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras.errors import TlkerasError, WeightsMismatch, is_obeyed

REJECTED, READ, EITHER = "rejected", "read", "either"
SECONDS = 2.0  # of processor time of this process; a second is the aim, and other tests share the machine
MEMORY = 1024**3  # bytes by which the process may grow meanwhile
CANARIES = (Path("/tmp/tlkeras_canary"), Path("/tmp/canary"))  # what payloads write that know no other folder


STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Case:
    """One input.

    Args:
        category: under which `docs/reliability.md` counts it.
        name: what is wrong with it.
        read: writes the input into a folder and reads it; runs in a working folder of its own.
        expect: `rejected`: one line says so; `read`: it is odd, not wrong; `either`: it is damaged, and may be damaged in what nobody reads.
        slow: whether it belongs to the sweep.
    """

    category: str
    name: str
    read: Callable[[Path], Any]
    expect: str = REJECTED
    slow: bool = False

    @property
    def id(self) -> str:
        return f"{self.category}: {self.name}"


def outcome(case: Case, sandbox: Path) -> str:
    """Reads the input of a case in a sandbox, and returns what became of it.

    Raises:
        AssertionError: when it left a file outside of its folder, took too long or too much memory, or was rejected in another way
            than by an error of tlkeras on one line.
    """
    target = sandbox / "input"
    for name in ("input", "cwd", "home", "tmp"):
        (sandbox / name).mkdir()
    before, processor, memory = _files(sandbox), time.process_time(), _memory()
    with _surroundings(sandbox):
        try:
            case.read(target)
            result = READ
        except TlkerasError as error:
            text = str(error)
            first, *others = text.splitlines()
            # What differs between weights and network stands on further lines: tlkeras/errors.py.
            assert first.strip() and (not others or isinstance(error, WeightsMismatch) and all(line.startswith("  ") for line in others)), (
                text
            )
            assert not any(map(is_obeyed, "".join([first, *others]))), f"it has characters that a terminal obeys: {text!r}"
            assert len(text) < 2000, f"{len(text)} characters: {text[:200]}"
            result = REJECTED
    outside = {path for path in _files(sandbox) - before if not path.is_relative_to(target)}
    assert not outside, f"it left {sorted(map(str, outside))[:3]}"
    assert time.process_time() - processor < SECONDS, f"it took {time.process_time() - processor:.1f} s"
    assert _peak() - memory < MEMORY, f"it took {(_peak() - memory) / 1e9:.1f} GB"
    assert case.expect in (result, EITHER), f"it was {result}; expected {case.expect}"
    return result


def _memory() -> int:
    """Returns the bytes of the process, from which `_peak` counts anew."""
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")
        return _stated("VmRSS")
    return _peak()


def _peak() -> int:
    """Returns the most bytes of the process since `_memory`; where the system does not tell, since it began."""
    return _stated("VmHWM") if STATUS.exists() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _stated(key: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def _files(folder: Path) -> set[Path]:
    within = {Path(parent) / name for parent, folders, names in os.walk(folder) for name in [*folders, *names]}
    return within | {path for path in CANARIES if path.exists()}


@contextlib.contextmanager
def _surroundings(sandbox: Path):
    """Payloads write into the working folder, the home or the folder of temporary files, where each file is noticed."""
    import tempfile

    values = {"HOME": sandbox / "home", "TMPDIR": sandbox / "tmp"}
    old, folder, temporary = {name: os.environ.get(name) for name in values}, os.getcwd(), tempfile.tempdir
    os.environ.update({name: str(value) for name, value in values.items()})
    os.chdir(sandbox / "cwd")
    tempfile.tempdir = str(sandbox / "tmp")
    try:
        yield
    finally:
        os.chdir(folder)
        tempfile.tempdir = temporary
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def written(folder: Path, name: str, content: bytes | str) -> Path:
    """Writes a file of a case."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
