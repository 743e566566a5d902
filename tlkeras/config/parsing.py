"""Values of settings that are more than a number or a text: how each is read."""

from __future__ import annotations

import re
from typing import Any

from tlkeras.config.fields import Key
from tlkeras.errors import ConfigError, shown


def freeze_rules(item: Key, value: Any) -> tuple[tuple[str, bool], ...]:
    """Reads a list of (pattern, trainable)."""
    rules = []
    for rule in value if isinstance(value, (list, tuple)) else [value]:
        if not (isinstance(rule, (list, tuple)) and len(rule) == 2 and isinstance(rule[0], str) and isinstance(rule[1], bool)):
            raise ConfigError(
                f"freeze_rules contains {shown(rule)}; expected a list of [pattern, true or false], for example ['block7*', true]"
            )
        rules.append((rule[0], rule[1]))
    return tuple(rules)


def folds_and_repeats(item: Key, value: Any) -> str:
    """Returns `K` or `KxR`, the number of folds and of repeats, as one way to write it.

    Raises:
        ConfigError: for anything else.
    """
    match = re.fullmatch(r"\s*(\d{1,4})(?:\s*[xX×]\s*(\d{1,4}))?\s*", str(value)) if type(value) in (int, str) else None
    count, repeats = (int(match[1]), int(match[2] or 1)) if match else (0, 0)
    if count < 2 or repeats < 1:
        raise ConfigError(f"config key {item.key!r} is {value!r}; expected 2 folds or more, and repeats if any, for example 5 or 10x3")
    return str(count) if repeats == 1 else f"{count}x{repeats}"


BATCH = 32  # examples per step, that the learning rates of the recipes are made for
AUTO = "auto"


def batch_size(item: Key, value: Any) -> int | str:
    """Reads a number, or the word that has it chosen."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if value == AUTO:
        return AUTO
    if type(value) is int:
        return value
    raise ConfigError(f"config key {item.key!r} is {value!r} ({type(value).__name__}); expected int, or {AUTO}")


def named_sizes(options: tuple[str, ...]) -> dict[str, str]:
    """Returns the sizes of a backbone, NAME=VALUE each, as name -> value.

    Raises:
        ConfigError: when one of them has another form.
    """
    parts = [option.partition("=") for option in options]
    if any(not (name and sign and value) for name, sign, value in parts):
        raise ConfigError(f"backbone_options is {','.join(options)!r}; expected NAME=VALUE, comma-separated")
    return {name.strip(): value.strip() for name, _, value in parts}
