"""What is to be predicted for an example: a class, a set of labels, numbers, or several of these by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tlkeras.data.stratify import quantiles
from tlkeras.errors import DataError, printable, shown
from tlkeras.files import misfit
from tlkeras.registry import Registry

SEPARATOR = "|"  # between labels, where a set is written as one text
UNNAMED = "label"  # what a target is called that has no column
DEFAULT = "class"  # also of what was written before there were other kinds
WRITTEN = {"kind": str, "name?": str, "labels?": [str], "facts?": {...: object}}  # the shape of a target in JSON; see `files.misfit`


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
    name: str = UNNAMED
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

    def fold_strata(self, values: Sequence[Any]) -> np.ndarray:
        """Returns what the folds of a cross-validation are stratified by; see `Kind.fold_strata`."""
        kind = KINDS.get(self.kind)
        return (kind.fold_strata or kind.strata)(self, values)

    def parsed(self, text: str) -> Any:
        """Returns the value that `text` wrote, or a person in its way.

        Raises:
            ValueError: for a text that is none.
        """
        return KINDS.get(self.kind).parse(self, text)

    def text(self, value: Any) -> str:
        """Returns the value of an example in one text, as reports and tables write it."""
        return KINDS.get(self.kind).text(self, value)

    def tally(self, value: Any) -> tuple[str, ...]:
        """Returns the entries of the label map that the value of an example counts for; see `Kind.tally`."""
        return KINDS.get(self.kind).tally(self, value)

    def accepts(self, value: Any) -> bool:
        """Whether a value is of this kind; its labels may be others."""
        return KINDS.get(self.kind).accepts(self, value)

    def renamed(self, value: Any, rename: Callable[[str], str]) -> Any:
        """Returns a value with each label in it renamed."""
        return KINDS.get(self.kind).renamed(self, value, rename)

    def canonical(self, value: Any) -> Any:
        """Returns the one way to write a value: labels of a set stand in the order of the label map."""
        return KINDS.get(self.kind).canonical(self, value)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that hold it in tables, where each of its entries or parts has a column of its own."""
        return KINDS.get(self.kind).columns(self)

    @property
    def entry(self) -> str:
        """What one entry of the label map is called."""
        return KINDS.get(self.kind).entry

    @property
    def described(self) -> str:
        """How many of what there are, in words."""
        count = len(self.parts or self.labels)
        return f"{count} {self.entry if count == 1 else KINDS.get(self.kind).noun}"

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
            DataError: for a kind of target that is not known, and for what `to_dict` did not write.
        """
        problem = misfit(content, {**WRITTEN, "parts?": [{**WRITTEN, "parts?": None}]}, "target")
        if problem:
            raise DataError(f"what is to be predicted is not as tlkeras writes it: {printable(problem)}; restore it")
        kind, facts = content["kind"], content.get("facts", {})
        if kind not in KINDS:
            raise DataError(
                f"there is no kind of target {shown(kind)}; expected {', '.join(KINDS.names())}; it was written by a later version"
            )
        if "parts" in content:
            return cls.several([cls.from_dict(part) for part in content["parts"]], facts)
        return cls(kind=kind, labels=tuple(content.get("labels", ())), name=content.get("name", UNNAMED), facts=facts)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of target.

    Args:
        name: short name.
        noun: what the entries of the label map are called.
        entry: what one of them is called.
        encode: (target, values) -> rows (n,) or (n, columns): class ids int32 (n,); 0 or 1 for each label, float32 (n, labels);
            numbers float32 (n, numbers); for several, the columns of all parts one after the other, float32.
        strata: (target, values) -> int (n,), the stratum of each example; or uint8 (n, labels), where it is in several.
        text: (target, value) -> the value in one text.
        parse: (target, text) -> the value, the inverse of `text`; raises ValueError. Its labels may be others.
        some_value: target -> a value that an example may have.
        tally: (target, value) -> the entries of the label map that it counts for; none for numbers.
        accepts: (target, value) -> whether a value is of this kind; its labels may be others.
        renamed: (target, value, function) -> the value with the function applied to each label.
        canonical: (target, value) -> the one way to write it.
        columns: target -> names of the columns that hold it in tables, where it has several.
        read: `"module:function"`: (columns of cells, names of the rows, request) -> `values.Values`.
        complete: `"module:function"`: (name of the source, target without label maps, values) -> the target with them.
        figures: `"module:function"`: (target, values, split of each) -> entry -> split -> what the audit says of it.
        issues: `"module:function"`: (target, values, facts about their examples) -> what the audit finds about them.
        of_labels: whether a value is made of labels: one, or several.
        fold_strata: as `strata`, for folds, which need not stay where they are when examples are added; `strata` where None.
    """

    name: str
    noun: str
    entry: str
    encode: Callable[[Target, Sequence[Any]], np.ndarray]
    strata: Callable[[Target, Sequence[Any]], np.ndarray]
    text: Callable[[Target, Any], str]
    parse: Callable[[Target, str], Any]
    some_value: Callable[[Target], Any]
    tally: Callable[[Target, Any], tuple[str, ...]]
    accepts: Callable[[Target, Any], bool]
    renamed: Callable[[Target, Any, Callable[[str], str]], Any]
    canonical: Callable[[Target, Any], Any]
    columns: Callable[[Target], tuple[str, ...]]
    read: str
    complete: str
    figures: str
    issues: str
    of_labels: bool = False
    fold_strata: Callable[[Target, Sequence[Any]], np.ndarray] | None = None


