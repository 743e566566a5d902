"""Freeze rules as text and data: parsed, matched and checked without Keras.

A rule is `(pattern, trainable)`. A pattern is a shell-style pattern on the layer's path (`block7*`,
`encoder/*/dense`) or, after `stage:`, on the name of its stage (`stage:block7`). Rules are ordered, the first
match wins, every layer must be matched and every rule must be used.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

from tlkeras.errors import ConfigError, FreezeError, near

Rule = tuple[str, bool]

HEAD = "head"  # the stage of the head's layers
ADAPTER = "adapter"  # the stage of a channel adapter that has weights


def parse(spec: str, stages: Sequence[str]) -> tuple[Rule, ...]:
    """Turns an `--unfreeze` value into rules; the head always trains, and with it a channel adapter.

    Args:
        spec: `none`, `all`, `last:N` (the last N stages), `from:STAGE` (it and all above), or
            layer-path patterns, comma-separated.
        stages: the backbone's stage names, from input to output.

    Raises:
        ConfigError: for a stage or a number that the backbone does not have.

    Example:
        >>> parse("last:1", ["stem", "block1"])
        (('stage:block1', True), ('stage:head', True), ('*', False))
    """
    if spec == "all":
        return (("*", True),)
    new = [f"stage:{name}" for name in (ADAPTER, HEAD) if name == HEAD or name in stages]
    return (*((pattern, True) for pattern in dict.fromkeys([*_unfrozen(spec, stages), *new])), ("*", False))


def _unfrozen(spec: str, stages: Sequence[str]) -> list[str]:
    kind, _, value = spec.partition(":")
    if spec == "none":
        return []
    if kind == "last":
        if not value.isdigit() or not 1 <= int(value) <= len(stages):
            raise ConfigError(f"unfreeze is {spec!r}; this backbone has {len(stages)} stages, expected last:1 to last:{len(stages)}")
        return [f"stage:{name}" for name in stages[-int(value) :]]
    if kind == "from":
        if value not in stages:
            raise ConfigError(f"unfreeze is {spec!r}; no stage {value!r} in this backbone; {near(value, stages)}")
        return [f"stage:{name}" for name in stages[list(stages).index(value) :]]
    return [part.strip() for part in spec.split(",") if part.strip()]


def matches(pattern: str, path: str, stage: str) -> bool:
    if pattern.startswith("stage:"):
        return fnmatch.fnmatchcase(stage, pattern.removeprefix("stage:"))
    return fnmatch.fnmatchcase(path, pattern)


def resolve(paths: Mapping[str, str], rules: Sequence[Rule]) -> dict[str, Rule]:
    """Returns, for each layer path, the rule that applies to it.

    Args:
        paths: layer path -> stage name ("" for none), from input to output.
        rules: ordered `(pattern, trainable)`.

    Raises:
        FreezeError: when a layer has no rule or a rule applies to no layer.
    """
    taken: dict[str, Rule] = {}
    used: set[int] = set()
    for path, stage in paths.items():
        for index, rule in enumerate(rules):
            if matches(rule[0], path, stage):
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
    if pattern.startswith("stage:"):
        return f"freeze rule {pattern!r} applies to no layer; {near(pattern.removeprefix('stage:'), set(paths.values()) - {''})}"
    hit = [path for path, stage in paths.items() if matches(pattern, path, stage)]
    if hit:
        return f"freeze rule {pattern!r} applies to no layer: earlier rules apply to all {len(hit)} layers that it matches; remove it or move it up"
    return f"freeze rule {pattern!r} matches no layer; {near(pattern.strip('*'), paths)}"
