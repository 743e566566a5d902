"""Flags made from the config keys: each key is declared once, in `tlkeras.config`."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import typer

from tlkeras.cli.complete import FLAGS
from tlkeras.config import ExportModelConfig, FlatConfig, Key, RunConfig, keys, read_yaml

# Keys for config files and Python only: lists of pairs, and what no command line has asked for.
NOT_FLAGS: Mapping[type[FlatConfig], tuple[str, ...]] = {RunConfig: ("freeze_rules", "backbone_reason"), ExportModelConfig: ("seed",)}


def flag(item: Key) -> inspect.Parameter:
    """Returns the command-line parameter of a config key; None, or an empty list, means the flag was not given."""
    kind = _flag_type(item)
    name = item.flag or "--" + item.key.replace("_", "-")
    declared = f"{name}/--no-{name.removeprefix('--')}" if kind is bool else name
    text = item.help
    if item.unset or item.default not in (None, ()):
        text += f" [default: {'off' if item.default is False else item.default_text}]"
    metavar = None if kind is bool else item.metavar
    option = typer.Option(None, declared, help=text, show_default=False, metavar=metavar, autocompletion=FLAGS.get(item.key))
    return inspect.Parameter(item.key, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind | None)


def _flag_type(item: Key) -> Any:
    if typing.get_origin(item.value_type) is tuple:
        return list[str] if item.flag else str  # a flag with a name of its own may be repeated
    return item.value_type


def config_option() -> Any:
    """Returns the option `--config FILE.yaml` of a command whose flags are config keys."""
    return typer.Option(None, "--config", help="YAML file with the same keys as the flags; flags win.", metavar="FILE.yaml")


def with_config_flags(config: type[FlatConfig]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command, which accepts `**flags`, one flag for every key of a config.

    The command is called with `flags` holding only the flags that were typed.
    """
    flag_parameters = [flag(item) for item in keys(config) if item.key not in NOT_FLAGS.get(config, ())]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]

        def wrapped(**values: Any) -> None:
            flag_values = {p.name: values.pop(p.name) for p in flag_parameters}
            command(**values, **{name: value for name, value in flag_values.items() if value not in (None, [])})

        parameters = [*flag_parameters, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own)]
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
        wrapped.__doc__ = command.__doc__
        wrapped.__name__ = command.__name__
        return wrapped

    return decorate


def settings_of(path: str | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys of a config file, if any, with the flags that were typed on top."""
    values = read_yaml(path) if path else {}
    return {**{name.replace("-", "_") if isinstance(name, str) else name: value for name, value in values.items()}, **flags}
