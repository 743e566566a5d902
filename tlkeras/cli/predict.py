"""`tlkeras predict`: label and score of pictures or texts."""

from __future__ import annotations

import typer

from tlkeras.cli import complete


def command(
    target: str = typer.Argument(
        help="Folder of a run, a .keras model, or an artifact (SavedModel folder, .tflite, .onnx).",
        metavar="RUN_OR_ARTIFACT",
        autocompletion=complete.run_folders,
    ),
    files: list[str] = typer.Argument(help="Pictures, or texts.", metavar="FILE_OR_TEXT..."),
    json_out: bool = typer.Option(False, "--json", help="Print one JSON object for each, with the scores of all labels."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Print label and score of each picture or text."""
    import json

    from tlkeras.cli.screen import start_tensorflow

    start_tensorflow()
    from tlkeras import workflow

    failed = 0
    for one in workflow.predict(target, files):
        if one.error:
            failed += 1
            typer.echo(f"error: {one.error}", err=True)
        elif json_out:
            typer.echo(json.dumps(one.to_dict(), ensure_ascii=False))
        else:
            typer.echo(f"{one.file}\t{one.label}\t{one.score:.4f}")
    if failed:
        raise typer.Exit(1)
