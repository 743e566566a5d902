"""Labels that a person corrected in the table of a review, applied to the examples of a source; the source itself is never changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlkeras.data import sheets
from tlkeras.data.examples import Dataset, Issue
from tlkeras.data.target import Target
from tlkeras.errors import DataError, near

EXAMPLE, CORRECTED = "example", "corrected"  # the columns that are read; what else the table has is for the person
DROP = "(drop)"  # leaves an example out
NOTHING = "(none)"  # stands for a set without labels, since an empty cell changes nothing


def relabelled(dataset: Dataset, path: str | None) -> Dataset:
    """Returns the examples with the corrections of a table; the same examples where there is no table.

    Args:
        dataset: the examples.
        path: of a CSV with the columns `example` and `corrected`. An empty cell changes nothing.

    Raises:
        DataError: for a table that cannot be read, or examples or labels in it that the dataset does not have.
    """
    if path is None:
        return dataset
    corrections = _corrections(path, _read(path), dataset)
    dropped = {example for example, text in corrections.items() if text == DROP}
    values = {example: _value(path, example, text, dataset.target) for example, text in corrections.items() if text != DROP}
    examples = tuple(
        replace(example, label=values.get(example.id, example.label)) for example in dataset.examples if example.id not in dropped
    )
    if not examples:
        raise DataError(f"relabel {path!r} leaves out every example of {dataset.name}; expected corrections of some of them")
    changed = sum(values[example.id] != example.label for example in dataset.examples if example.id in values)
    reason = f"{changed:,} labels corrected, {len(dropped):,} examples left out, {len(values) - changed:,} labels confirmed"
    note = Issue(kind="relabelled", path=Path(path).name, reason=reason, action="reported")
    return replace(dataset, examples=examples, notes=(*dataset.notes, note))


def _read(path: str) -> list[dict[str, str]]:
    try:
        rows = sheets.read_sheet(Path(path).expanduser())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())[:160]
        raise DataError(f"cannot read relabel {path!r}: {reason}; expected the CSV that `tlkeras review` writes, saved as UTF-8") from error
    missing = [name for name in (EXAMPLE, CORRECTED) if rows and name not in rows[0]]
    if not rows or missing:
        has = f"the columns {', '.join(rows[0])}" if rows else "no rows"
        raise DataError(f"relabel {path!r} has {has}; expected the columns {EXAMPLE} and {CORRECTED}")
    return rows


def _corrections(path: str, rows: Iterable[Mapping[str, str]], dataset: Dataset) -> dict[str, str]:
    """Returns example -> what its cell says, where it says anything.

    Raises:
        DataError: for examples that are not there, and for two cells that contradict each other.
    """
    known = {example.id for example in dataset.examples}
    corrections: dict[str, str] = {}
    unknown = []
    for row in rows:
        example, text = row.get(EXAMPLE, ""), row.get(CORRECTED, "").strip()
        if not text:
            continue
        if example not in known:
            unknown.append(example)
        elif corrections.setdefault(example, text) != text:
            raise DataError(f"relabel {path!r} corrects {example!r} to {corrections[example]!r} and to {text!r}; keep one of them")
    if unknown:
        raise DataError(
            f"relabel {path!r} corrects {len(unknown):,} examples that {dataset.name} does not have; the first is {unknown[0]!r}; "
            f"{near(unknown[0], known)}"
        )
    if not corrections:
        raise DataError(
            f"relabel {path!r} corrects nothing: its column {CORRECTED!r} is empty; write the right label there, or {DROP} to leave an example out"
        )
    return corrections


def _value(path: str, example: str, text: str, target: Target) -> Any:
    """Returns the value of a target that a cell says."""
    try:
        value = target.parsed("" if text == NOTHING else text)
        strange = next((label for label in target.tally(value) if label not in target.labels), None)
    except ValueError as error:
        raise DataError(f"relabel {path!r} corrects {example!r} to {text!r}; {error}") from error
    if strange is not None:
        raise DataError(f"relabel {path!r} corrects {example!r} to {strange!r}, which is no label; {near(strange, target.labels)}")
    return target.canonical(value)