def _class_ids(target: Target, values: Sequence[str]) -> np.ndarray:
    ids = {label: index for index, label in enumerate(target.labels)}
    return np.array([ids[value] for value in values], "int32")


def _label_sets(target: Target, values: Sequence[Sequence[str]], dtype: str = "float32") -> np.ndarray:
    ids = {label: index for index, label in enumerate(target.labels)}
    rows = np.zeros((len(values), len(target.labels)), dtype)
    for row, labels in zip(rows, values, strict=True):
        row[[ids[label] for label in labels]] = 1
    return rows


def _in_order(target: Target, labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(set(labels), key={label: index for index, label in enumerate(target.labels)}.__getitem__))


def _numbers(target: Target, values: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(values, "float32").reshape(len(values), len(target.labels))


def by_part(target: Target, values: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Returns the values of each part of several targets."""
    return [[value[index] for value in values] for index in range(len(target.parts))]


def _columns(target: Target, values: Sequence[tuple[Any, ...]]) -> np.ndarray:
    parts = [np.asarray(part.encode(column), "float32") for part, column in zip(target.parts, by_part(target, values), strict=True)]
    return np.concatenate([part.reshape(len(values), -1) for part in parts], axis=1)


def _several_strata(
    target: Target, values: Sequence[tuple[Any, ...]], of_part: Callable[[Target, Sequence[Any]], np.ndarray] = Target.strata
) -> np.ndarray:
    strata = [of_part(part, column) for part, column in zip(target.parts, by_part(target, values), strict=True)]
    return np.concatenate([np.eye(part.max(initial=0) + 1, dtype="uint8")[part] if part.ndim == 1 else part for part in strata], axis=1)


def _each(target: Target, value: tuple[Any, ...]) -> list[tuple[Target, Any]]:
    """Returns each part of several targets with its value."""
    return list(zip(target.parts, value, strict=True))


def _is_tuple(value: Any, types: type | tuple[type, ...]) -> bool:
    return isinstance(value, tuple) and all(isinstance(entry, types) for entry in value)


def _parsed_numbers(target: Target, text: str) -> tuple[float, ...]:
    numbers = tuple(float(part) for part in text.split())
    if len(numbers) != len(target.labels) or not all(map(np.isfinite, numbers)):
        raise ValueError(f"expected {len(target.labels)} numbers with blanks between them")
    return numbers


def _parsed_parts(target: Target, text: str) -> tuple[Any, ...]:
    pattern = ", ".join(f"{re.escape(part.name)}=(.*)" for part in target.parts)
    match = re.fullmatch(pattern, text, re.DOTALL)
    if match is None:
        raise ValueError(f"expected {', '.join(f'{part.name}=…' for part in target.parts)}")
    return tuple(part.parsed(own) for part, own in zip(target.parts, match.groups(), strict=True))


def number_text(value: float) -> str:
    """Returns a number with at most 6 digits."""
    return f"{value:.6g}"


KINDS: Registry[Kind] = Registry(
    "kind of target",
    [
        Kind(
            name="class",
            noun="classes",
            entry="class",
            encode=_class_ids,
            strata=_class_ids,
            text=lambda target, value: str(value),
            parse=lambda target, text: text,
            some_value=lambda target: target.labels[0],
            tally=lambda target, value: (value,),
            accepts=lambda target, value: isinstance(value, str),
            renamed=lambda target, value, rename: rename(value),
            canonical=lambda target, value: value,
            columns=lambda target: (),
            read="tlkeras.data.kind_readers:read_class",
            complete="tlkeras.data.label_maps:complete_class",
            figures="tlkeras.data.audit_targets:counts",
            issues="tlkeras.data.audit_targets:lopsided",
            of_labels=True,
        ),
        Kind(
            name="labels",
            noun="labels",
            entry="label",
            encode=_label_sets,
            strata=lambda target, values: _label_sets(target, values, "uint8"),
            text=lambda target, value: SEPARATOR.join(value),
            parse=lambda target, text: tuple(part.strip() for part in text.split(SEPARATOR) if part.strip()),
            some_value=lambda target: (),
            tally=lambda target, value: value,
            accepts=lambda target, value: _is_tuple(value, str),
            renamed=lambda target, value, rename: tuple(map(rename, value)),
            canonical=_in_order,
            columns=lambda target: target.labels,
            read="tlkeras.data.kind_readers:read_labels",
            complete="tlkeras.data.label_maps:complete_labels",
            figures="tlkeras.data.audit_targets:counts",
            issues="tlkeras.data.audit_targets:unusual_labels",
            of_labels=True,
        ),
        Kind(
            name="numbers",
            noun="numbers",
            entry="number",
            encode=_numbers,
            strata=lambda target, values: np.zeros(len(values), "int32"),
            text=lambda target, value: " ".join(map(number_text, value)),
            parse=_parsed_numbers,
            fold_strata=lambda target, values: quantiles(_numbers(target, values)),
            some_value=lambda target: (0.0,) * len(target.labels),
            tally=lambda target, value: (),
            accepts=lambda target, value: _is_tuple(value, (int, float)) and len(value) == len(target.labels),
            renamed=lambda target, value, rename: value,
            canonical=lambda target, value: tuple(map(float, value)),
            columns=lambda target: target.labels,
            read="tlkeras.data.kind_readers:read_numbers",
            complete="tlkeras.data.label_maps:complete_numbers",
            figures="tlkeras.data.audit_targets:ranges",
            issues="tlkeras.data.audit_targets:unusual_numbers",
        ),
        Kind(
            name="several",
            noun="targets",
            entry="label",
            encode=_columns,
            strata=_several_strata,
            text=lambda target, value: ", ".join(f"{part.name}={part.text(own)}" for part, own in zip(target.parts, value, strict=True)),
            parse=_parsed_parts,
            fold_strata=lambda target, values: _several_strata(target, values, Target.fold_strata),
            some_value=lambda target: tuple(part.some_value for part in target.parts),
            tally=lambda target, value: tuple(f"{part.name}:{entry}" for part, own in _each(target, value) for entry in part.tally(own)),
            accepts=lambda target, value: (
                isinstance(value, tuple)
                and len(value) == len(target.parts)
                and all(part.accepts(own) for part, own in _each(target, value))
            ),
            renamed=lambda target, value, rename: tuple(part.renamed(own, rename) for part, own in _each(target, value)),
            canonical=lambda target, value: tuple(part.canonical(own) for part, own in _each(target, value)),
            columns=lambda target: tuple(part.name for part in target.parts),
            read="tlkeras.data.kind_readers:read_several",
            complete="tlkeras.data.label_maps:complete_several",
            figures="tlkeras.data.audit_targets:figures_of_parts",
            issues="tlkeras.data.audit_targets:issues_of_parts",
        ),
    ],
)
