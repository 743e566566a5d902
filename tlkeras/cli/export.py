"""`tlkeras export`: a run, or any Keras model or SavedModel, to verified artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tlkeras.cli.options import config_option, settings_of, with_config_flags
from tlkeras.config import ExportModelConfig

if TYPE_CHECKING:
    from tlkeras.export.artifact import Artifact
    from tlkeras.jobs.export_request import ExportRequest

HELP = """Export a run again, or convert any Keras model. Each file is verified against the model.

A run already records its labels, resize mode and data: `tlkeras export runs/RUN --formats mobile`.

For any other model, flags supply them: `tlkeras export model.h5 --labels labels.txt --calibration photos/`.
"""


@with_config_flags(ExportModelConfig)
def command(
    model: str = typer.Argument(help="The folder of a run, a .keras or .h5 file, or a SavedModel folder.", metavar="MODEL"),
    out: str | None = typer.Option(
        None,
        "--out",
        help="New or empty folder for the artifacts. [default: the run's exports folder; for other models ./NAME-export]",
        metavar="DIR",
        show_default=False,
    ),
    config: str | None = config_option(),
    quiet: bool = typer.Option(False, "--quiet", help="Show only warnings and the result."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    **flags: Any,
) -> None:
    from tlkeras.cli.screen import Screen, start_tensorflow
    from tlkeras.jobs import export_request

    request = export_request.check(model, settings_of(config, flags))
    screen = Screen(quiet)
    start_tensorflow()
    from tlkeras.jobs import export_model

    folder = out
    if request.run is None and folder is None:
        folder = str(export_model.default_folder(model))
    with screen.live():
        artifacts = export_model.export_checked(request, folder, reporter=screen)
    if request.run is not None and folder is None:
        try:  # as people would type it
            folder = str(request.run.exports.relative_to(Path.cwd()))
        except ValueError:
            folder = str(request.run.exports)
    _show(artifacts, str(folder), screen, _measure(request))


def _measure(request: ExportRequest) -> str:
    """Returns what the table calls the figure of an artifact."""
    from tlkeras.cli.screen import MEASURE
    from tlkeras.jobs.run_folder import read_config
    from tlkeras.tasks.registry import task_named

    return MEASURE if request.run is None else task_named(read_config(request.run).model.task).figure


def _show(artifacts: list[Artifact], folder: str, screen: Any, measure: str) -> None:
    from tlkeras.cli.screen import artifacts_table, search_lines

    records = {artifact.format: artifact.to_dict() for artifact in artifacts}
    screen.console.print(artifacts_table(records, measure))
    for line in search_lines(records, measure):
        screen.console.print(line, markup=False)
    screen.console.print(f"artifacts: {folder}", markup=False)
