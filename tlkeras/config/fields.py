"""The machinery of config keys: how a key is declared, checked and read; how a config is built from flat keys."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tlkeras.errors import ConfigError, near, shown

LARGEST_INT = 2**31 - 1  # of a number without another bound: what counts steps and examples has 32 bits in places
CHARACTERS = "CHARACTERS"  # stands for values that may be blanks


def key(
    default: Any,
    help: str,
    *,
    name: str | None = None,
    unset: str | None = None,
    metavar: str | None = None,
    flag: str | None = None,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
    read: Callable[[Key, Any], Any] | None = None,
) -> Any:
    """Declares a config key as a dataclass field.

    Args:
        default: the value of a key that is not set; None where something else decides.
        help: one sentence, with the unit.
        name: the flat key, where it differs from the field.
        unset: what happens without a value.
        metavar: what stands for the value in help texts.
        flag: the command-line flag, where it differs from the key. Such a flag may be repeated if the key is a list.
        least, most: bounds of numbers.
        choices: the accepted texts.
        read: (key, value) -> value, for values that need more than their type.
    """
    metadata = {"help": help, "key": name, "unset": unset, "metavar": metavar, "flag": flag}
    return field(default=default, metadata={**metadata, "least": least, "most": most, "choices": choices, "read": read})


def like(declared: type, field_name: str, /, **changes: Any) -> Any:
    """Declares a key that another config has too; only what differs is stated.

    Args:
        declared: the config that has the key.
        field_name: its field there.
        changes: arguments of `key` that differ.
    """
    original = declared.__dataclass_fields__[field_name]  # type: ignore[attr-defined]
    metadata = dict(original.metadata)
    values = {"default": original.default, "name": metadata.pop("key"), **metadata}
    return key(**{**values, **changes})


@dataclass(frozen=True, kw_only=True)
class Key:
    """One config key: where its value is held, its type, and how help texts show it.

    Args:
        key: name in YAML files.
        concern: the part of the config that holds it; empty for the config itself.
        field: name of its attribute there.
        type: annotation of the attribute.
        default: value of a key that is not set.
        help: one sentence.
        unset: what happens without a value.
        metavar: what stands for the value in help texts.
        flag: the command-line flag, where it differs from the key.
        read: (key, value) -> value, for values that need more than their type.
    """

    key: str
    concern: str
    field: str
    type: Any
    default: Any
    help: str
    unset: str | None = None
    metavar: str | None = None
    flag: str | None = None
    read: Callable[[Key, Any], Any] | None = None

    @property
    def default_text(self) -> str:
        """The default as help shows it."""
        if self.default in (None, ()):
            return self.unset or "none"
        return ",".join(map(str, self.default)) if isinstance(self.default, tuple) else str(self.default)

    @property
    def value_type(self) -> Any:
        """The type of a value that is set."""
        options = typing.get_args(self.type) if isinstance(self.type, types.UnionType) else (self.type,)
        return next(option for option in options if option is not types.NoneType)

    @property
    def may_be_unset(self) -> bool:
        """Whether None is a value."""
        return isinstance(self.type, types.UnionType) and types.NoneType in typing.get_args(self.type)


class Section:
    """Base of a dataclass of keys: checks bounds and choices when it is built."""

    def __post_init__(self) -> None:
        for item in _own_fields(type(self)):
            check_value(item, getattr(self, item.name))


class FlatConfig:
    """Base of the config of a job: built from flat keys, whole sections, or both.

    A subclass is a frozen dataclass with `init=False`. Its fields are sections, which are dataclasses of keys, and keys.
    """

    def __init__(self, /, **values: Any):
        sections, defaults = sections_of(type(self)), {item.name: item.default for item in _own_fields(type(self))}
        self._fill({name: section() for name, section in sections.items()} | defaults, values)

    def _fill(self, base: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Sets every attribute: that of `base`, changed by whole sections and flat keys among `values`."""
        sections = sections_of(type(self))
        whole = {name: values[name] for name, section in sections.items() if isinstance(values.get(name), section)}
        flat = _by_concern(type(self), {name: value for name, value in values.items() if name not in whole})
        for name in sections:
            object.__setattr__(self, name, dataclasses.replace(whole.get(name, base[name]), **flat.get(name, {})))
        for item in _own_fields(type(self)):
            object.__setattr__(self, item.name, flat.get("", {}).get(item.name, base[item.name]))
            check_value(item, getattr(self, item.name))
        self._check()

    def _check(self) -> None:
        """Rejects values that contradict each other."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds a config from flat keys; unknown keys, wrong types and values out of range are errors.

        Args:
            values: key -> value, keys as in `keys()`; hyphens count as underscores.

        Raises:
            ConfigError: naming the key.
        """
        return cls(**{str(name): value for name, value in values.items()})

    @classmethod
    def merged(cls, config: Any, values: Mapping[str, Any]) -> Self:
        """Returns a config with some flat keys on top.

        Args:
            config: a config, a mapping of flat keys, or None.
            values: flat keys, which win.

        Raises:
            ConfigError: also when `config` is of another type.
        """
        if isinstance(config, cls):
            return config.updated(**values)
        if not (config is None or isinstance(config, Mapping)):
            raise ConfigError(f"received a {type(config).__name__}; expected a {cls.__name__} or a mapping of its keys")
        return cls.from_dict({**(config or {}), **values})

    def to_dict(self) -> dict[str, Any]:
        """Returns the flat keys with their values, as stored in a run's `config.yaml`."""
        return {item.key: _plain(self.value_of(item)) for item in keys(type(self))}

    def value_of(self, item: Key) -> Any:
        """Returns the value that this config has for a key."""
        return getattr(getattr(self, item.concern) if item.concern else self, item.field)

    def updated(self, **values: Any) -> Self:
        """Returns a copy with some flat keys replaced; all other values stay as they are."""
        copy = object.__new__(type(self))
        copy._fill(dict(vars(self)), values)
        return copy


