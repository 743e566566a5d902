"""`tlkeras evaluate`: score a run or any artifact in its own runtime."""

from __future__ import annotations

from typing import Any

import typer

from tlkeras.cli import complete
from tlkeras.cli.echo import echo_json
from tlkeras.cli.options import with_config_flags
from tlkeras.config import EvaluateConfig
from tlkeras.progress import SILENT


@with_config_flags(EvaluateConfig)
def command(
    target: str = typer.Argument(
        help="Folder of a run, a .keras model, or an artifact (SavedModel folder, .tflite, .onnx).",
        metavar="RUN_OR_ARTIFACT",
        autocompletion=complete.run_folders,
    ),
    json_out: bool = typer.Option(False, "--json", help="Print the metrics as JSON."),
    quiet: bool = typer.Option(False, "--quiet", help="Show only warnings and the result."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    **flags: Any,
) -> None:
    """Score a run, or any artifact in its own runtime, on a source."""
    from tlkeras.cli.screen import Screen, start_tensorflow
    from tlkeras.jobs import evaluation_request

    config = EvaluateConfig.from_dict(flags)
    if config.cross_validate is not None:
        return _cross_validate(target, config.cross_validate, json_out=json_out, quiet=quiet)
    request = evaluation_request.check(target, None, config)
    start_tensorflow()
    from tlkeras.jobs import evaluate

    screen = Screen(quiet or json_out)
    with screen.live():
        result = evaluate.evaluate(target, request, reporter=screen)
    if json_out:
        echo_json(result.to_dict())
        return
    score = result.score
    lines = [*filter(None, [score.headline(result.part)]), *result.lines()]
    screen.result(f"{target} in {result.runtime} on {result.data}", {result.part: score.cells()}, lines)


def _cross_validate(target: str, folds: str, *, json_out: bool, quiet: bool) -> None:
    from tlkeras.cli.screen import Screen
    from tlkeras.jobs import out_of_fold

    content = out_of_fold.cross_validate(target, folds, reporter=SILENT if json_out else Screen(quiet))
    if json_out:
        echo_json(content)
