"""`tlkeras pretrain` and `tlkeras sample`: backbones trained from scratch."""

from __future__ import annotations

from typing import Any

import typer

from tlkeras.cli.options import config_option, settings_of, with_config_flags
from tlkeras.config import PretrainConfig


@with_config_flags(PretrainConfig)
def command(
    name: str = typer.Option(..., "--name", help="Name of the entry in the zoo.", metavar="NAME"),
    config: str | None = config_option(),
    root: str | None = typer.Option(
        None, "--zoo", help="Folder of the zoo. [default: $TLKERAS_ZOO, else zoo/models]", show_default=False, metavar="DIR"
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    **given: Any,
) -> None:
    """Train a network from scratch and publish it for use as --backbone zoo:NAME."""
    from tlkeras.cli.screen import Screen, start_tensorflow
    from tlkeras.jobs.plan import resolve_pretraining
    from tlkeras.jobs.preflight import USES_DIGITS, open_unlabelled
    from tlkeras.zoo.names import check_name
    from tlkeras.zoo.store import Zoo, default_root

    settings = PretrainConfig.from_dict(settings_of(config, given))
    check_name(name)
    plan = resolve_pretraining(settings)
    dataset = open_unlabelled(plan)
    screen = Screen()
    if settings.data is None:
        screen.say(USES_DIGITS)
    start_tensorflow()
    from tlkeras.jobs import pretrain

    with screen.live():
        entry = pretrain.pretrain_plan(plan, dataset, name, Zoo(root or default_root()), reporter=screen)
    typer.echo(f"published {entry}: {entry.path}")
    typer.echo(f"  use   tlkeras finetune --backbone zoo:{entry.name} --data SOURCE")


def sample(
    name: str = typer.Argument(help="Entry created by `tlkeras pretrain --backbone vae`.", metavar="ENTRY"),
    out: str = typer.Option("sample.png", "--out", help="PNG to write.", metavar="FILE"),
    rows: int = typer.Option(8, "--rows", help="Rows of the grid.", min=1, metavar="N"),
    columns: int = typer.Option(8, "--columns", help="Columns of the grid.", min=1, metavar="N"),
    data: str | None = typer.Option(None, "--data", help="Source of images to reconstruct, instead of drawing new ones.", metavar="SOURCE"),
    plane: bool = typer.Option(
        False, "--plane", help="Decode a regular grid of codes instead of random ones; needs a two-dimensional code."
    ),
    seed: int = typer.Option(0, "--seed", help="Seed of the random codes.", metavar="N"),
    root: str | None = typer.Option(
        None, "--zoo", help="Folder of the zoo. [default: $TLKERAS_ZOO, else zoo/models]", show_default=False, metavar="DIR"
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Sample images from a variational autoencoder, or reconstruct the images of a source."""
    from pathlib import Path

    from tlkeras.cli.screen import start_tensorflow
    from tlkeras.errors import OutputError
    from tlkeras.modalities.sources import open_source
    from tlkeras.zoo.store import Zoo, default_root

    if Path(out).exists():
        raise OutputError(f"--out {out!r} already exists and is not overwritten; choose another")
    source = None if data is None else open_source(data)
    start_tensorflow()
    from PIL import Image

    from tlkeras.jobs import sample as drawing

    zoo = Zoo(root or default_root())
    like = None if source is None else drawing.images_like(name, zoo, source, rows * columns)
    Image.fromarray(drawing.sample(name, zoo, rows=rows, columns=columns, seed=seed, like=like, plane=plane)).save(out)
    pairs = None if like is None else min(len(like), rows * columns // 2)
    typer.echo(f"{out}: {rows * columns} images" if pairs is None else f"{out}: {pairs} images, each beside its reconstruction")
