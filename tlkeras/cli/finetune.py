"""`tlkeras finetune`: from a source to a run folder with verified artifacts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tlkeras.cli.echo import echo
from tlkeras.cli.options import config_option, settings_of, with_config_flags
from tlkeras.config import RunConfig

if TYPE_CHECKING:
    from tlkeras.data.examples import Dataset
    from tlkeras.jobs.finetune import Result
    from tlkeras.jobs.plan import Plan

HELP = """Fine-tune a backbone on your data, export it, and verify that each artifact works.

Without --data it uses scikit-learn's handwritten digits.

Example: tlkeras finetune --backbone efficientnet --data photos/ --out runs/photos
"""


@with_config_flags(RunConfig)
def command(
    config: str | None = config_option(),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Show layer, rule, parameters, trainable flag and BatchNorm mode of each layer, and stop before training."
    ),
    find_lr: bool = typer.Option(
        False, "--find-lr", help="Test the learning rates of the last phase in 100 steps, draw the losses, suggest one, and stop."
    ),
    list_backbones: bool = typer.Option(False, "--list-backbones", help="List the backbones and exit."),
    profile: bool = typer.Option(
        False, "--profile", help="Show at the end how long each step and its parts took; metrics.json has it as `timing`."
    ),
    resume: str | None = typer.Option(
        None, "--resume", help="Go on with a run that was stopped or killed, with its own settings.", metavar="RUN", show_default=False
    ),
    quiet: bool = typer.Option(False, "--quiet", help="Show only warnings and the result."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    **flags: Any,
) -> None:
    if list_backbones:
        return _list_backbones()
    from tlkeras.cli.screen import Screen, start_tensorflow
    from tlkeras.jobs import choice, finetune_request, preflight

    settings, _ = finetune_request.settings(settings_of(config, flags), None, {}, resume=resume)
    # What is wrong with settings or data is reported before TensorFlow loads.
    plan, dataset = choice.opened(settings, None, Screen(quiet), start=start_tensorflow)
    if not dry_run and resume is None:
        preflight.check_out(settings)
    start_tensorflow()
    if dry_run:
        _dry_run(plan, dataset)
    elif find_lr:
        _find_lr(plan, dataset, quiet)
    else:
        _finetune(plan, dataset, resume=resume is not None, quiet=quiet, profile=profile)


def _list_backbones() -> None:
    from tlkeras.backbones.registry import BACKBONES

    head = (
        "backbone",
        "input",
        "pixels or tokens",
        "smallest",
        "M params",
        "features",
        "ImageNet top-1",
        "sections",
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
            str(len(row.sections)),
            row.license,
            ", ".join(others.get(row.name, [])),
        )
        for row in BACKBONES
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _dry_run(plan: Plan, dataset: Dataset) -> None:
    from tlkeras.jobs.dry_run import dry_run

    echo(dry_run(plan, dataset))


def _find_lr(plan: Plan, dataset: Dataset, quiet: bool) -> None:
    from tlkeras.cli.screen import Screen
    from tlkeras.jobs.find_lr import find_learning_rate

    screen = Screen(quiet)
    result = find_learning_rate(plan, dataset, reporter=screen)
    advice = (
        "the loss did not fall at any learning rate: look at the data, or train more layers"
        if result.suggestion is None
        else f"a tenth of the learning rate where the loss is lowest: --learning-rate {result.suggestion:.1e}"
    )
    screen.console.print(f"{advice}\nplot: {result.plot}   table: {result.table}", markup=False)


def _finetune(plan: Plan, dataset: Dataset, *, resume: bool, quiet: bool, profile: bool) -> None:
    from tlkeras import progress
    from tlkeras.cli.screen import Screen
    from tlkeras.jobs import finetune

    screen = Screen(quiet)
    result = finetune.finetune_plan(plan, dataset, resume=resume, reporter=screen)
    worker = result.metrics["placement"]["worker"]
    if worker:
        screen.say(f"worker {worker} is done; worker 0 wrote the run")
    else:
        show(result, screen)
    if profile:
        screen.result("Profile", progress.profile(result.metrics["timing"]))


def show(result: Result, screen: Any) -> None:
    """Prints the table of artifacts and the exact next commands; the scores were printed before the export."""
    from tlkeras.cli.screen import artifacts_table, search_lines
    from tlkeras.tasks.registry import task_named

    measure = task_named(result.config.model.task).figure
    if result.metrics["exports"]:
        screen.console.print(artifacts_table(result.metrics["exports"], measure))
    for line in search_lines(result.metrics["exports"], measure):
        screen.console.print(line, markup=False)
    screen.console.print(f"run: {result.run.root}   report: {result.run.report}   {result.metrics['timing']['total']:.0f} s")
    for title, line in next_commands(result):
        screen.console.print(f"  {title:<9} {line}", markup=False)


def next_commands(result: Result) -> list[tuple[str, str]]:
    """Returns (what for, exact command) pairs for the run just made."""
    from tlkeras.data.sources.registry import is_passed
    from tlkeras.export.formats import SERVING, SMALLEST
    from tlkeras.modalities.registry import MODALITIES
    from tlkeras.registry import load_function

    root, config, exports = shlex.quote(str(result.run.root)), result.config, result.metrics["exports"]
    source = config.data.source
    named = "SOURCE" if source is None or is_passed(source) else shlex.quote(source)
    row = result.backbone
    first, *others = load_function(MODALITIES.get(row.modality).samples)(config)
    lines = [("evaluate", f"tlkeras evaluate {root} --data {named}"), ("predict", f"tlkeras predict {root} {first}")]
    lines += [("", f"tlkeras predict {root} {sample}") for sample in others]
    if SMALLEST.name not in exports and not row.refusal(SMALLEST.name, SMALLEST.reader):
        lines.append(("export", f"tlkeras export {root} --formats {SMALLEST.name}"))
    if exports:
        lines.append(("compare", f"tlkeras benchmark {root}"))
    if SERVING.name in exports:
        name = result.run.root.resolve().name
        volume = shlex.quote(f"{(Path(result.run.exports) / SERVING.path).resolve()}:/models/{name}/1")
        lines.append(("publish", f"tlkeras zoo publish {root} --name NAME"))
        lines.append(("serve", f"docker run -p 8501:8501 -v {volume} -e {shlex.quote(f'MODEL_NAME={name}')} tensorflow/serving"))
    return lines
