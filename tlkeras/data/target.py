"""What is to be predicted for an example: a class, a set of labels, numbers, or several of these by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tlkeras.errors import DataError
from tlkeras.registry import Registry

SEPARATOR = "|"  # between labels, where a set is written as one text
DEFAULT = "class"  # also of what was written before there were other kinds


@dataclass(frozen=True, kw_only=True)
class Target:
    """One thing to predict, or several by name.

    The value of an example is a text for a class, a tuple of texts for a set of labels, a tuple of floats for numbers, and for several
    a tuple with the value of each, in their order.

    Args:
        kind: name in `KINDS`.
        labels: the label map: names of the classes, of the labels of sets, or of the numbers. For several, `NAME:LABEL` of all of them.
        name: what the target is called: its column, or `label`.
        parts: of several, each of them; else empty.
        facts: what a task has learnt about it and its artifacts need: thresholds, mean and standard deviation; values as in JSON.
    """

    kind: str
    labels: tuple[str, ...]
    name: str = "label"
    parts: tuple[Target, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def several(cls, parts: Sequence[Target], facts: Mapping[str, Any] | None = None) -> Target:
        """Returns the target of several things at once."""
        labels = tuple(f"{part.name}:{label}" for part in parts for label in part.labels)
        return cls(kind="several", labels=labels, parts=tuple(parts), facts=facts or {})

    def with_facts(self, **facts: Any) -> Target:
        """Returns the target with further facts."""
        return replace(self, facts={**self.facts, **facts})

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """Returns what a model is trained to answer: one row for each example; see `Kind.encode`."""
        return KINDS.get(self.kind).encode(self, values)

    def strata(self, values: Sequence[Any]) -> np.ndarray:
        """Returns what splits are stratified by; see `Kind.strata`."""
        return KINDS.get(self.kind).strata(self, values)

    def text(self, value: Any) -> str:
        """Returns the value of an example in one text, as reports and tables write it."""
        return KINDS.get(self.kind).text(self, value)

    @property
    def described(self) -> str:
        """How many of what there are, in words."""
        return f"{len(self.parts or self.labels)} {KINDS.get(self.kind).noun}"

    @property
    def some_value(self) -> Any:
        """A value that an example may have."""
        return KINDS.get(self.kind).some_value(self)

    def to_dict(self) -> dict[str, Any]:
        """Returns the target as JSON holds it."""
        parts = {"parts": [part.to_dict() for part in self.parts]} if self.parts else {"labels": list(self.labels)}
        return {"kind": self.kind, "name": self.name, **parts, **({"facts": dict(self.facts)} if self.facts else {})}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Target:
        """Returns the target that `to_dict` wrote.

        Raises:
            DataError: for a kind of target that is not known.
        """
        kind, facts = content.get("kind"), content.get("facts", {})
        if kind not in KINDS:
            raise DataError(f"there is no kind of target {kind!r}; expected {', '.join(KINDS.names())}; it was written by a later version")
        if "parts" in content:
            return cls.several([cls.from_dict(part) for part in content["parts"]], facts)
        return cls(kind=str(kind), labels=tuple(content["labels"]), name=content.get("name", "label"), facts=facts)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of target.

    Args:
        name: short name.
        noun: what the entries of the label map are called.
        encode: (target, values) -> rows (n,) or (n, columns): class ids int32 (n,); 0 or 1 for each label, float32 (n, labels);
            numbers float32 (n, numbers); for several, the columns of all parts one after the other, float32.
        strata: (target, values) -> int (n,), the stratum of each example; or uint8 (n, labels), where it is in several.
        text: (target, value) -> the value in one text.
        some_value: target -> a value that an example may have.
    """

    name: str
    noun: str
    encode: Callable[[Target, Sequence[Any]], np.ndarray]
    strata: Callable[[Target, Sequence[Any]], np.ndarray]
    text: Callable[[Target, Any], str]
    some_value: Callable[[Target], Any]


def _class_ids(target: Target, values: Sequence[str]) -> np.ndarray:
    ids = {label: index for index, label in enumerate(target.labels)}
    return np.array([ids[value] for value in values], "int32")


def _label_sets(target: Target, values: Sequence[Sequence[str]], dtype: str = "float32") -> np.ndarray:
    ids = {label: index for index, label in enumerate(target.labels)}
    rows = np.zeros((len(values), len(target.labels)), dtype)
    for row, labels in zip(rows, values, strict=True):
        row[[ids[label] for label in labels]] = 1
    return rows


def _numbers(target: Target, values: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(values, "float32").reshape(len(values), len(target.labels))


def by_part(target: Target, values: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Returns the values of each part of several targets."""
    return [[value[index] for value in values] for index in range(len(target.parts))]


def _columns(target: Target, values: Sequence[tuple[Any, ...]]) -> np.ndarray:
    parts = [np.asarray(part.encode(column), "float32") for part, column in zip(target.parts, by_part(target, values), strict=True)]
    return np.concatenate([part.reshape(len(values), -1) for part in parts], axis=1)


def _several_strata(target: Target, values: Sequence[tuple[Any, ...]]) -> np.ndarray:
    strata = [part.strata(column) for part, column in zip(target.parts, by_part(target, values), strict=True)]
    return np.concatenate([np.eye(part.max(initial=0) + 1, dtype="uint8")[part] if part.ndim == 1 else part for part in strata], axis=1)


def number_text(value: float) -> str:
    """Returns a number with at most 6 digits."""
    return f"{value:.6g}"


KINDS: Registry[Kind] = Registry(
    "kind of target",
    [
        Kind(
            name="class",
            noun="classes",
            encode=_class_ids,
            strata=_class_ids,
            text=lambda target, value: str(value),
            some_value=lambda target: target.labels[0],
        ),
        Kind(
            name="labels",
            noun="labels",
            encode=_label_sets,
            strata=lambda target, values: _label_sets(target, values, "uint8"),
            text=lambda target, value: SEPARATOR.join(value),
            some_value=lambda target: (),
        ),
        Kind(
            name="numbers",
            noun="numbers",
            encode=_numbers,
            strata=lambda target, values: np.zeros(len(values), "int32"),
            text=lambda target, value: " ".join(map(number_text, value)),
            some_value=lambda target: (0.0,) * len(target.labels),
        ),
        Kind(
            name="several",
            noun="targets",
            encode=_columns,
            strata=_several_strata,
            text=lambda target, value: ", ".join(f"{part.name}={part.text(own)}" for part, own in zip(target.parts, value, strict=True)),
            some_value=lambda target: tuple(part.some_value for part in target.parts),
        ),
    ],
)
