"""The `tlkeras` command: its sub-commands, and how errors reach people."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from tlkeras import __version__
from tlkeras.cli import check_install, config, evaluate, finetune, predict

app = typer.Typer(
    name="tlkeras",
    help="From a pretrained Keras backbone and your own data to a model proven to work where it will run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("finetune", help=finetune.HELP)(finetune.command)
app.command("evaluate")(evaluate.command)
app.command("predict")(predict.command)
app.command("check-install")(check_install.command)
app.add_typer(config.app, name="config")


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Runs the `tlkeras` command."""
    run(app)


def script(command: Callable[..., None], help: str | None = None) -> None:
    """Runs one sub-command as a script of its own (`python scripts/finetune.py …`)."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    single.command(help=help)(command)
    run(single)


def run(application: typer.Typer) -> None:
    """Runs an application; errors raised on purpose become one line, all others keep their traceback."""
    from tlkeras.errors import TlkerasError

    try:
        application(standalone_mode=True)
    except TlkerasError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {error}", err=True)
        _leave(1)
    except KeyboardInterrupt as stop:
        typer.echo(str(stop) or "stopped", err=True)
        _leave(130)


def _leave(code: int) -> None:
    """Ends the process now: TensorFlow's threads may otherwise take seconds to be joined."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
