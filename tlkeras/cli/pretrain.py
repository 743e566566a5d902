"""`tlkeras pretrain` and `tlkeras sample`: backbones trained from scratch."""

from __future__ import annotations

import typer


def command(
    backbone: str = typer.Option("cnn", "--backbone", help="cnn, rnn, vae or elmo.", metavar="NAME"),
    data: str | None = typer.Option(None, "--data", help="Source to train on. [default: the digits]", metavar="SOURCE", show_default=False),
    name: str = typer.Option(..., "--name", help="Name of the entry in the zoo.", metavar="NAME"),
    objective: str | None = typer.Option(
        None,
        "--objective",
        help="classification, next-step (rnn), elbo (vae) or language-model (elmo). [default: the backbone's own]",
        show_default=False,
        metavar="NAME",
    ),
    options: str = typer.Option("", "--backbone-options", help="Sizes, as NAME=VALUE, comma-separated.", metavar="OPTIONS"),
    epochs: int = typer.Option(20, "--epochs", help="Passes over the examples.", min=1, metavar="N"),
    learning_rate: float = typer.Option(1e-3, "--learning-rate", help="Peak learning rate.", metavar="X"),
    batch_size: int = typer.Option(128, "--batch-size", help="Examples per step.", min=1, metavar="N"),
    image_size: int | None = typer.Option(
        None, "--image-size", help="Side of images, in pixels. [default: 28]", show_default=False, metavar="N"
    ),
    limit: int | None = typer.Option(
        None, "--limit", help="Maximum number of examples to use. [default: all]", min=1, show_default=False, metavar="N"
    ),
    data_licence: str | None = typer.Option(
        None, "--data-licence", help="Licence of the examples, for the card.", metavar="TEXT", show_default=False
    ),
    seed: int = typer.Option(0, "--seed", help="Seed of initial weights, order and sampling.", metavar="N"),
    root: str | None = typer.Option(
        None, "--zoo", help="Folder of the zoo. [default: $TLKERAS_ZOO, else zoo/models]", show_default=False, metavar="DIR"
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """Train a network from scratch and publish it for use as --backbone zoo:NAME."""
    from tlkeras.cli.screen import Screen, start_tensorflow
    from tlkeras.jobs.preflight import USES_DIGITS, check_modality
    from tlkeras.modalities.sources import open_source
    from tlkeras.zoo.names import check_name
    from tlkeras.zoo.store import Zoo, default_root

    check_name(name)
    dataset = open_source(data)
    check_modality(backbone, dataset)
    screen = Screen()
    if data is None:
        screen.say(USES_DIGITS)
    start_tensorflow()
    from tlkeras.jobs import pretrain

    told = pretrain.Options(
        backbone=backbone,
        options=tuple(one.strip() for one in options.split(",") if one.strip()),
        objective=objective,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        image_size=image_size,
        limit=limit,
        data_licence=data_licence,
        seed=seed,
    )
    with screen.live():
        entry = pretrain.pretrain(told, dataset, name, Zoo(root or default_root()), reporter=screen)
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

    from tlkeras.jobs import pretrain

    zoo = Zoo(root or default_root())
    like = None if source is None else pretrain.pictures_like(name, zoo, source, rows * columns)
    Image.fromarray(pretrain.sample(name, zoo, rows=rows, columns=columns, seed=seed, like=like, plane=plane)).save(out)
    pairs = None if like is None else min(len(like), rows * columns // 2)
    typer.echo(f"{out}: {rows * columns} images" if pairs is None else f"{out}: {pairs} images, each beside its reconstruction")
