"""`tlkeras evaluate`: score a run or any artifact in its own runtime."""

from __future__ import annotations

import typer

from tlkeras.cli import complete


def command(
    target: str = typer.Argument(
        help="Folder of a run, a .keras model, or an artifact (SavedModel folder, .tflite, .onnx).",
        metavar="RUN_OR_ARTIFACT",
        autocompletion=complete.run_folders,
    ),
    data: str | None = typer.Option(
        None, "--data", help="Source of the examples. [default: the run's own]", show_default=False, metavar="SOURCE"
    ),
    part: str = typer.Option("auto", "--split", help="Examples to evaluate: auto (the held-out ones), train, val, test or all."),
    data_dir: str | None = typer.Option(None, "--data-dir", help="Folder where tensorflow-datasets keeps prepared data.", metavar="DIR"),
    json_out: bool = typer.Option(False, "--json", help="Print the metrics as JSON."),
    quiet: bool = typer.Option(False, "--quiet", help="Show only warnings and the result."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Score a run, or any artifact in its own runtime, on a source."""
    import json

    from tlkeras.cli.screen import Screen, start_tensorflow
    from tlkeras.jobs import preflight

    chosen = preflight.to_evaluate(target, data, part=part, data_dir=data_dir)
    start_tensorflow()
    from tlkeras.jobs import evaluate

    screen = Screen(quiet or json_out)
    with screen.live():
        result = evaluate.evaluate(target, chosen, part=part, reporter=screen)
    if json_out:
        typer.echo(json.dumps(result.to_dict(), indent=2, ensure_ascii=False))
        return
    score = result.score
    lines = [*filter(None, [score.headline(result.part)]), *score.lines()]
    screen.result(f"{target} in {result.runtime} on {result.data}", {result.part: score.cells()}, lines)
