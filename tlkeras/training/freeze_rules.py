"""Freeze rules as text and data: parsed, matched and checked without Keras.

A rule is `(pattern, trainable)`. A pattern is a shell-style pattern on the layer's path (`block7*`,
`encoder/*/dense`) or, after `section:`, on the name of its section (`section:block7`). Rules are ordered, the first
match wins, every layer must be matched and every rule must be used.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

from tlkeras.backbones.sections import ADAPTER, HEAD
from tlkeras.errors import ConfigError, FreezeError, near

Rule = tuple[str, bool]

PREFIXES = ("section", "stage")  # the second was written by early versions of 0.1


def parse(spec: str, sections: Sequence[str]) -> tuple[Rule, ...]:
    """Turns an `--unfreeze` value into rules; the head always trains, and with it a channel adapter.

    Args:
        spec: `none`, `all`, `last:N` (the last N sections), `from:SECTION` (it and all above), or
            layer-path patterns, comma-separated.
        sections: the backbone's section names, from input to output.

    Raises:
        ConfigError: for a section or a number that the backbone does not have.

    Example:
        >>> parse("last:1", ["stem", "block1"])
        (('section:block1', True), ('section:head', True), ('*', False))
    """
    if spec == "all":
        return (("*", True),)
    new = [f"section:{name}" for name in (ADAPTER, HEAD) if name == HEAD or name in sections]
    return (*((pattern, True) for pattern in dict.fromkeys([*_unfrozen(spec, sections), *new])), ("*", False))


def _unfrozen(spec: str, sections: Sequence[str]) -> list[str]:
    kind, _, value = spec.partition(":")
    if spec == "none":
        return []
    if kind == "last":
        if not value.isdigit() or not 1 <= int(value) <= len(sections):
            raise ConfigError(f"unfreeze is {spec!r}; this backbone has {len(sections)} sections, expected last:1 to last:{len(sections)}")
        return [f"section:{name}" for name in sections[-int(value) :]]
    if kind == "from":
        if value not in sections:
            raise ConfigError(f"unfreeze is {spec!r}; no section {value!r} in this backbone; {near(value, sections)}")
        return [f"section:{name}" for name in sections[list(sections).index(value) :]]
    return [part.strip() for part in spec.split(",") if part.strip()]


def matches(pattern: str, path: str, section: str) -> bool:
    """Whether a pattern is that of a layer, by its path or by its section."""
    name = _section_pattern(pattern)
    return fnmatch.fnmatchcase(path, pattern) if name is None else fnmatch.fnmatchcase(section, name)


def _section_pattern(pattern: str) -> str | None:
    """Returns the pattern for names of sections that follows the prefix, or None for a pattern for paths."""
    prefix, sign, name = pattern.partition(":")
    return name if sign and prefix in PREFIXES else None


def resolve(paths: Mapping[str, str], rules: Sequence[Rule]) -> dict[str, Rule]:
    """Returns, for each layer path, the rule that applies to it.

    Args:
        paths: layer path -> section name ("" for none), from input to output.
        rules: ordered `(pattern, trainable)`.

    Raises:
        FreezeError: when a layer has no rule or a rule applies to no layer.
    """
    taken: dict[str, Rule] = {}
    used: set[int] = set()
    for path, section in paths.items():
        for index, rule in enumerate(rules):
            if matches(rule[0], path, section):
                taken[path] = rule
                used.add(index)
                break
    missed = [path for path in paths if path not in taken]
    if missed:
        raise FreezeError(f"no freeze rule for {len(missed)} layers, the first is {missed[0]!r}; end the rules with ['*', true or false]")
    for index, (pattern, _) in enumerate(rules):
        if index not in used:
            raise FreezeError(_idle(pattern, paths))
    return taken


def _idle(pattern: str, paths: Mapping[str, str]) -> str:
    name = _section_pattern(pattern)
    if name is not None:
        return f"freeze rule {pattern!r} applies to no layer; {near(name, set(paths.values()) - {''})}"
    hit = [path for path, section in paths.items() if matches(pattern, path, section)]
    if hit:
        return f"freeze rule {pattern!r} applies to no layer: earlier rules apply to all {len(hit)} layers that it matches; remove it or move it up"
    return f"freeze rule {pattern!r} matches no layer; {near(pattern.strip('*'), paths)}"
