"""`tlkeras config`: print the effective config, or write one from a data set."""

from __future__ import annotations

import os
from typing import Any

import typer

from tlkeras import config as configs
from tlkeras import files
from tlkeras.cli.echo import echo
from tlkeras.cli.options import config_option, settings_of, with_config_flags
from tlkeras.config import RunConfig
from tlkeras.errors import OutputError


@with_config_flags(RunConfig)
def render(
    config: str | None = config_option(),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    **flags: Any,
) -> None:
    from tlkeras.jobs import plan

    settings = plan.effective(RunConfig.from_dict(settings_of(config, flags)))
    echo(configs.to_yaml(settings.to_dict()), nl=False)


@with_config_flags(RunConfig)
def init(
    write: str = typer.Option("tlkeras.yaml", "--write", help="File to write; must not exist.", metavar="FILE.yaml"),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    **flags: Any,
) -> None:
    from tlkeras.jobs import plan, preflight
    from tlkeras.modalities.sources import open_source

    settings = RunConfig.from_dict(flags)
    if os.path.lexists(write):
        raise OutputError(f"{write!r} already exists and is not overwritten; choose another file with --write")
    dataset = open_source(settings.data.source, data_dir=settings.data.data_dir, columns=preflight.columns(settings))
    text = configs.to_yaml(plan.effective(settings).to_dict(), comments=True)
    summary = f"# {len(dataset.examples):,} examples of {dataset.target.described}: {', '.join(dataset.labels[:10])}"
    summary += ", …\n" if len(dataset.labels) > 10 else "\n"
    try:
        files.write(write, summary + text)
    except OSError as error:
        raise OutputError(f"cannot write {write!r}: {error.strerror}; choose another file with --write") from error
    echo(f"wrote {write}; next: tlkeras finetune --config {write}")
