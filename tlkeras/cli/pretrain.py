"""`tlkeras pretrain`: backbones trained from scratch."""

from __future__ import annotations

from typing import Any

import typer

from tlkeras.cli.echo import echo
from tlkeras.cli.options import config_option, settings_of, with_config_flags
from tlkeras.config import PretrainConfig


@with_config_flags(PretrainConfig)
def command(
    name: str = typer.Option(..., "--name", help="Name of the entry in the zoo.", metavar="NAME"),
    config: str | None = config_option(),
    root: str | None = typer.Option(
        None, "--zoo", help="Folder of the zoo. [default: $TLKERAS_ZOO, else zoo/models]", show_default=False, metavar="DIR"
    ),
    resume: bool = typer.Option(False, "--resume", help="Go on with the pretraining of NAME that was stopped, with its own settings."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    **flags: Any,
) -> None:
    """Train a network from scratch and publish it for use as --backbone zoo:NAME."""
    from tlkeras.cli.screen import Screen, start_tensorflow
    from tlkeras.jobs import pretrain_work
    from tlkeras.jobs.plan import resolve_pretraining
    from tlkeras.jobs.preflight import USES_DIGITS, open_unlabelled
    from tlkeras.zoo.names import check_name
    from tlkeras.zoo.store import Zoo, default_root

    zoo = Zoo(root or default_root())
    work = pretrain_work.of(zoo.root, check_name(name))
    settings = pretrain_work.settings(work, None, settings_of(config, flags), resume=resume)
    plan = resolve_pretraining(settings)
    dataset = open_unlabelled(plan)
    screen = Screen()
    if settings.data is None:
        screen.say(USES_DIGITS)
    start_tensorflow()
    from tlkeras.jobs import pretrain

    with screen.live():
        entry = pretrain.pretrain_plan(plan, dataset, name, zoo, reporter=screen)
    echo(f"published {entry}: {entry.path}")
    echo(f"  use   tlkeras finetune --backbone zoo:{entry.name} --data SOURCE")
