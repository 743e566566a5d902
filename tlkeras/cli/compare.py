"""`tlkeras compare`: runs side by side."""

from __future__ import annotations

import typer

from tlkeras.cli import complete
from tlkeras.cli.echo import echo_json


def command(
    runs: list[str] = typer.Argument(help="Folders of two or more runs.", metavar="RUN…", autocompletion=complete.run_folders),
    out: str | None = typer.Option(None, "--out", help="Also write a page with plots.", metavar="FILE.html"),
    json_out: bool = typer.Option(False, "--json", help="Print the comparison as JSON."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Compare runs: figure against time, size and latency, and the settings that differ."""
    from tlkeras.jobs import compare as job

    comparison = job.compare(runs, out)
    if json_out:
        echo_json(comparison.to_dict())
        return
    from rich.markup import escape
    from rich.table import Table

    from tlkeras.cli.screen import wide

    console = wide()
    table = Table(title="Runs", title_justify="left")
    for name in job.HEAD:
        table.add_column(name)
    for row in comparison.rows():
        table.add_row(*map(escape, row))
    console.print(table)
    settings = Table(title="Settings that differ", title_justify="left")
    for name in ("key", *(run.name for run in comparison.runs)):
        settings.add_column(name)
    for key, values in comparison.differences.items():
        settings.add_row(key, *(escape(job.setting_text(value)) for value in values.values()))
    if comparison.differences:
        console.print(settings)
    for warning in comparison.warnings:
        console.print(f"warning: {warning}", markup=False)
    if out is not None:
        console.print(f"page: {out}", markup=False)
