"""Compares the weights in a file with a network: both as lists of entries, their differences, and the message about them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkeras.errors import WeightsMismatch

SHOWN = 10  # lines of differences; a wrong network differs in hundreds


def _as_it_is(value: np.ndarray) -> np.ndarray:
    return value


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One array, of a file or of a network.

    Args:
        name: `layer/variable`, for messages.
        shape: its shape.
        read: returns the values of an entry in a file: nothing is read before everything fits.
        change: from the file's order of axes to the variable's.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray] | None = None
    change: Callable[[np.ndarray], np.ndarray] = _as_it_is


@dataclass(frozen=True, kw_only=True)
class Group:
    """The arrays of one layer."""

    name: str
    entries: tuple[Entry, ...]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of its arrays."""
        return tuple(one.shape for one in self.entries)


def by_name(network: Mapping[str, Entry], checkpoint: Mapping[str, Entry]) -> list[str]:
    """Returns what differs between two tables, one line each: first missing entries, then other shapes, then surplus entries."""
    lines = [_missing(entry) for name, entry in network.items() if name not in checkpoint]
    lines += [
        _other(entry, checkpoint[name]) for name, entry in network.items() if name in checkpoint and checkpoint[name].shape != entry.shape
    ]
    return lines + [_extra(entry) for name, entry in checkpoint.items() if name not in network]


def by_order(network: Sequence[Group], checkpoint: Sequence[Group]) -> list[str]:
    """Returns what differs between two lists of layers, which are aligned by their shapes: their names may differ."""
    lines: list[str] = []
    matcher = difflib.SequenceMatcher(None, [group.shapes for group in network], [group.shapes for group in checkpoint], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        if b - a == d - c:  # as many layers: another shape here, rather than one less and one more
            for ours, theirs in zip(network[a:b], checkpoint[c:d], strict=True):
                lines += _within(ours, theirs)
        else:
            lines += [_missing(entry) for group in network[a:b] for entry in group.entries]
            lines += [_extra(entry) for group in checkpoint[c:d] for entry in group.entries]
    return lines


def _within(ours: Group, theirs: Group) -> list[str]:
    if len(ours.entries) != len(theirs.entries):
        return [*map(_missing, ours.entries), *map(_extra, theirs.entries)]
    return [_other(a, b) for a, b in zip(ours.entries, theirs.entries, strict=True) if a.shape != b.shape]


def _missing(entry: Entry) -> str:
    return f"- {entry.name} {entry.shape}  only in the backbone"


def _extra(entry: Entry) -> str:
    return f"+ {entry.name} {entry.shape}  only in the file"


def _other(ours: Entry, theirs: Entry) -> str:
    return f"! {ours.name} {ours.shape}  in the file {theirs.name} {theirs.shape}"


def check(file: str, backbone: str, lines: Sequence[str]) -> None:
    """Raises unless there are no differences.

    Raises:
        WeightsMismatch: one line, and the first differences below it.
    """
    if not lines:
        return
    rest = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    raise WeightsMismatch(
        f"weights file {file!r} does not fit {backbone}, a backbone without classifier: {len(lines)} difference{'s' * (len(lines) > 1)}; "
        "choose the --backbone that the file was made from\n" + "\n".join([f"  {line}" for line in lines[:SHOWN]] + rest)
    )


def fill(pairs: Iterable[tuple[Any, Entry, Entry]], layers: Iterable[Any]) -> None:
    """Assigns the values to the variables.

    Args:
        pairs: (variable, how the network wants it, how the file has it), of equal shapes.
        layers: all layers of the network.

    Raises:
        WeightsMismatch: when a file contains values that are not numbers.
    """
    for variable, ours, theirs in pairs:
        if theirs.read is None:
            raise ValueError(f"{theirs.name} cannot be read")
        value = ours.change(np.asarray(theirs.read()))
        if value.dtype.kind not in "fiub" and value.dtype.name != "bfloat16":
            raise WeightsMismatch(f"entry {theirs.name!r} of the weights file is {value.dtype}; expected numbers")
        variable.assign(value.astype(variable.dtype))
    for layer in layers:
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()  # Normalization's call uses copies of its weights
