"""Verify an entry again: its files by their hashes, its artifacts by what they answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from tlkeras.errors import ConfigError, ExportError
from tlkeras.export import parity, verification
from tlkeras.export.formats import FORMATS, SERVING
from tlkeras.export.manifest import interface_of
from tlkeras.export.parity import Reference
from tlkeras.export.safety import check_saved_model
from tlkeras.export.spec import Interface
from tlkeras.registry import load_function
from tlkeras.tasks.registry import target_of, task_of
from tlkeras.zoo.store import Entry, verify_files

# Other processors multiply 8-bit numbers in another order: a step of the quantisation in the scores.
QUANTISED = 0.1


@dataclass(frozen=True, kw_only=True)
class Check:
    """One verified item, and what is wrong with it (None if nothing)."""

    what: str
    problem: str | None = None
    detail: str = ""


def verify(entry: Entry, progress: Callable[[int, int, str], None] | None = None) -> list[Check]:
    """Hashes every file, then runs every artifact in its own runtimes and compares it with its answers at publication.

    An artifact whose files have changed is not run.

    Args:
        entry: to verify.
        progress: called with (done, all, what is being done).

    Returns:
        One check for the files, and one for each artifact and runtime.
    """
    wrong = verify_files(entry)
    checks = [Check(what="files", problem="; ".join(wrong) or None, detail=f"{len(entry.files)} files, {entry.bytes:,} bytes")]
    if wrong:
        return checks
    for index, name in enumerate(entry.manifest["artifacts"]):
        if progress:
            progress(index, len(entry.manifest["artifacts"]), name)
        checks += _artifact(entry, name)
    return checks


def _artifact(entry: Entry, name: str) -> list[Check]:
    row, path = FORMATS.get(name), entry.artifact(name)
    if not entry.manifest["artifacts"][name].get("verified"):
        return [Check(what=name, detail="not run when it was published (it needs TensorFlow's own kernels)")]
    try:
        if row.reader == SERVING.reader:
            check_saved_model(path)
        interface = _interface(entry)
        evidence = verification.read(entry.path, interface)
    except (ConfigError, ExportError) as error:
        return [Check(what=name, problem=str(error))]
    expected = Reference(outputs={**evidence.expected.outputs, **evidence.answers.get(name, {})}, score=None)
    checks = []
    for variant in [replace(row, tolerance=min(row.tolerance, QUANTISED)), *parity.also(row)]:
        try:
            verdict = parity.check(variant, path, evidence.samples, expected, interface)
            checks.append(Check(what=name, detail=f"{verdict.runtime}: differs by {verdict.max_abs_diff:.1e}"))
        except ExportError as error:
            checks.append(Check(what=name, problem=str(error)))
    return checks


def _interface(entry: Entry) -> Interface:
    """Returns the inputs and outputs of an entry, with what its task says of the scores."""
    interface = interface_of(entry.manifest)
    task = task_of(entry.manifest["metadata"])
    target = target_of(entry.manifest)
    if target is None:  # a pretrained network, trained for no task
        return interface
    return replace(interface, signature=partial(load_function(task.signature), target=target))
