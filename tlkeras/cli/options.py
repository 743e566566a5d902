"""Flags made from the config keys: each key is declared once, in `tlkeras.config`."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import typer

from tlkeras.cli.complete import FLAGS
from tlkeras.config import Key, keys

NOT_FLAGS = ("freeze_rules",)  # lists of pairs are for config files


def flag(one: Key) -> inspect.Parameter:
    """Returns the command-line parameter of a config key; None means the flag was not given."""
    kind = _flag_type(one)
    name = "--" + one.key.replace("_", "-")
    declared = f"{name}/--no-{one.key.replace('_', '-')}" if kind is bool else name
    text = f"{one.help} [default: {'off' if one.default is False else one.default_text}]"
    metavar = None if kind is bool else one.metavar
    option = typer.Option(None, declared, help=text, show_default=False, metavar=metavar, autocompletion=FLAGS.get(one.key))
    return inspect.Parameter(one.key, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind | None)


def _flag_type(one: Key) -> Any:
    options = typing.get_args(one.type) if isinstance(one.type, types.UnionType) else (one.type,)
    wanted = next(option for option in options if option is not types.NoneType)
    return str if typing.get_origin(wanted) is tuple else wanted


def with_config_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command, which accepts `**given`, one flag for every config key.

    The command is called with `given` holding only the flags that were typed.
    """
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    flags = [flag(one) for one in keys() if one.key not in NOT_FLAGS]

    def wrapped(**values: Any) -> None:
        given = {p.name: values.pop(p.name) for p in flags}
        command(**values, **{name: value for name, value in given.items() if value is not None})

    parameters = [*flags, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own)]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    wrapped.__doc__ = command.__doc__
    wrapped.__name__ = command.__name__
    return wrapped
