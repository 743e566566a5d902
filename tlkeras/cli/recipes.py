"""`tlkeras recipes`: the ways to train, with the reason, the paper and the figures measured here."""

from __future__ import annotations

import typer

from tlkeras.cli.echo import echo, echo_json

HELP = "List the recipes: what each does and why, its paper, and what it reached in the project's benchmarks."


def command(
    name: str | None = typer.Argument(None, help="Name of a recipe. [default: all]", show_default=False),
    json_out: bool = typer.Option(False, "--json", help="Print JSON."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:

    from tlkeras.training.recipes.registry import RECIPES, Facts

    rows = [RECIPES.get(name)] if name else list(RECIPES)
    if json_out:
        echo_json([{key: getattr(row, key) for key in ("name", "why", "source", "figure")} for row in rows])
        return
    for row in rows:
        phases = " -> ".join(f"{phase.name} ({phase.described})" for phase in row.phases_for((), Facts()))
        lines = [row.name, f"  {row.why}", f"  phases: {phases}", f"  paper: {row.source}", f"  here: {row.figure}" if row.figure else ""]
        echo("\n".join(filter(None, lines)))
