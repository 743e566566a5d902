"""`tlkeras launch`: several workers that train together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from tlkeras.cli.echo import echo

HELP = """Start workers that train together, on this machine or on several.

The options of launch come first. Everything from finetune on is the command that every worker runs.

Example: tlkeras launch --workers 2 finetune --backbone efficientnet --data photos/

On several machines, run the same line on each: tlkeras launch --hosts one:9000,two:9000 finetune ...
"""
TRAINS = ("finetune",)
SETTINGS = {"allow_interspersed_args": False}  # what follows the name of the command belongs to that command


def command(
    ctx: typer.Context,
    arguments: list[str] = typer.Argument(help="The command that every worker runs.", metavar="COMMAND ..."),
    workers: int = typer.Option(2, "--workers", help="Workers to start on this machine.", min=1, metavar="N"),
    hosts: str | None = typer.Option(
        None,
        "--hosts",
        help="One host:port per worker, comma-separated; starts the worker of this machine. [default: all workers run here]",
        show_default=False,
        metavar="HOSTS",
    ),
    index: int | None = typer.Option(
        None,
        "--index",
        help="Position of this machine in --hosts, from 0. [default: from JOB_COMPLETION_INDEX, SLURM_PROCID or the host name]",
        show_default=False,
        metavar="N",
    ),
    logs: str | None = typer.Option(
        None, "--logs", help="Folder for worker-N.log. [default: runs/launch-N]", show_default=False, metavar="DIR"
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    from tlkeras.cli import signals
    from tlkeras.distribution import launch
    from tlkeras.distribution.cluster import Cluster
    from tlkeras.errors import ConfigError

    if arguments[:1] == ["tlkeras"]:
        arguments = arguments[1:]
    if not arguments or arguments[0] not in TRAINS:
        received = repr(arguments[0]) if arguments else "nothing"
        raise ConfigError(
            f"tlkeras launch runs {', '.join(TRAINS)}, received {received}; for example, tlkeras launch --workers 2 finetune …"
        )
    _check(ctx, arguments)
    if hosts is None:
        addresses = launch.free_addresses(workers)
        clusters = [Cluster(addresses=addresses, index=place) for place in range(workers)]
    else:
        addresses = tuple(one.strip() for one in hosts.split(",") if one.strip())
        clusters = [Cluster(addresses=addresses, index=launch.rank(addresses, index))]
    folder = Path(logs) if logs else _fresh()
    echo(f"{len(clusters)} of {len(addresses)} workers here, logs in {folder}")
    launch.run(clusters, [sys.executable, "-u", "-m", "tlkeras", *arguments], folder, echo, terminated=signals.terminated)


def _check(ctx: typer.Context, arguments: list[str]) -> None:
    """Parses the command's own arguments, so that a mistake in them is reported before any worker starts."""
    parent: Any = ctx.parent
    with parent.command.commands[arguments[0]].make_context(arguments[0], arguments[1:], parent=parent):
        pass


def _fresh() -> Path:
    number = 1
    while (folder := Path("runs") / f"launch-{number}").exists():
        number += 1
    return folder
