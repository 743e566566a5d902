"""`tlkeras review`: list labels that are probably wrong, near-duplicates and unusual examples, for a person to correct."""

from __future__ import annotations

import shlex

import typer

from tlkeras.cli import complete
from tlkeras.cli.echo import echo_json

SHOWN = 10  # rows on the screen
WIDEST = 40  # characters of a cell


def command(
    target: str = typer.Argument(help="Folder of a run.", metavar="RUN", autocompletion=complete.run_folders),
    out: str | None = typer.Option(
        None, "--out", help="Table to write. [default: review.csv in the folder of the run]", show_default=False, metavar="FILE.csv"
    ),
    json_out: bool = typer.Option(False, "--json", help="Print the error analysis as JSON."),
    quiet: bool = typer.Option(False, "--quiet", help="Show only warnings and the result."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """List suspicious examples in a table to correct, which `tlkeras finetune --relabel` applies."""
    from tlkeras.cli.screen import Screen
    from tlkeras.jobs import out_of_fold
    from tlkeras.jobs.corrections import CORRECTED, DROP
    from tlkeras.progress import SILENT

    screen = Screen(quiet or json_out)
    result = out_of_fold.review(target, out=out, reporter=SILENT if json_out else screen)
    if json_out:
        echo_json(result.content)
        return
    from rich.markup import escape
    from rich.table import Table

    counts = result.content["counts"]
    title = (
        f"{counts['label_errors']:,} probable label errors, {counts['near_duplicates']:,} near-duplicates across splits or labels, "
        f"{counts['outliers']:,} unusual examples, of {result.content['examples']:,}"
    )
    table = Table(title=title, title_justify="left")
    for name in ("suspicion", "example", "given", "suggested", "score"):
        table.add_column(name, justify="right" if name == "score" else "left")
    for row in result.rows[:SHOWN]:
        cells = (row["suspicion"], row["example"], row["given"], row["suggested"])
        table.add_row(*(escape(_short(cell)) for cell in cells), f"{row['score']:.3f}")
    if result.rows:
        screen.console.print(table)
    screen.console.print(result.content["basis"], markup=False)
    if not result.rows:
        screen.console.print("nothing is suspicious", markup=False)
        return
    path = shlex.quote(str(result.table))
    more = f"{len(result.rows) - SHOWN:,} more rows in {path}" if len(result.rows) > SHOWN else f"table: {path}"
    screen.console.print(f"{more}; write the right label into its column {CORRECTED!r}, or {DROP} to leave an example out", markup=False)
    screen.console.print(f"  then      tlkeras finetune --relabel {path} …", markup=False)


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