def _own_fields(config: type) -> list[dataclasses.Field[Any]]:
    """Returns the keys that a config holds outside its sections."""
    return [item for item in dataclasses.fields(config) if "help" in item.metadata]


def sections_of(config: type) -> dict[str, type]:
    """Returns the sections of a config: name -> dataclass of keys."""
    hints = typing.get_type_hints(config)
    return {item.name: hints[item.name] for item in dataclasses.fields(config) if "help" not in item.metadata}


def keys(config: type) -> tuple[Key, ...]:
    """Returns every key of a config, in the order they are shown and stored."""
    config_keys = []
    for concern, declared in (*sections_of(config).items(), ("", config)):
        hints = typing.get_type_hints(declared)
        for item in dataclasses.fields(declared):
            if "help" in item.metadata:
                shown = {name: item.metadata[name] for name in ("help", "unset", "metavar", "flag", "read")}
                name = item.metadata["key"] or item.name
                config_keys.append(Key(key=name, concern=concern, field=item.name, type=hints[item.name], default=item.default, **shown))
    return tuple(config_keys)


# === Checks ===


def check_value(item: dataclasses.Field[Any], value: Any) -> None:
    """Checks the bounds and the choices that a key declares.

    Raises:
        ConfigError: naming the key, its value and what was expected.
    """
    least, most, choices = item.metadata["least"], item.metadata["most"], item.metadata["choices"]
    if value is None:
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{item.name} is {value}; expected a finite number")
    if isinstance(value, int) and most is None and abs(value) > LARGEST_INT:
        raise ConfigError(f"{item.name} is {shown(value)}; expected at most {LARGEST_INT:,}")
    if least is not None and not isinstance(value, str) and not (value >= least and (most is None or value <= most)):
        raise ConfigError(f"{item.name} is {shown(value)}; expected {least} or more" + ("" if most is None else f" and at most {most}"))
    if choices and isinstance(value, str) and value not in choices:
        raise ConfigError(f"{item.name} is {shown(value)}; expected {', '.join(choices)}")


# === From values to types ===


def _by_concern(config: type, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sorts flat keys by the section of the config they belong to, each value as its type."""
    table = {item.key: item for item in keys(config)}
    sections: dict[str, dict[str, Any]] = {}
    for raw, value in values.items():
        name = raw.replace("-", "_")
        if name not in table:
            raise ConfigError(f"unknown config key {shown(raw)}; {near(name, table)}")
        item = table[name]
        sections.setdefault(item.concern, {})[item.field] = _typed(item, value)
    return sections


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _typed(item: Key, value: Any) -> Any:
    """Returns `value` as the key's type; an int may stand for a float, a comma-separated text for a tuple."""
    if value is None and item.may_be_unset:
        return None
    expected = item.value_type
    if item.read is not None:
        return item.read(item, value)
    if typing.get_origin(expected) is tuple:
        return _names(item, value)
    if expected is float and isinstance(value, str):
        value = _number(value)  # YAML 1.1 reads 1e-4 as a text
    if expected is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1000:
        return float(value)
    if expected is str and (isinstance(value, Path) or type(value) is int and item.key.endswith("_column")):
        return str(value)  # columns may be numbers
    if expected is str and isinstance(value, str) and not (value if item.metavar == CHARACTERS else value.strip()):
        raise empty(item, value)
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"config key {item.key!r} is {shown(value)}, which contains a zero character; no path and no name does")
    if type(value) is not expected:
        raise ConfigError(f"config key {item.key!r} is {shown(value)} ({type(value).__name__}); expected {expected.__name__}")
    return value


def empty(item: Key, value: Any) -> ConfigError:
    """Returns the error for a value that holds nothing."""
    expected = item.metavar or "a name"
    return ConfigError(
        f"config key {item.key!r} is {value!r}, which is empty; expected {expected}, or leave it out (default: {item.default_text})"
    )


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _names(item: Key, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        if not value.strip(" ,"):
            raise empty(item, value)
        value = [part.strip() for part in value.split(",")]
    elif isinstance(value, (list, tuple)) and any(isinstance(part, str) and not part.strip() for part in value):
        raise empty(item, value)
    if not isinstance(value, (list, tuple)) or not all(isinstance(part, str) for part in value):
        raise ConfigError(f"config key {item.key!r} is {shown(value)}; expected names, comma-separated or as a list")
    return tuple(dict.fromkeys(part for part in value if part and part != "none"))
