"""Verify an entry again: its files by their hashes, its artifacts by what they answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from tlkeras.errors import ConfigError, ExportError, MissingPackage, ZooError
from tlkeras.export import parity, safety, verification
from tlkeras.export.formats import FORMATS, Format
from tlkeras.export.manifest import interface_of
from tlkeras.export.parity import Reference
from tlkeras.export.spec import Interface
from tlkeras.export.verifier import Running, Verifier
from tlkeras.registry import load_function
from tlkeras.tasks.certainty import known_of
from tlkeras.tasks.registry import target_of, task_of
from tlkeras.zoo.signing import check_signature
from tlkeras.zoo.store import Entry, copied, verify_files

# Other processors multiply 8-bit numbers in another order: a step of the quantisation in the scores.
QUANTISED = 0.1


@dataclass(frozen=True, kw_only=True)
class Check:
    """One verified item, and what is wrong with it (None if nothing)."""

    what: str
    problem: str | None = None
    detail: str = ""


def verify(entry: Entry, progress: Callable[[int, int, str], None] | None = None, *, public_key: str | None = None) -> list[Check]:
    """Hashes every file, then runs every artifact in its own runtimes and compares it with its answers at publication.

    An artifact whose files have changed is not run. What is run are copies that have the hashes, so that nobody changes them in between.

    Args:
        entry: to verify.
        progress: called with (done, all, what is being done).
        public_key: of its publisher, for the signature; see `signing.check_signature`. Without one a signature is not looked at.

    Returns:
        One check for the files, one for the signature where a key is given, and one for each artifact and runtime.
    """
    wrong = verify_files(entry)
    checks = [Check(what="files", problem="; ".join(wrong) or None, detail=f"{len(entry.files)} files, {entry.bytes:,} bytes")]
    if public_key is not None:
        checks.append(_signature(entry, public_key))
    if any(check.problem for check in checks):
        return checks
    with ExitStack() as stack:
        try:
            copies = stack.enter_context(copied(entry, entry.files))
        except ZooError as error:  # changed since it was hashed
            return [replace(checks[0], problem=str(error)), *checks[1:]]
        results = _answers(replace(entry, path=copies), progress)
    # What was run are copies; the user knows the originals.
    return [*checks, *(replace(one, problem=one.problem and one.problem.replace(str(copies), str(entry.path))) for one in results)]


def _answers(entry: Entry, progress: Callable[[int, int, str], None] | None) -> list[Check]:
    """Runs every artifact and compares what it answers; one check for each and its runtime."""
    artifacts = entry.manifest["artifacts"]
    try:
        interface = _interface(entry)
        stored = verification.read(entry.path, interface)
    except (ConfigError, ExportError) as error:
        return [Check(what=name, problem=str(error)) for name in artifacts]
    variants = {name: _variants(FORMATS.get(name)) for name, record in artifacts.items() if record.get("verified")}
    checks: list[Check] = []
    with Verifier(stored.samples, interface, [row.reader for rows in variants.values() for row in rows]) as verifier:
        running = {name: _started(entry, name, rows, verifier) for name, rows in variants.items()}
        for index, name in enumerate(artifacts):
            if progress:
                progress(index, len(artifacts), name)
            expected = Reference(outputs={**stored.expected.outputs, **stored.answers.get(name, {})}, score=None)
            unverified = Check(what=name, detail="not run when it was published (it needs TensorFlow's own kernels)")
            results = running.get(name, [unverified])
            checks += [result if isinstance(result, Check) else _checked(name, verifier, result, expected) for result in results]
    return checks


def _signature(entry: Entry, public_key: str) -> Check:
    try:
        return Check(what="signature", detail=check_signature(entry, public_key))
    except (MissingPackage, ZooError) as error:
        return Check(what="signature", problem=str(error))


def _variants(row: Format) -> list[Format]:
    """Returns the format once for each runtime in which its artifact must still give the same."""
    return [replace(row, tolerance=min(row.tolerance, QUANTISED)), *parity.also(row)]


def _started(entry: Entry, name: str, variants: Sequence[Format], verifier: Verifier) -> list[Running | Check]:
    """Starts an artifact in its runtimes, unless reading it could do harm."""
    path = entry.artifact(name)
    try:
        safety.check(path, variants[0].reader)
    except (ConfigError, ExportError) as error:
        return [Check(what=name, problem=str(error))]
    return [verifier.start(variant, path, score=False) for variant in variants]


def _checked(name: str, verifier: Verifier, running: Running, expected: Reference) -> Check:
    try:
        verdict = verifier.verdict(running, expected)
        return Check(what=name, detail=f"{verdict.runtime}: differs by {verdict.max_abs_diff:.1e}")
    except ExportError as error:
        return Check(what=name, problem=str(error))


def _interface(entry: Entry) -> Interface:
    """Returns the inputs and outputs of an entry, with what its task says of the scores."""
    interface = interface_of(entry.manifest)
    task = task_of(entry.manifest["metadata"])
    target = target_of(entry.manifest)
    if target is None:  # a pretrained network, trained for no task
        return interface
    return replace(interface, signature=partial(load_function(task.signature), target=target), known=known_of(task, target))
