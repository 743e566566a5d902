"""The `tlkeras` command: its sub-commands, and how errors reach people."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from tlkeras import __version__
from tlkeras.cli import benchmark, check_install, evaluate, export, finetune, launch, predict, pretrain
from tlkeras.cli import config as config_command
from tlkeras.cli import weights as weights_command
from tlkeras.cli import zoo as zoo_command


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Makes errors raised on purpose one line, and Ctrl-C a sentence; all others keep their traceback."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        from tlkeras.errors import TlkerasError

        try:
            command(*args, **kwargs)
        except TlkerasError as error:
            if kwargs.get("debug"):
                raise
            typer.echo(f"error: {error}", err=True)
            _leave(1)
        except KeyboardInterrupt as stop:
            typer.echo(str(stop) or "stopped", err=True)
            _leave(130)

    return run


app = typer.Typer(
    name="tlkeras",
    help="From a pretrained Keras backbone and your own data to a model proven to work where it will run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("finetune", help=finetune.HELP)(guarded(finetune.command))
app.command("launch", help=launch.HELP)(guarded(launch.command))
app.command("evaluate")(guarded(evaluate.command))
app.command("predict")(guarded(predict.command))
app.command("export", help=export.HELP)(guarded(export.command))
app.command("benchmark")(guarded(benchmark.command))
app.command("pretrain")(guarded(pretrain.command))
app.command("sample")(guarded(pretrain.sample))
app.command("check-install")(guarded(check_install.command))
configs = typer.Typer(help="Print or write config files.", no_args_is_help=True, rich_markup_mode=None)
configs.command("render", help="Print the effective config, every default filled in.")(guarded(config_command.render))
configs.command("init", help="Write a commented config for a data set.")(guarded(config_command.init))
app.add_typer(configs, name="config")
entries = typer.Typer(
    help="Publish and verify versioned models, for TensorFlow Serving and others.", no_args_is_help=True, rich_markup_mode=None
)
for name, command in zoo_command.COMMANDS.items():
    entries.command(name)(guarded(command))
app.add_typer(entries, name="zoo")
sources = typer.Typer(help="What weights there are for each backbone, and what is cached.", no_args_is_help=True, rich_markup_mode=None)
for name, shown in weights_command.COMMANDS.items():
    sources.command(name)(guarded(shown))
app.add_typer(sources, name="weights")


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Runs the `tlkeras` command."""
    app()


def script(command: Callable[..., None], help: str | None = None) -> None:
    """Runs one sub-command as a script of its own (`python scripts/finetune.py …`)."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    single.command(help=help)(guarded(command))
    single()


def _leave(code: int) -> None:
    """Ends the process now: TensorFlow's threads may otherwise take seconds to be joined."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
