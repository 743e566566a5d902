"""`tlkeras finetune`: from a source to a run folder with verified artifacts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tlkeras.cli.options import with_config_flags
from tlkeras.config import RunConfig, read_yaml

if TYPE_CHECKING:
    from tlkeras.workflow import Result

HELP = """Fine-tune a backbone on your data, export it, prove that each artifact works.

Without --data it uses scikit-learn's handwritten digits.

Example: tlkeras finetune --backbone efficientnet --data photos/ --out runs/photos
"""


@with_config_flags
def command(
    config: str | None = typer.Option(None, "--config", help="YAML file with the same keys as the flags; flags win.", metavar="FILE.yaml"),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show layer, rule, parameters, flag and BatchNorm mode; train nothing."),
    list_backbones: bool = typer.Option(False, "--list-backbones", help="List the backbones and leave."),
    quiet: bool = typer.Option(False, "--quiet", help="Show only warnings and the result."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    **given: Any,
) -> None:
    if list_backbones:
        return _list_backbones()
    settings = RunConfig.from_dict({**(read_yaml(config) if config else {}), **given})
    from tlkeras import plan

    plan.effective(settings)  # names and contradictions are found before TensorFlow loads
    from tlkeras.cli.screen import start_tensorflow

    start_tensorflow()
    _dry_run(settings) if dry_run else _finetune(settings, quiet)


def _list_backbones() -> None:
    from tlkeras.backbones.registry import BACKBONES

    head = (
        "backbone",
        "takes",
        "pixels or tokens",
        "smallest",
        "M params",
        "features",
        "ImageNet top-1",
        "stages",
        "licence",
        "also called",
    )
    others: dict[str, list[str]] = {}
    for alias, name in BACKBONES.aliases().items():
        others.setdefault(name, []).append(alias)
    rows = [
        (
            row.name,
            row.modality,
            str(row.input_size),
            str(row.min_size),
            f"{row.params / 1e6:.1f}",
            str(row.features),
            "-" if row.top1 is None else f"{row.top1:.3f}",
            str(len(row.stages)),
            row.license,
            ", ".join(others.get(row.name, [])),
        )
        for row in BACKBONES
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _dry_run(settings: RunConfig) -> None:
    from tlkeras import workflow

    typer.echo(workflow.dry_run(settings))


def _finetune(settings: RunConfig, quiet: bool) -> None:
    from tlkeras import workflow
    from tlkeras.cli.screen import Screen

    screen = Screen(quiet)
    if settings.data.source is None:
        screen.say(
            "no --data given: using scikit-learn's 1,797 handwritten digits; for your own pictures, --data FOLDER with one folder per class"
        )
    with screen.live():
        result = workflow.finetune(settings, reporter=screen)
    worker = result.metrics["placement"]["worker"]
    if worker:
        screen.say(f"worker {worker} is done; worker 0 wrote the run")
    else:
        show(result, screen)


def show(result: Result, screen: Any) -> None:
    """Prints the closing tables and the exact next commands."""
    from tlkeras.cli.screen import artifacts_table, scores_table

    screen.console.print(scores_table("Result", {name: result.metrics[name] for name in ("val", "test")}))
    if result.metrics["exports"]:
        screen.console.print(artifacts_table(result.metrics["exports"]))
    screen.console.print(f"run: {result.run.root}   report: {result.run.report}   {result.metrics['timing']['total']:.0f} s")
    for title, line in next_commands(result):
        screen.console.print(f"  {title:<9} {line}", markup=False)


def next_commands(result: Result) -> list[tuple[str, str]]:
    """Returns (what for, exact command) pairs for the run just made."""
    root = shlex.quote(str(result.run.root))
    source = result.config.data.source
    lines = [("evaluate", f"tlkeras evaluate {root}" + (f" --data {shlex.quote(source)}" if source else " --data digits"))]
    given = "PICTURE.jpg" if result.config.model.max_length is None else shlex.quote("a text")
    lines.append(("predict", f"tlkeras predict {root} {given}"))
    if result.metrics["exports"]:
        lines.append(("compare", f"tlkeras benchmark {root}"))
    if "saved_model" in result.metrics["exports"]:
        name = result.run.root.resolve().name
        place = shlex.quote(str((Path(result.run.exports) / "saved_model").resolve()))
        lines.append(("publish", f"tlkeras zoo publish {root} --name NAME"))
        lines.append(("serve", f"docker run -p 8501:8501 -v {place}:/models/{name}/1 -e MODEL_NAME={name} tensorflow/serving"))
    return lines
