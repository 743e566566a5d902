"""`tlkeras explain`: which pixels, words or steps speak for an answer."""

from __future__ import annotations

from typing import Any

import typer

from tlkeras.cli import complete
from tlkeras.cli.echo import echo, echo_json
from tlkeras.cli.options import with_config_flags
from tlkeras.config import ExplainConfig

HELP = """Show which pixels, words or steps speak for an answer.

RUN is the folder of a run, or its model.keras; explanations need the layers and gradients of the Keras model.

Without --data, the examples that the report of the run shows are explained, and the report shows it below each.

Images become an overlay and the image, overlay and map side by side; texts a page with coloured words; sequences a plot. explanations.json has every map.
"""


@with_config_flags(ExplainConfig)
def command(
    target: str = typer.Argument(help="Folder of a run, or its model.keras.", metavar="RUN", autocompletion=complete.run_folders),
    json_out: bool = typer.Option(False, "--json", help="Print each explanation as one JSON object per line, and write no folder."),
    quiet: bool = typer.Option(False, "--quiet", help="Show only warnings and the result."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    **flags: Any,
) -> None:
    from tlkeras.cli.screen import Screen, start_tensorflow
    from tlkeras.errors import printable
    from tlkeras.jobs import explain_request

    request = explain_request.check(target, ExplainConfig.from_dict(flags))
    start_tensorflow()
    from tlkeras.jobs import explain

    result = explain.explain(request, write=not json_out, reporter=Screen(quiet or json_out))
    for explanation in result:
        if json_out:
            echo_json(explanation.to_dict(), None)
        else:
            echo("\t".join(map(printable, (_short(explanation.file), explanation.title))))
    for error in result.errors:
        echo(f"error: {printable(error)}", err=True)
    if result.folder is not None:
        echo(f"wrote {result.folder}")
    if result.errors:
        raise typer.Exit(1)


def _short(text: str, length: int = 60) -> str:
    """Returns a text on one line, its end cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
