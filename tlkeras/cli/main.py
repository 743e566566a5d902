"""The `tlkeras` command: its sub-commands, and how errors reach people."""

from __future__ import annotations

import functools
import importlib
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from tlkeras import __version__, startup
from tlkeras.cli import cache as cache_command
from tlkeras.cli import config as config_command
from tlkeras.cli import usage
from tlkeras.cli import weights as weights_command
from tlkeras.cli import zoo as zoo_command
from tlkeras.cli.echo import echo


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Prints expected errors and Ctrl-C as one line; a bug keeps its traceback, below a line that says so."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        from tlkeras.cli import signals
        from tlkeras.errors import TlkerasError, system_problem

        try:
            with signals.handled():
                command(*args, **kwargs)
        except TlkerasError as error:
            if kwargs.get("debug"):
                raise
            echo(f"error: {error}", err=True)
            _leave(1)
        except KeyboardInterrupt as stop:
            echo(str(stop) or "stopped", err=True)
            _leave(signals.code())
        except (usage.UsageError, typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            problem = system_problem(error)
            if problem and not kwargs.get("debug"):
                echo(f"error: {problem}", err=True)
                _leave(1)
            echo(_bug(error), err=True)
            raise

    return run


def _bug(error: Exception) -> str:
    """Returns the line above the traceback of an error that nobody expected."""
    from tlkeras.errors import printable

    line = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    reason = printable(" ".join(str(error).split())[:200])
    return (
        f"error: {type(error).__name__}{': ' if reason else ''}{reason}; this is a bug in tlkeras {__version__}: "
        f"please report the command `{line}` with the traceback below"
    )


# One module of `tlkeras.cli` for each job, with its `command`, and `HELP` and `SETTINGS` where it has any; help lists them in this order.
COMMANDS = (
    "finetune",
    "launch",
    "evaluate",
    "predict",
    "explain",
    "review",
    "export",
    "benchmark",
    "compare",
    "recommend",
    "report",
    "pretrain",
    "sample",
    "recipes",
    "check_install",
)

app = typer.Typer(
    name="tlkeras",
    help="From a pretrained Keras backbone and your own data to a model proven to work where it will run.",
    cls=usage.Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name in COMMANDS:
    _module = importlib.import_module(f"tlkeras.cli.{_name}")
    _more: dict[str, Any] = {"help": getattr(_module, "HELP", None), "context_settings": getattr(_module, "SETTINGS", None)}
    app.command(_name.replace("_", "-"), **_more, cls=usage.Command)(guarded(_module.command))
configs = typer.Typer(cls=usage.Group, help="Print or write config files.", no_args_is_help=True, rich_markup_mode=None)
configs.command("render", help="Print the effective config, every default filled in.", cls=usage.Command)(guarded(config_command.render))
configs.command("init", help="Write a commented config for a data set.", cls=usage.Command)(guarded(config_command.init))
app.add_typer(configs, name="config")
entries = typer.Typer(
    cls=usage.Group,
    help="Publish and verify versioned models, for TensorFlow Serving and others.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
for name, command in zoo_command.COMMANDS.items():
    entries.command(name, cls=usage.Command)(guarded(command))
app.add_typer(entries, name="zoo")
sources = typer.Typer(
    cls=usage.Group, help="List the weights of each backbone, and manage the cache.", no_args_is_help=True, rich_markup_mode=None
)
for name, shown in weights_command.COMMANDS.items():
    sources.command(name, cls=usage.Command)(guarded(shown))
app.add_typer(sources, name="weights")
rows = typer.Typer(
    cls=usage.Group, help="List and delete decoded images and features kept between runs.", no_args_is_help=True, rich_markup_mode=None
)
for name, shown in cache_command.COMMANDS.items():
    rows.command(name, cls=usage.Command)(guarded(shown))
app.add_typer(rows, name="cache")


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        echo(__version__)
        raise typer.Exit


def main() -> None:
    """Runs the `tlkeras` command."""
    startup.own_process = True
    app(prog_name="tlkeras")


def script(command: Callable[..., None], help: str | None = None) -> None:
    """Runs one sub-command as a script of its own (`python scripts/finetune.py …`)."""
    startup.own_process = True
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    single.command(help=help, cls=usage.Command)(guarded(command))
    single()


def _leave(code: int) -> None:
    """Ends the process now: TensorFlow's threads may otherwise take seconds to be joined."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
