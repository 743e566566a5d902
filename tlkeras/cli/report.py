"""`tlkeras report`: write the report of a run again."""

from __future__ import annotations

import typer

from tlkeras.cli import complete
from tlkeras.cli.echo import echo


def command(
    run: str = typer.Argument(help="Folder of a finished run.", metavar="RUN", autocompletion=complete.run_folders),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Write the report of a run again, with all that its folder holds by now."""
    from tlkeras.cli.screen import start_tensorflow
    from tlkeras.jobs import run_folder

    folder, _ = run_folder.finished(run)
    start_tensorflow()
    from tlkeras.jobs import report_run

    report_run.rewrite(folder)
    echo(f"report: {folder.report}")
