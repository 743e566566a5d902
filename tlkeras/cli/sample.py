"""`tlkeras sample`: images from a variational autoencoder."""

from __future__ import annotations

import typer

from tlkeras.cli.echo import echo


def command(
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

    from tlkeras import files
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
    image = Image.fromarray(drawing.sample(name, zoo, rows=rows, columns=columns, seed=seed, like=like, plane=plane))
    with files.aside(out) as path:
        image.save(path)
    pairs = None if like is None else min(len(like), rows * columns // 2)
    echo(f"{out}: {rows * columns} images" if pairs is None else f"{out}: {pairs} images, each beside its reconstruction")
